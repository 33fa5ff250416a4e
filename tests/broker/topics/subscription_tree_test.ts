import assert from "node:assert/strict";
import fc from "fast-check";
import { Readiness } from "../../../broker/topics/shared_group.ts";
import {
  type Delivery,
  type Subscriber,
  type Subscription,
  SubscriptionTree,
} from "../../../broker/topics/subscription_tree.ts";
import type { Qos } from "../../../mod.ts";
import { arbitraryTopicFilter, arbitraryTopicName, matches } from "./arbitrary_topics.ts";

function subscriber(clientId: string): Subscriber {
  return { clientId, readiness: Readiness.Ready, needsRoute: true, deliver() {} };
}

const [ann, bob] = ["ann", "bob"].map(subscriber);

function subscription(subscriber: Subscriber, topicFilter: string, options: Partial<Delivery> = {}): Subscription {
  return {
    subscriber,
    topicFilter,
    qos: 0,
    noLocal: false,
    retainAsPublished: false,
    identifiers: undefined,
    ...options,
  };
}

/** The examples of MQTT 5.0 section 4.7, word for word. */
const examples: [filter: string, matching: string[], other: string[]][] = [
  [
    "sport/tennis/player1/#",
    ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"],
    ["sport/tennis/player2", "sport/tennis"],
  ],
  ["sport/#", ["sport", "sport/"], ["sports", "Sport"]],
  ["#", ["sport", "/", "/finance"], ["$SYS", "$SYS/monitor/Clients"]],
  ["sport/tennis/+", ["sport/tennis/player1", "sport/tennis/player2"], ["sport/tennis/player1/ranking"]],
  ["sport/+", ["sport/"], ["sport"]],
  ["+/+", ["/finance"], ["finance", "$SYS/monitor"]],
  ["/+", ["/finance"], ["finance", "a/finance"]],
  ["+", ["finance"], ["/finance", "$SYS"]],
  ["+/monitor/Clients", ["a/monitor/Clients", "/monitor/Clients"], ["$SYS/monitor/Clients"]],
  ["$SYS/#", ["$SYS", "$SYS/monitor/Clients"], ["SYS/monitor/Clients", "$sys/monitor"]],
  ["$SYS/monitor/+", ["$SYS/monitor/Clients"], ["$SYS/monitor"]],
  ["ACCOUNTS", ["ACCOUNTS"], ["Accounts"]],
  ["Accounts payable", ["Accounts payable"], ["Accountspayable"]],
  ["/", ["/"], ["//", "a"]],
  ["+/tennis/#", ["sport/tennis", "/tennis/x"], ["sport/golf"]],
];

for (const [filter, matching, other] of examples) {
  Deno.test(`"${filter}" matches ${matching.join(", ")} and not ${other.join(", ")}`, () => {
    const tree = new SubscriptionTree();
    tree.add(subscription(ann, filter));
    for (const topic of matching) assert.equal(tree.match(topic).deliveries.length, 1, topic);
    for (const topic of other) assert.equal(tree.match(topic).deliveries.length, 0, topic);
  });
}

Deno.test("the tree matches what the specification's words match", () => {
  fc.assert(
    fc.property(arbitraryTopicFilter, arbitraryTopicName, (filter, name) => {
      const tree = new SubscriptionTree();
      tree.add(subscription(ann, filter));
      assert.equal(tree.match(name).deliveries.length === 1, matches(filter, name));
    }),
    { numRuns: 5000 },
  );
});

