/**
 * Access control: which clients may publish and receive which topics.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { aclHook } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * await broker.use(aclHook({
 *   denyByDefault: true,
 *   rules: [
 *     { permission: "allow", username: "admin" },
 *     { permission: "deny", topicFilter: "home/+/door", access: "write" },
 *     { permission: "allow", topicFilter: "home/%u/#" },
 *   ],
 * }));
 * ```
 *
 * @module
 */
import type { ClientInfo, Hook } from "../broker/hooks.ts";
import type { Logger } from "../broker/logger.ts";
import { parseSharedFilter } from "../codec/topic.ts";
import { type Decide, Decisions } from "./acl/decisions.ts";
import { type AclRule, type CompiledRule, compileRule, type TopicRule } from "./acl/rule.ts";
import { covers, levelsOf, overlaps, type TopicLevels } from "./acl/topic_levels.ts";

export type { AclRule } from "./acl/rule.ts";

/**
 * Options of {@linkcode aclHook}.
 *
 * @example
 * ```ts
 * import { type AclOptions, aclHook } from "@hookmq/broker/hooks";
 *
 * const ownTopicsOnly: AclOptions = {
 *   denyByDefault: true,
 *   rules: [{ permission: "allow", topicFilter: "home/%u/#" }],
 *   wideSubscriptions: "filter",
 * };
 * aclHook(ownTopicsOnly);
 * ```
 */
export interface AclOptions {
  /** In the order in which they are looked at: the first one that matches decides. Default: none. */
  rules?: readonly AclRule[];
  /** What holds where no rule matches. Default false: everything is allowed. */
  denyByDefault?: boolean;
  /**
   * What happens to a subscription that asks for more than the client may read, e.g. `#` where only `home/#` is allowed.
   * `"refuse"`: it is refused with 0x87. `"filter"`: it is granted, unless nothing of it may be read, and the client is
   * sent only what it may read. Default `"refuse"`.
   */
  wideSubscriptions?: "refuse" | "filter";
}

/**
 * What {@linkcode aclHook} returns: a hook whose rules can be changed while it is in use.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { type AclHook, aclHook } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * const acl: AclHook = aclHook({ denyByDefault: true });
 * await broker.use(acl);
 * acl.addRule({ permission: "allow", topicFilter: "public/#", access: "read" });
 * ```
 */
export interface AclHook extends Hook {
  /** Adds a rule behind the others. @throws {RangeError} If the rule is not valid. */
  addRule(rule: AclRule): void;
  /** Removes all rules: from then on `denyByDefault` holds for everybody. */
  clearRules(): void;
  /** Replaces all rules at once. @throws {RangeError} If one is not valid; then the old ones stay. */
  setRules(rules: readonly AclRule[]): void;
  /** Whether a client may be sent messages on a topic. */
  canRead(client: ClientInfo, topic: string): boolean;
  /** Whether a client may publish on a topic. */
  canWrite(client: ClientInfo, topic: string): boolean;
}

/**
 * Allows and denies clients their topics, by rules of which the first that matches decides.
 *
 * - **Publishing** what is denied is refused with 0x87; what MQTT 3.1.1 clients see is the broker's `refusedPublish`
 *   option. A **will** is a publication: its client is refused with 0x87 when it connects, and since rules can change, and
 *   the user name may be known only after an enhanced authentication, it is checked once more when it is published.
 * - **Receiving** is checked for every message and every receiver, so that a change of rules also holds for subscriptions
 *   that exist, for retained messages and for shared subscriptions.
 * - **Subscribing** is granted only if the client may read every topic that the filter can match. Rules are looked at in
 *   order: the first one that matches all these topics decides; before that, one that denies any of them refuses, and one
 *   that allows only some of them is passed over. Several rules that allow the filter only together do not grant it.
 *   `$share/{group}/{filter}` is treated as its filter. See `wideSubscriptions` for another way.
 *
 * A rule with `%u` never matches a client without a user name. A name that is empty or holds `+`, `#`, `/`, `*` or U+0000
 * is not substituted, nor is one that would turn a rule into one for topics that begin with `$`: for such a client a rule
 * that allows does not match, and one that denies does so for all topics below the level where the name would stand.
 *
 * Rules are only as good as the names in them: without a hook that authenticates, any client can claim any user name.
 *
 * @example Rules that change while the broker runs
 * ```ts
 * import { aclHook } from "@hookmq/broker/hooks";
 *
 * const acl = aclHook({ rules: [{ permission: "deny", topicFilter: "secret/#" }] });
 * acl.addRule({ permission: "deny", clientId: "sensor-*", access: "read" });
 * acl.setRules([{ permission: "allow", username: "*", topicFilter: "home/%u/#" }]);
 * ```
 *
 * @throws {RangeError} If an option or a rule has a value that it cannot have.
 */
