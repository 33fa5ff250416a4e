import assert from "node:assert/strict";
import fc from "fast-check";
import type { Message } from "../../../broker/message.ts";
import { RetainedTree } from "../../../broker/topics/retained_tree.ts";
import { arbitraryTopicFilter, arbitraryTopicName, matches } from "./arbitrary_topics.ts";
import { message } from "./message.ts";

function treeOf(...names: string[]): RetainedTree {
  const tree = new RetainedTree();
  for (const name of names) tree.set(message(name));
  return tree;
}

function matchedNames(tree: RetainedTree, filter: string): string[] {
  return [...tree.match(filter)].map(({ topic }) => topic.name).sort();
}

Deno.test("after any storing and deleting, a filter finds what the specification's words match", () => {
  const change = fc.record({ name: arbitraryTopicName, isRemoval: fc.boolean() });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), fc.array(arbitraryTopicFilter), (changes, filters) => {
      const tree = new RetainedTree();
      const model = new Map<string, Message>();
      for (const { name, isRemoval } of changes) {
        if (isRemoval) {
          assert.equal(tree.delete(name), model.delete(name));
        } else {
          const stored = message(name);
          tree.set(stored);
          model.set(name, stored);
        }
        assert.equal(tree.get(name), model.get(name));
        assert.equal(tree.size, model.size);
      }
      for (const filter of filters) {
        const expected = [...model.values()].filter(({ topic }) => matches(filter, topic.name));
        const found = [...tree.match(filter)];
        assert.deepEqual(new Set(found), new Set(expected));
        assert.equal(found.length, expected.length);
      }
    }),
    { numRuns: 1000 },
  );
});

Deno.test('"#" and "+" at the first level leave out topics that begin with "$", "$SYS/#" finds them', () => {
  const tree = treeOf("a", "a/b", "/", "$SYS", "$SYS/a", "$other/a");
  assert.deepEqual(matchedNames(tree, "#"), ["/", "a", "a/b"]);
  assert.deepEqual(matchedNames(tree, "+"), ["a"]);
  assert.deepEqual(matchedNames(tree, "+/+"), ["/", "a/b"]);
  assert.deepEqual(matchedNames(tree, "+/#"), ["/", "a", "a/b"]);
  assert.deepEqual(matchedNames(tree, "$SYS/#"), ["$SYS", "$SYS/a"]);
  assert.deepEqual(matchedNames(tree, "$other/+"), ["$other/a"]);
});

Deno.test('"$" at a level that is not the first means nothing', () => {
  assert.deepEqual(matchedNames(treeOf("a/$b", "a/$b/c"), "a/+"), ["a/$b"]);
  assert.deepEqual(matchedNames(treeOf("a/$b", "a/$b/c"), "a/#"), ["a/$b", "a/$b/c"]);
});

Deno.test("a topic above another one is not there only because that one is", () => {
  const tree = treeOf("a/b/c");
  assert.equal(tree.get("a/b"), undefined);
  assert.equal(tree.delete("a/b"), false);
  assert.deepEqual(matchedNames(tree, "a/#"), ["a/b/c"]);
});

Deno.test("deleting a topic leaves those above and below it", () => {
  const tree = treeOf("a", "a/b", "a/b/c");
  assert.equal(tree.delete("a/b"), true);
  assert.deepEqual(matchedNames(tree, "#"), ["a", "a/b/c"]);
  assert.equal(tree.size, 2);
});

Deno.test("whatever changes while a filter is looked up, what stays is found once, and nothing that is stored meanwhile", () => {
  const change = fc.record({ name: arbitraryTopicName, isRemoval: fc.boolean() });
  const changes = fc.array(change, { maxLength: 30 });
  fc.assert(
    fc.property(changes, fc.array(changes, { maxLength: 10 }), arbitraryTopicFilter, (before, meanwhile, filter) => {
      const tree = new RetainedTree();
      const model = new Map<string, Message>();
      const apply = ({ name, isRemoval }: { name: string; isRemoval: boolean }) => {
        if (isRemoval) {
          tree.delete(name);
          model.delete(name);
        } else {
          const stored = message(name);
          tree.set(stored);
          model.set(name, stored);
        }
      };
      for (const change of before) apply(change);
      const atFirst = new Set([...model.values()].filter(({ topic }) => matches(filter, topic.name)));
      const found: Message[] = [];
      const search = tree.match(filter);
      for (const changes of meanwhile) {
        const next = search.next();
        if (!next.done) {
          assert.equal(model.get(next.value.topic.name), next.value);
          found.push(next.value);
        }
        for (const change of changes) apply(change);
      }
      found.push(...search);
      assert.equal(new Set(found).size, found.length);
      for (const one of found) assert(atFirst.has(one));
      for (const one of atFirst) if (model.get(one.topic.name) === one) assert(found.includes(one));
    }),
    { numRuns: 1000 },
  );
});

Deno.test("100,000 topics elsewhere do not slow a wildcard down", () => {
  const wanted = Array.from({ length: 10 }, (_, index) => `a/${index}/c`);
  const small = treeOf(...wanted);
  const large = treeOf(...wanted, ...Array.from({ length: 100_000 }, (_, index) => `b/${index}/c`));
  assert.equal(large.size, 100_010);
  assert.deepEqual(matchedNames(large, "a/+/c"), wanted);
  // A scan would take about ten thousand times as long.
  const ratio = fastest(large, "a/+/c") / fastest(small, "a/+/c");
  assert(ratio < 100, `takes ${ratio} times as long`);
});

Deno.test("finding one of 100,000 topics next to each other takes no longer than finding the only one", () => {
  const name = "a/70000/c";
  const large = treeOf(...Array.from({ length: 100_000 }, (_, index) => `a/${index}/c`));
  assert.deepEqual(matchedNames(large, name), [name]);
  const ratio = fastest(large, name) / fastest(treeOf(name), name);
  assert(ratio < 100, `takes ${ratio} times as long`);
});

Deno.test("topics that are deleted leave nothing behind that a wildcard has to pass", () => {
  const tree = treeOf("a/0/c");
  const name = (index: number) => `a/${index}/x/y`;
  for (let index = 1; index <= 100_000; index++) tree.set(message(name(index)));
  for (let index = 1; index <= 100_000; index++) tree.delete(name(index));
  const ratio = fastest(tree, "a/+/c") / fastest(treeOf("a/0/c"), "a/+/c");
  assert(ratio < 100, `takes ${ratio} times as long`);
});

/** The least time that a hundred matches took, so that whatever else the machine does counts little. */
function fastest(tree: RetainedTree, filter: string): number {
  let least = Infinity;
  for (let run = 0; run < 50; run++) {
    const start = performance.now();
    for (let repeat = 0; repeat < 100; repeat++) for (const _found of tree.match(filter));
    least = Math.min(least, performance.now() - start);
  }
  return least;
}
