import assert from "node:assert/strict";
import { aclHook, type AclOptions, type AclRule } from "../../hooks/mod.ts";
import { namePattern } from "../../hooks/acl/name_pattern.ts";
import type { ClientInfo } from "../../mod.ts";

const client = { clientId: "a", username: undefined } as ClientInfo;

Deno.test("a star stands for any characters, also for none, and everything else for itself", () => {
  const matches: [pattern: string, name: string][] = [
    ["*", ""],
    ["*", "anything"],
    ["a*", "a"],
    ["a*c", "ac"],
    ["a*c", "abcbc"],
    ["*b*", "abc"],
    ["a*b*c", "a-b-b-c"],
    ["**", "x"],
    ["a.c", "a.c"],
    ["[a]", "[a]"],
    ["*ab", "aab"],
  ];
  const others: [pattern: string, name: string][] = [
    ["a", "A"],
    ["a", "aa"],
    ["a*", "ba"],
    ["aba*aba", "aba"],
    ["a*b*c", "acb"],
    ["*b*b*", "abc"],
    ["a.c", "abc"],
    ["a", "a\n"],
  ];
  for (const [pattern, name] of matches) assert.equal(namePattern(pattern)(name), true, `${pattern} ${name}`);
  for (const [pattern, name] of others) assert.equal(namePattern(pattern)(name), false, `${pattern} ${name}`);
});

Deno.test("a long name that nearly matches a pattern with many stars is decided at once", () => {
  // Backtracking would try 60,000 to the power of seven ways.
  assert.equal(namePattern("*a*a*a*a*a*a*ab")("a".repeat(60_000)), false);
});

Deno.test("a rule without a topic filter is for all topics, those that begin with $ too", () => {
  const acl = aclHook({ rules: [{ permission: "deny" }] });
  for (const topic of ["a", "a/b", "/", "$SYS", "$SYS/x"]) assert.equal(acl.canRead(client, topic), false, topic);
});

Deno.test("many topics of one client are all decided right, however many are remembered", () => {
  const acl = aclHook({ rules: [{ permission: "deny", topicFilter: "+/odd" }] });
  for (let round = 0; round < 2; round++) {
    for (let index = 0; index < 40_000; index++) {
      const isOdd = index % 2 === 1;
      if (acl.canRead(client, `${index}/${isOdd ? "odd" : "even"}`) !== !isOdd) assert.fail(`topic ${index}`);
    }
  }
});

Deno.test("topics of any length are decided", () => {
  const acl = aclHook({ rules: [{ permission: "deny", topicFilter: "long/#" }] });
  const topic = `/${"x".repeat(60_000)}`;
  for (let times = 0; times < 2; times++) {
    assert.equal(acl.canWrite(client, `long${topic}`), false);
    assert.equal(acl.canWrite(client, `short${topic}`), true);
  }
});

const invalidRules: [rule: object, message: string][] = [
  [{ permission: "maybe" }, 'rules[0].permission is "maybe"; it must be one of allow, deny'],
  [{}, "rules[0].permission is undefined; it must be one of allow, deny"],
  [{ permission: "allow", access: "subscribe" }, 'rules[0].access is "subscribe"; it must be one of read, write, all'],
  [
    { permission: "allow", topic: "a" },
    "rules[0].topic does not exist; there are permission, clientId, username, topicFilter, access",
  ],
  [{ permission: "allow", clientId: "" }, 'rules[0].clientId is ""; it must be a text, or be left out to match all'],
  [{ permission: "allow", username: 7 }, "rules[0].username is 7; it must be a text, or be left out to match all"],
  [
    { permission: "deny", topicFilter: "a/#/b" },
    'rules[0].topicFilter is "a/#/b", which is no topic filter: "+" and "#" are whole levels, "#" the last',
  ],
  [
    { permission: "deny", topicFilter: "$share/g/a" },
    'rules[0].topicFilter is "$share/g/a"; rules are for the filter inside a shared subscription',
  ],
];
for (const [rule, message] of invalidRules) {
  Deno.test(`a rule ${JSON.stringify(rule)} is not valid`, () => {
    assert.throws(() => aclHook({ rules: [rule as AclRule] }), { name: "RangeError", message });
  });
}

for (const topicFilter of ["", "a#", "+%u", "%u+", "a/%c#", "$share/g", "a\0"]) {
  Deno.test(`a rule for ${JSON.stringify(topicFilter)} is not valid`, () => {
    assert.throws(() => aclHook().addRule({ permission: "deny", topicFilter }), { message: /^rule\.topicFilter is / });
  });
}

Deno.test("options with other values than they can have are refused", () => {
  assert.throws(() => aclHook({ denyByDefault: "yes" } as unknown as AclOptions), {
    name: "RangeError",
    message: 'denyByDefault is "yes"; it must be true or false',
  });
  assert.throws(() => aclHook({ wideSubscriptions: "grant" } as unknown as AclOptions), {
    name: "RangeError",
    message: 'wideSubscriptions is "grant"; it must be refuse or filter',
  });
});
