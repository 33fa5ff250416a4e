import assert from "node:assert/strict";
import fc from "fast-check";
import { covers, levelsOf, overlaps } from "../../hooks/acl/topic_levels.ts";
import { aclHook, type AclRule } from "../../hooks/mod.ts";
import type { ClientInfo, SubscriptionRequest } from "../../mod.ts";

const client = { clientId: "a", username: undefined } as ClientInfo;

/** All topics of up to four levels; no filter below names "z". */
const topics = topicsOf(4).filter((topic) => topic !== "");

function topicsOf(depth: number): string[] {
  const names = ["", "a", "b", "$s", "z"];
  if (depth === 1) return names;
  const shorter = topicsOf(depth - 1);
  const deepest = shorter.filter((topic) => topic.split("/").length === depth - 1);
  return [...shorter, ...deepest.flatMap((topic) => names.map((name) => `${topic}/${name}`))];
}

/** Topic filters of up to three levels, and "#" behind them. */
const topicFilter = fc
  .tuple(fc.array(fc.constantFrom("", "a", "b", "$s", "+"), { maxLength: 3 }), fc.boolean())
  .map(([levels, isOpen]) => [...levels, ...(isOpen ? ["#"] : [])].join("/"))
  .filter((filter) => filter !== "");

/** Whether a filter matches a topic, told in another way than the hook's. */
function matches(filter: string, topic: string): boolean {
  if (/^[+#]/.test(filter) && topic.startsWith("$")) return false;
  const pattern = filter.replaceAll("$", "\\$").replaceAll("+", "[^/]*").replace(/^#$/, ".*").replace(/\/#$/, "(/.*)?");
  return new RegExp(`^${pattern}$`).test(topic);
}

const topicsByFilter = new Map<string, Set<string>>();

function topicsMatching(filter: string): Set<string> {
  let found = topicsByFilter.get(filter);
  if (found === undefined) {
    topicsByFilter.set(
      filter,
      found = new Set(topics.filter((topic) => matches(filter, topic))),
    );
  }
  return found;
}

Deno.test("a filter covers another exactly if it matches all of the other's topics", () => {
  fc.assert(
    fc.property(topicFilter, topicFilter, (outer, inner) => {
      const expected = topicsMatching(inner).isSubsetOf(topicsMatching(outer));
      assert.equal(covers(levelsOf(outer), levelsOf(inner)), expected, `${outer} ${inner}`);
    }),
    { numRuns: 5000 },
  );
});

Deno.test("two filters overlap exactly if a topic matches both", () => {
  fc.assert(
    fc.property(topicFilter, topicFilter, (first, second) => {
      const expected = !topicsMatching(first).isDisjointFrom(topicsMatching(second));
      assert.equal(overlaps(levelsOf(first), levelsOf(second)), expected, `${first} ${second}`);
    }),
    { numRuns: 5000 },
  );
});

Deno.test("a filter covers a topic exactly if it matches it", () => {
  fc.assert(
    fc.property(topicFilter, fc.constantFrom(...topics), (filter, topic) => {
      assert.equal(covers(levelsOf(filter), levelsOf(topic)), matches(filter, topic), `${filter} ${topic}`);
    }),
    { numRuns: 5000 },
  );
});

const rules = fc.array(
  fc.record<AclRule>({ permission: fc.constantFrom("allow", "deny"), topicFilter }, { requiredKeys: ["permission"] }),
  { maxLength: 5 },
);

/** What the rules say about a topic, told in another way than the hook's. */
function firstMatch(rules: AclRule[], topic: string, denyByDefault: boolean): boolean {
  for (const { permission, topicFilter } of rules) {
    if (topicFilter === undefined || matches(topicFilter, topic)) return permission === "allow";
  }
  return !denyByDefault;
}

function isGranted(acl: ReturnType<typeof aclHook>, topicFilter: string): boolean {
  const request: SubscriptionRequest = {
    topicFilter,
    qos: 0,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
  };
  return (acl.onSubscribe!(client, [request]) as SubscriptionRequest[]).length === 1;
}

Deno.test("a topic is decided by the first rule that matches it", () => {
  fc.assert(
    fc.property(rules, fc.boolean(), fc.constantFrom(...topics), (rules, denyByDefault, topic) => {
      const acl = aclHook({ rules, denyByDefault });
      const expected = firstMatch(rules, topic, denyByDefault);
      assert.equal(acl.canRead(client, topic), expected);
      assert.equal(acl.canWrite(client, topic), expected);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a granted subscription matches only topics that may be read", () => {
  let granted = 0;
  fc.assert(
    fc.property(rules, fc.boolean(), topicFilter, (rules, denyByDefault, filter) => {
      for (const requested of [filter, `$share/g/${filter}`]) {
        if (!isGranted(aclHook({ rules, denyByDefault }), requested)) continue;
        granted += 1;
        for (const topic of topicsMatching(filter)) assert.ok(firstMatch(rules, topic, denyByDefault), topic);
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(granted > 500, `only ${granted} subscriptions were granted`);
});

Deno.test("a subscription is granted if all its topics may be read by one rule, or by default", () => {
  fc.assert(
    fc.property(rules, topicFilter, fc.boolean(), (rules, filter, denyByDefault) => {
      const wanted = [...topicsMatching(filter)];
      const [rule] = rules;
      const disjoint = rules.filter(({ topicFilter }) =>
        topicFilter !== undefined && !wanted.some((topic) => matches(topicFilter, topic))
      );
      assert.equal(isGranted(aclHook({ rules: disjoint, denyByDefault }), filter), !denyByDefault);
      if (rule === undefined) return;
      const readable = wanted.every((topic) => firstMatch([rule], topic, denyByDefault));
      assert.equal(isGranted(aclHook({ rules: [...disjoint, rule], denyByDefault }), filter), readable);
    }),
    { numRuns: 3000 },
  );
});

Deno.test("where wide subscriptions are filtered, only those of which nothing may be read are refused", () => {
  let refused = 0;
  fc.assert(
    fc.property(rules, fc.boolean(), topicFilter, (rules, denyByDefault, filter) => {
      if (isGranted(aclHook({ rules, denyByDefault, wideSubscriptions: "filter" }), filter)) return;
      refused += 1;
      for (const topic of topicsMatching(filter)) assert.ok(!firstMatch(rules, topic, denyByDefault), topic);
    }),
    { numRuns: 3000 },
  );
  assert.ok(refused > 500, `only ${refused} subscriptions were refused`);
});
