/**
 * Whether a string can be the topic name of a message: not empty, without `+`, `#` and U+0000.
 * Source: MQTT 5.0 section 4.7.3.
 *
 * @example
 * ```ts
 * import { isTopicName } from "@hookmq/broker/codec";
 *
 * console.log(isTopicName("kitchen/temperature")); // true
 * console.log(isTopicName("kitchen/+")); // false
 * ```
 */
export function isTopicName(topic: string): boolean {
  return topic.length > 0 && !topic.includes("+") && !topic.includes("#") && !topic.includes("\0");
}

/**
 * Whether a string can be a topic filter: `#` only as the last level, `+` and `#` only as whole levels
 * [MQTT-4.7.1-1] [MQTT-4.7.1-2]. A shared subscription's filter (`$share/…`) must also be well-formed as one.
 *
 * @example
 * ```ts
 * import { isTopicFilter } from "@hookmq/broker/codec";
 *
 * console.log(isTopicFilter("kitchen/+/state")); // true
 * console.log(isTopicFilter("kitchen/#/state")); // false
 * ```
 */
export function isTopicFilter(filter: string): boolean {
  if (filter.startsWith("$share/")) return parseSharedFilter(filter) !== undefined;
  return isPlainFilter(filter);
}

function isPlainFilter(filter: string): boolean {
  if (filter.length === 0 || filter.includes("\0")) return false;
  if (!filter.includes("+") && !filter.includes("#")) return true;
  const levels = filter.split("/");
  return levels.every((level, index) =>
    level === "+" || (level === "#" && index === levels.length - 1) || !(level.includes("+") || level.includes("#"))
  );
}

/**
 * A shared subscription's filter, taken apart. Source: MQTT 5.0 section 4.8.2.
 *
 * @example
 * ```ts
 * import type { SharedFilter } from "@hookmq/broker/codec";
 *
 * const { shareName, topicFilter }: SharedFilter = { shareName: "workers", topicFilter: "jobs/#" };
 * console.log(`$share/${shareName}/${topicFilter}`); // $share/workers/jobs/#
 * ```
 */
export interface SharedFilter {
  /** The name of the group whose members share the messages, e.g. `"workers"`. */
  shareName: string;
  /** The filter that the messages match, e.g. `"jobs/#"`. */
  topicFilter: string;
}

/**
 * Takes `$share/{ShareName}/{filter}` apart; `undefined` if it isn't a well-formed filter of that form
 * [MQTT-4.8.2-1] [MQTT-4.8.2-2].
 *
 * @example
 * ```ts
 * import { parseSharedFilter } from "@hookmq/broker/codec";
 *
 * console.log(parseSharedFilter("$share/workers/jobs/#")); // { shareName: "workers", topicFilter: "jobs/#" }
 * ```
 */
export function parseSharedFilter(filter: string): SharedFilter | undefined {
  if (!filter.startsWith("$share/")) return undefined;
  const slash = filter.indexOf("/", "$share/".length);
  if (slash === -1) return undefined;
  const shareName = filter.slice("$share/".length, slash);
  const topicFilter = filter.slice(slash + 1);
  if (!isTopicName(shareName) || !isPlainFilter(topicFilter)) return undefined;
  return { shareName, topicFilter };
}
