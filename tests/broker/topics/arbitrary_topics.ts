/** Topic names and filters for property tests, and what matches what, by the words of the specification. */

import fc from "fast-check";

/** Few enough that names and filters often meet; among them the empty level, and what only looks alike. */
const level = fc.constantFrom("a", "b", "c", "A", "", " ", "$", "$SYS", "é", "e\u0301", "日", ".*", "\n");

const levels = fc.array(level, { minLength: 1, maxLength: 4 });

/** At least one character long [MQTT-4.7.3-1]. */
export const arbitraryTopicName: fc.Arbitrary<string> = levels.map((levels) => levels.join("/")).filter(isNotEmpty);

/** `#` only as the last level [MQTT-4.7.1-1], both wildcards only as whole levels. */
export const arbitraryTopicFilter: fc.Arbitrary<string> = fc.tuple(
  fc.array(fc.oneof({ weight: 2, arbitrary: level }, { weight: 1, arbitrary: fc.constant("+") }), { maxLength: 4 }),
  fc.option(fc.constant("#"), { nil: undefined }),
).map(([levels, last]) => [...levels, ...(last === undefined ? [] : [last])].join("/")).filter(isNotEmpty);

/** Whether a topic filter, which is not a shared subscription's, matches a topic name (MQTT 5.0 section 4.7). */
export function matches(topicFilter: string, topicName: string): boolean {
  // [MQTT-4.7.2-1]
  if (/^[+#]/.test(topicFilter) && topicName.startsWith("$")) return false;
  const pattern = topicFilter
    .replaceAll(/[^/+#\p{L}\p{N} \n]/gu, "\\$&") // [MQTT-4.7.3-4]
    .replaceAll("+", "[^/]*") // one level, which may be empty
    .replace(/^#$/, ".*") // every topic
    .replace(/\/#$/, "(/.*)?"); // the parent and any number of child levels
  return new RegExp(`^${pattern}$`, "s").test(topicName);
}

function isNotEmpty(text: string): boolean {
  return text.length > 0;
}
