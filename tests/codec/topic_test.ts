import assert from "node:assert/strict";
import { isTopicFilter, isTopicName, parseSharedFilter } from "../../codec/mod.ts";

Deno.test("[5.0 MQTT-4.7.3-1] a topic name is at least one character long", () => {
  assert.equal(isTopicName(""), false);
  assert.equal(isTopicName("a"), true);
});

Deno.test("[5.0 MQTT-4.7.0-1] a topic name holds no wildcard", () => {
  for (const topic of ["+", "#", "a/+", "a/#", "a+b", "a#b"]) assert.equal(isTopicName(topic), false, topic);
});

Deno.test("[5.0 MQTT-4.7.3-2] neither a topic name nor a topic filter holds U+0000", () => {
  assert.equal(isTopicName("a\0"), false);
  assert.equal(isTopicFilter("a\0"), false);
  assert.equal(isTopicFilter("+/a\0"), false);
  assert.equal(isTopicFilter("$share/a\0/b"), false);
  assert.equal(isTopicFilter("$share/a/b\0"), false);
});

Deno.test("slashes and spaces are allowed anywhere in names and filters", () => {
  for (const topic of ["/", "//", "/finance", "a/", "Accounts payable", " "]) {
    assert.equal(isTopicName(topic), true, topic);
    assert.equal(isTopicFilter(topic), true, topic);
  }
});

Deno.test("[5.0 MQTT-4.7.3-1] a topic filter is at least one character long", () => {
  assert.equal(isTopicFilter(""), false);
});

Deno.test("[5.0 MQTT-4.7.1-1] # is a whole level, and the last", () => {
  for (const filter of ["#", "/#", "sport/#", "sport/tennis/#", "+/#"]) {
    assert.equal(isTopicFilter(filter), true, filter);
  }
  for (const filter of ["sport/tennis#", "sport/tennis/#/ranking", "#/", "##", "#/#", "a/#b", "#+"]) {
    assert.equal(isTopicFilter(filter), false, filter);
  }
});

Deno.test("[5.0 MQTT-4.7.1-2] + is a whole level", () => {
  for (const filter of ["+", "+/tennis/#", "sport/+/player1", "+/+", "/+", "+/"]) {
    assert.equal(isTopicFilter(filter), true, filter);
  }
  for (const filter of ["sport+", "+sport", "a/b+/c", "++", "a/+#"]) assert.equal(isTopicFilter(filter), false, filter);
});

Deno.test("a shared filter is taken apart into share name and topic filter", () => {
  const shareds: [string, string, string][] = [
    ["$share/consumer1/sport/tennis/+", "consumer1", "sport/tennis/+"],
    ["$share/consumer1//finance", "consumer1", "/finance"],
    ["$share/g/#", "g", "#"],
    ["$share/g/$share/h/t", "g", "$share/h/t"],
  ];
  for (const [filter, shareName, topicFilter] of shareds) {
    assert.deepEqual(parseSharedFilter(filter), { shareName, topicFilter });
    assert.equal(isTopicFilter(filter), true, filter);
  }
});

Deno.test("[5.0 MQTT-4.8.2-1] a share name is at least one character long", () => {
  for (const filter of ["$share//t", "$share//", "$share/"]) {
    assert.equal(parseSharedFilter(filter), undefined, filter);
    assert.equal(isTopicFilter(filter), false, filter);
  }
});

Deno.test("[5.0 MQTT-4.8.2-2] a share name holds no wildcard and is followed by a topic filter", () => {
  for (const filter of ["$share/+/t", "$share/a#/t", "$share/g", "$share/g/", "$share/g/#/t", "$share/g/a+"]) {
    assert.equal(parseSharedFilter(filter), undefined, filter);
    assert.equal(isTopicFilter(filter), false, filter);
  }
});

Deno.test("what only looks like a shared filter is a plain one", () => {
  for (const filter of ["$share", "$shared/g/t", "$SHARE/g/t", "a/$share/g/t", "/$share/g/t"]) {
    assert.equal(parseSharedFilter(filter), undefined, filter);
    assert.equal(isTopicFilter(filter), true, filter);
  }
});