export function aclHook(options: AclOptions = {}): AclHook {
  const { denyByDefault = false, wideSubscriptions = "refuse" } = options;
  if (typeof denyByDefault !== "boolean") {
    throw new RangeError(`denyByDefault is ${JSON.stringify(denyByDefault)}; it must be true or false`);
  }
  if (wideSubscriptions !== "refuse" && wideSubscriptions !== "filter") {
    throw new RangeError(`wideSubscriptions is ${JSON.stringify(wideSubscriptions)}; it must be refuse or filter`);
  }
  let rules = compileRules(options.rules ?? []);
  let logger: Logger | undefined;
  const readable = new Decisions((client) => deciderFor(client, "read"));
  const writable = new Decisions((client) => deciderFor(client, "write"));

  function use(newRules: CompiledRule[]): void {
    rules = newRules;
    readable.clear();
    writable.clear();
  }

  function rulesFor(client: ClientInfo, direction: "read" | "write"): TopicRule[] {
    return rules.filter(({ access }) => access === "all" || access === direction)
      .map((rule) => rule.forClient(client))
      .filter((rule) => rule !== undefined);
  }

  function deciderFor(client: ClientInfo, direction: "read" | "write"): Decide {
    const rules = rulesFor(client, direction);
    return (topic) => {
      const levels = levelsOf(topic);
      const allowed = rules.find(({ topics }) => covers(topics, levels))?.allow ?? !denyByDefault;
      if (!allowed) report(client, direction, topic);
      return allowed;
    };
  }

  /** Only when it is decided, not every time that it holds. */
  function report({ clientId, username }: ClientInfo, direction: "read" | "write", topic: string): void {
    logger?.debug("{clientId} may not {direction} {topic}", { clientId, username, direction, topic });
  }

  function maySubscribe(client: ClientInfo, rules: readonly TopicRule[], topicFilter: string): boolean {
    const filter = levelsOf(parseSharedFilter(topicFilter)?.topicFilter ?? topicFilter);
    const granted = wideSubscriptions === "filter" ? mayReadSome(rules, filter) : mayReadAll(rules, filter);
    if (!granted) report(client, "read", topicFilter);
    return granted;
  }

  function mayReadAll(rules: readonly TopicRule[], filter: TopicLevels): boolean {
    for (const { topics, allow } of rules) {
      if (covers(topics, filter)) return allow;
      if (!allow && overlaps(topics, filter)) return false;
    }
    return !denyByDefault;
  }

  function mayReadSome(rules: readonly TopicRule[], filter: TopicLevels): boolean {
    for (const { topics, allow } of rules) {
      if (allow && overlaps(topics, filter)) return true;
      if (!allow && covers(topics, filter)) return false;
    }
    return !denyByDefault;
  }

  return {
    id: "acl",
    init(context) {
      logger = context.logger;
    },
    addRule: (rule) => use([...rules, compileRule(rule, "rule")]),
    clearRules: () => use([]),
    setRules: (newRules) => use(compileRules(newRules)),
    canRead: (client, topic) => readable.get(client, topic),
    canWrite: (client, topic) => writable.get(client, topic),
    onSubscribe(client, subscriptions) {
      const rules = rulesFor(client, "read");
      return subscriptions.filter(({ topicFilter }) => maySubscribe(client, rules, topicFilter));
    },
  };
}

function compileRules(rules: readonly AclRule[]): CompiledRule[] {
  return rules.map((rule, index) => compileRule(rule, `rules[${index}]`));
}