Deno.test("after any subscribing and unsubscribing, a match is what a list of all subscriptions gives", () => {
  const subscribers = ["ann", "bob", "eve"].map(subscriber);
  const change = fc.record({
    subscriber: fc.constantFrom(...subscribers),
    shareName: fc.constantFrom(undefined, undefined, "g", "h"),
    filter: arbitraryTopicFilter,
    qos: fc.constantFrom<Qos>(0, 1, 2),
    identifier: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
    isRemoval: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), fc.array(arbitraryTopicName), (changes, names) => {
      const tree = new SubscriptionTree();
      const model = new Map<string, Subscription & { shareName?: string; filter: string }>();
      for (const { subscriber, shareName, filter, qos, identifier, isRemoval } of changes) {
        const topicFilter = shareName === undefined ? filter : `$share/${shareName}/${filter}`;
        const key = `${subscriber.clientId} ${topicFilter}`;
        const isKnown = model.has(key);
        if (isRemoval) {
          assert.equal(tree.remove(subscriber, topicFilter), isKnown);
          model.delete(key);
        } else {
          const identifiers = identifier === undefined ? undefined : [identifier];
          const added = subscription(subscriber, topicFilter, { qos, identifiers });
          assert.equal(tree.add(added), !isKnown);
          model.set(key, { ...added, shareName, filter });
        }
        assert.equal(tree.size, model.size);
      }
      for (const name of names) {
        const matching = [...model.values()].filter(({ filter }) => matches(filter, name));
        const { deliveries, groups } = tree.match(name);
        const plain = matching.filter(({ shareName }) => shareName === undefined);
        for (const one of subscribers) {
          const expected = plain.filter(({ subscriber }) => subscriber === one);
          const found = deliveries.filter(({ subscriber }) => subscriber === one);
          assert.equal(found.length, expected.length > 0 ? 1 : 0);
          if (found.length === 0) continue;
          assert.equal(found[0].qos, Math.max(...expected.map(({ qos }) => qos)));
          const identifiers = expected.flatMap(({ identifiers }) => identifiers ?? []);
          assert.deepEqual([...found[0].identifiers ?? []].sort(), identifiers.sort());
        }
        const shared = matching.filter(({ shareName }) => shareName !== undefined);
        const memberships = Map.groupBy(shared, ({ topicFilter }) => topicFilter).values().map((members) =>
          members.map(({ subscriber }) => subscriber.clientId).sort().join()
        );
        const chosen = groups.map((group) =>
          Array.from({ length: group.size }, () => group.choose(Readiness.Ready)!.subscriber.clientId).sort().join()
        );
        assert.deepEqual(chosen.sort(), [...memberships].sort());
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("a subscriber with several matching subscriptions is found once, with the terms of all", () => {
  const tree = new SubscriptionTree();
  tree.add(subscription(ann, "a/b", { qos: 1, identifiers: [7] }));
  tree.add(subscription(ann, "a/+", { qos: 2, retainAsPublished: true, identifiers: [8] }));
  tree.add(subscription(ann, "#", { qos: 0, identifiers: [8] }));
  tree.add(subscription(bob, "a/#"));
  const { deliveries } = tree.match("a/b");
  assert.deepEqual(deliveries.map(({ subscriber }) => subscriber.clientId).sort(), ["ann", "bob"]);
  const { qos, retainAsPublished, identifiers } = deliveries.find(({ subscriber }) => subscriber === ann)!;
  assert.deepEqual([qos, retainAsPublished], [2, true]);
  assert.deepEqual([...identifiers!].sort(), [7, 8, 8]);
});

Deno.test("its own messages reach a subscriber on the terms of those subscriptions that are not no local", () => {
  const options: [Partial<Delivery>, Partial<Delivery>, Partial<Delivery>] = [
    { qos: 2, noLocal: true, identifiers: [1] },
    { qos: 1, identifiers: [2] },
    { qos: 0, identifiers: [3] },
  ];
  // The order in which the tree finds them must not matter.
  for (const [first, second, third] of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
    const tree = new SubscriptionTree();
    tree.add(subscription(ann, "#", options[first]));
    tree.add(subscription(ann, "+", options[second]));
    tree.add(subscription(ann, "a", options[third]));
    const [{ qos, identifiers, noLocal, own }] = tree.match("a").deliveries;
    assert.deepEqual([qos, [...identifiers!].sort(), noLocal], [2, [1, 2, 3], true]);
    assert.deepEqual([own!.qos, [...own!.identifiers!].sort()], [1, [2, 3]]);
  }
});

Deno.test("a subscriber whose matching subscriptions are all no local has no terms for its own messages", () => {
  const tree = new SubscriptionTree();
  tree.add(subscription(ann, "a", { noLocal: true }));
  tree.add(subscription(ann, "#", { noLocal: true }));
  const [{ noLocal, own }] = tree.match("a").deliveries;
  assert.deepEqual([noLocal, own], [true, undefined]);
});

Deno.test("groups of one name with different filters, and of one filter with different names, are different", () => {
  const tree = new SubscriptionTree();
  for (const filter of ["$share/g/a", "$share/h/a", "$share/g/+", "$share/g/b"]) tree.add(subscription(ann, filter));
  assert.equal(tree.match("a").groups.length, 3);
  assert.equal(tree.size, 4);
});

Deno.test("200,000 groups with one filter are all found", () => {
  const tree = new SubscriptionTree();
  for (let index = 0; index < 200_000; index++) tree.add(subscription(ann, `$share/${index}/a`));
  assert.equal(tree.match("a").groups.length, 200_000);
});

Deno.test("every change that changes a match changes the version, and nothing else does", () => {
  const tree = new SubscriptionTree();
  const versions = new Set([tree.version]);
  tree.add(subscription(ann, "a"));
  versions.add(tree.version);
  tree.add(subscription(ann, "a", { qos: 1 }));
  versions.add(tree.version);
  tree.add(subscription(ann, "$share/g/a"));
  versions.add(tree.version);
  tree.remove(ann, "$share/g/a");
  versions.add(tree.version);
  tree.remove(ann, "a");
  versions.add(tree.version);
  assert.equal(versions.size, 6);
  const { version } = tree;
  assert.equal(tree.remove(ann, "a"), false);
  assert.equal(tree.remove(bob, "b/c"), false);
  tree.match("a");
  assert.equal(tree.version, version);
});

Deno.test("a level named like a property of every object is a level like any other", () => {
  const tree = new SubscriptionTree();
  tree.add(subscription(ann, "__proto__/constructor"));
  assert.equal(tree.match("__proto__/constructor").deliveries.length, 1);
  assert.equal(tree.match("toString").deliveries.length, 0);
});
