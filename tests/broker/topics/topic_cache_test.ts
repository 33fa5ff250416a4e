import assert from "node:assert/strict";
import { defaultLimits, type Limits, PacketError } from "../../../mod.ts";
import { type Topic, TopicCache } from "../../../broker/topics/topic_cache.ts";

function cacheWith(limits: Partial<Limits> = {}): TopicCache {
  return new TopicCache({ ...defaultLimits, ...limits });
}

function find(cache: TopicCache, name: string): Topic {
  const bytes = new TextEncoder().encode(name);
  return cache.find(bytes, 0, bytes.length);
}

Deno.test("a topic is found by its name's bytes, wherever they lie", () => {
  const cache = cacheWith();
  const bytes = new TextEncoder().encode("..sensors/küche..");
  const topic = cache.find(bytes, 2, bytes.length - 2);
  assert.equal(topic.name, "sensors/küche");
  assert.deepEqual(topic.bytes, new TextEncoder().encode("sensors/küche"));
  assert.equal(cache.find(new Uint8Array(bytes), 2, bytes.length - 2), topic);
  assert.equal(cache.named("sensors/küche"), topic);
});

Deno.test("a topic keeps its name when the buffer that it came in is used again", () => {
  const cache = cacheWith();
  const bytes = new TextEncoder().encode("a/b");
  const topic = cache.find(bytes, 0, bytes.length);
  bytes.fill(0x78);
  assert.deepEqual(topic.bytes, new TextEncoder().encode("a/b"));
  assert.equal(find(cache, "a/b"), topic);
  assert.equal(find(cache, "xxx").name, "xxx");
});

Deno.test("names that differ in one byte or in their length are different topics", () => {
  const cache = cacheWith();
  const names = ["a", "b", "A", "aa", "a/", "/a", " a", "é", "e\u0301", "\ufeffa"];
  const topics = names.map((name) => find(cache, name));
  assert.deepEqual(topics.map(({ name }) => name), names);
  assert.equal(new Set(topics).size, names.length);
});

for (const name of ["", "a/+", "#", "a\0b"]) {
  Deno.test(`${JSON.stringify(name)} is refused as a topic name, every time`, () => {
    const cache = cacheWith();
    for (let time = 0; time < 2; time++) {
      assert.throws(() => find(cache, name), (error) => error instanceof PacketError && error.reasonCode === 0x81);
    }
  });
}

Deno.test("bytes that are not UTF-8 are refused as a topic name", () => {
  assert.throws(() => cacheWith().find(new Uint8Array([0x61, 0xff]), 0, 2), { reasonCode: 0x81 });
});

Deno.test("a topic name that is longer than the limit is refused with 0x90, in bytes of UTF-8", () => {
  const cache = cacheWith({ topicLength: 4 });
  assert.equal(find(cache, "éé").name, "éé");
  assert.throws(() => find(cache, "ééa"), {
    name: "PacketError",
    reasonCode: 0x90,
    message: "topic name is 5 bytes long; at most 4 are accepted",
  });
});

Deno.test("a topic name with more levels than the limit is refused with 0x90", () => {
  const cache = cacheWith({ topicLevels: 3 });
  assert.equal(find(cache, "a//").name, "a//");
  assert.throws(() => find(cache, "a///"), {
    reasonCode: 0x90,
    message: "topic name has 4 levels; at most 3 are accepted",
  });
});

Deno.test("more topics than are remembered are all found, and the latest ones are known again", () => {
  const cache = cacheWith();
  const first = find(cache, "topic/0");
  for (let index = 0; index < 200_000; index++) assert.equal(find(cache, `topic/${index}`).name, `topic/${index}`);
  assert.notEqual(find(cache, "topic/0"), first);
  assert.equal(first.name, "topic/0");
  assert.equal(find(cache, "topic/199999"), find(cache, "topic/199999"));
});

Deno.test("topics that come again and again stay known, however many come once", () => {
  const cache = cacheWith();
  const regulars = Array.from({ length: 20_000 }, (_, index) => find(cache, `regular/${index}`));
  for (let index = 0; index < 200_000; index++) {
    find(cache, `once/${index}`);
    const regular = index % regulars.length;
    if (find(cache, `regular/${regular}`) !== regulars[regular]) assert.fail(`${regular} at ${index}`);
  }
});

Deno.test("long names are forgotten before they take much memory", () => {
  const cache = cacheWith();
  const name = (index: number) => `${index}/${"x".repeat(60_000)}`;
  const first = find(cache, name(0));
  assert.equal(find(cache, name(0)), first);
  for (let index = 1; index < 150; index++) find(cache, name(index));
  assert.notEqual(find(cache, name(0)), first);
});

Deno.test("who gets a topic's messages is remembered until there are too many to remember", () => {
  const cache = cacheWith();
  const matches = { deliveries: new Array(10_000).fill({}), groups: [] };
  const first = find(cache, "first");
  // Whoever matches again and again takes no more room by that.
  for (let version = 1; version <= 2000; version++) cache.rememberMatches(first, matches, version);
  assert.deepEqual([first.matches, first.matchesVersion], [matches, 2000]);
  assert.equal(find(cache, "first"), first);
  const topics: Topic[] = [];
  for (let index = 0; index < 2000; index++) {
    const topic = find(cache, `${index}`);
    cache.rememberMatches(topic, matches, 2000);
    assert.equal(topic.matches, matches);
    topics.push(topic);
  }
  const remembered = topics.filter(({ matches }) => matches !== undefined).length;
  assert(remembered < 1000, `${remembered}`);
});

Deno.test("topics that all fall into one slot are each found as themselves", () => {
  const names = collidingNames(40);
  const cache = cacheWith();
  for (let time = 0; time < 2; time++) {
    for (const name of names) assert.equal(find(cache, name).name, name);
  }
  // They do collide: not all of them are remembered.
  assert(names.some((name) => find(cache, name) !== find(cache, name)));
  assert.equal(find(cache, names[0]), find(cache, names[0]));
});

/** Names for which the cache's hash, FNV-1a, has the same lower 17 bits after its upper half is mixed in. */
function collidingNames(count: number): string[] {
  const names: string[] = [];
  for (let index = 0; names.length < count; index++) {
    let hash = 0x811c9dc5;
    const name = index.toString(36);
    for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
    if (((hash ^ (hash >>> 15)) & 0x1ffff) === 0) names.push(name);
  }
  return names;
}
