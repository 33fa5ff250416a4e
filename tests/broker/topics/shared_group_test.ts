import assert from "node:assert/strict";
import fc from "fast-check";
import { Readiness, SharedGroup } from "../../../broker/topics/shared_group.ts";
import type { Subscription } from "../../../broker/topics/subscription_tree.ts";
import type { Qos } from "../../../mod.ts";

function member(
  clientId: string,
  readiness: Readiness = Readiness.Ready,
  qos: Qos = 1,
  needsRoute = true,
): Subscription {
  return {
    subscriber: { clientId, readiness, needsRoute, deliver() {} },
    topicFilter: "$share/g/a",
    qos,
    noLocal: false,
    retainAsPublished: false,
    identifiers: undefined,
  };
}

function groupOf(...members: Subscription[]): SharedGroup {
  const group = new SharedGroup("$share/group/#");
  for (const member of members) group.add(member);
  return group;
}

/** Who is chosen in the next so many turns. */
function turns(group: SharedGroup, count: number, least: Readiness = Readiness.Offline): (string | undefined)[] {
  return Array.from({ length: count }, () => group.choose(least)?.subscriber.clientId);
}

Deno.test("members that are equally ready take turns", () => {
  for (const readiness of Object.values(Readiness)) {
    const group = groupOf(member("a", readiness), member("b", readiness), member("c", readiness));
    assert.deepEqual(turns(group, 6), ["a", "b", "c", "a", "b", "c"]);
  }
});

Deno.test("whoever joins and leaves between turns, nobody who stays is passed over or favoured", () => {
  const names = ["a", "b", "c", "d", "e"];
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.constant("next"), fc.constantFrom(...names)), { maxLength: 60 }), (steps) => {
      const members = new Map(names.map((name) => [name, member(name)]));
      const inside = new Map<string, number>();
      const group = new SharedGroup("$share/group/#");
      for (const step of steps) {
        if (step !== "next") {
          // Joins, or leaves.
          if (inside.delete(step)) assert.equal(group.remove(members.get(step)!.subscriber), true);
          else inside.set(step, group.add(members.get(step)!) ? 0 : NaN);
          // From now on the turns are counted again.
          for (const name of inside.keys()) inside.set(name, 0);
          assert.equal(group.size, inside.size);
          continue;
        }
        const chosen = group.choose(Readiness.Ready)?.subscriber.clientId;
        if (inside.size === 0) {
          assert.equal(chosen, undefined);
          continue;
        }
        inside.set(chosen!, inside.get(chosen!)! + 1);
        const counts = [...inside.values()];
        assert(Math.max(...counts) - Math.min(...counts) <= 1, `turns since the last change: ${counts}`);
      }
    }),
    { numRuns: 1000 },
  );
});

Deno.test("who is ready is preferred to who is busy, and who is busy to who is offline", () => {
  const [offline, busy, ready] = [
    member("offline", Readiness.Offline),
    member("busy", Readiness.Busy),
    member("ready", Readiness.Ready),
  ];
  assert.deepEqual(turns(groupOf(offline, busy, ready), 4), ["ready", "ready", "ready", "ready"]);
  assert.deepEqual(turns(groupOf(offline, busy), 2), ["busy", "busy"]);
  assert.deepEqual(turns(groupOf(offline), 2), ["offline", "offline"]);
});

Deno.test("nobody is chosen who is less ready than is asked for", () => {
  const group = groupOf(member("offline", Readiness.Offline), member("busy", Readiness.Busy));
  assert.equal(group.choose(Readiness.Ready), undefined);
  assert.equal(group.choose(Readiness.Busy)?.subscriber.clientId, "busy");
  assert.equal(groupOf(member("offline", Readiness.Offline)).choose(Readiness.Busy), undefined);
});

Deno.test("a member that would not keep a message is not chosen while it is offline", () => {
  const group = groupOf(member("a", Readiness.Offline, 0), member("b", Readiness.Offline, 1));
  assert.deepEqual(turns(group, 3), ["b", "b", "b"]);
});

Deno.test("members can be left out of the choice", () => {
  const [a, b, c] = [member("a"), member("b"), member("c")];
  const group = groupOf(a, b, c);
  for (let turn = 0; turn < 3; turn++) {
    assert.equal(group.choose(Readiness.Ready, (member) => member === b), b);
  }
  assert.equal(groupOf(a).choose(Readiness.Offline, (member) => member !== a), undefined);
});

Deno.test("what another broker leaves to the members here is no turn of all of them", () => {
  const elsewhere = member("elsewhere", Readiness.Ready, 1, false);
  const group = groupOf(member("a"), elsewhere, member("b"));
  const here = () => group.chooseHere(Readiness.Offline)?.subscriber.clientId;
  assert.deepEqual([here(), ...turns(group, 2), here(), here(), ...turns(group, 2)], [
    ...["a", "a", "elsewhere", "b", "a", "b", "a"],
  ]);
  assert.equal(groupOf(elsewhere).chooseHere(Readiness.Offline), undefined);
});

Deno.test("joining again replaces the terms and counts once", () => {
  const first = member("a");
  const again = { ...first, qos: 2 as const };
  const group = groupOf(first);
  assert.equal(group.add(again), false);
  assert.equal(group.size, 1);
  assert.equal(group.choose(Readiness.Ready), again);
  assert.equal(group.remove(first.subscriber), true);
  assert.equal(group.remove(first.subscriber), false);
  assert.equal(group.choose(Readiness.Offline), undefined);
});
