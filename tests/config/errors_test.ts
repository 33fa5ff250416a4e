import assert from "node:assert/strict";
import { refusalOf } from "./config_directory.ts";

interface BadFile {
  what: string;
  config: string | Uint8Array;
  lines: string[];
}

const badFiles: BadFile[] = [
  {
    what: "an unknown key",
    config: `listners:\n  - port: 1884\n`,
    lines: ['hookmq.yaml:1:1: unknown key "listners"; did you mean "listeners"?'],
  },
  {
    what: "an unknown key in a group",
    config: `limits:\n  packet_sise: 100\n`,
    lines: ['hookmq.yaml:2:3: limits: unknown key "packet_sise"; did you mean "packetSize"?'],
  },
  {
    what: "a key that is cut short",
    config: `listeners:\n  - host: 127.0.0.1\n`,
    lines: ['hookmq.yaml:2:5: listeners[0]: unknown key "host"; did you mean "hostname"?'],
  },
  {
    what: "an unknown key that is like no other",
    config: `log:\n  colour: true\n`,
    lines: ['hookmq.yaml:2:3: log: unknown key "colour"; there are level, format, file'],
  },
  {
    what: "a key that another kind of listener has",
    config: `listeners:\n  - transport: tcp\n    certificate: server.pem\n`,
    lines: [
      'hookmq.yaml:3:5: listeners[0]: unknown key "certificate"; there are transport, hostname, port, proxyProtocol',
    ],
  },
  {
    what: "an unknown key with a name that means something to JavaScript",
    config: `__proto__:\n  anonymous: true\nlimits:\n  constructor: 1\n`,
    lines: [
      'hookmq.yaml:1:1: unknown key "__proto__"; there are listeners, anonymous, limits, queuePolicy, ' +
      "maximumKeepAlive, maximumSessionExpiry, maximumQos, retainAvailable, wildcardSubscriptionAvailable, " +
      "subscriptionIdentifiersAvailable, sharedSubscriptionAvailable, refusedPublish, hooks, log",
      'hookmq.yaml:4:3: limits: unknown key "constructor"; there are connections, connectionsPerAddress, ' +
      "connectTimeout, packetSize, clientIdLength, topicLength, topicLevels, subscriptions, receiveMaximum, inflight, " +
      "queueMessages, queueBytes, outboundBytes, topicAliasMaximum, userProperties, retainedMessages",
    ],
  },
  {
    what: "a missing key",
    config: `listeners:\n  - transport: tls\n    certificate: server.pem\n`,
    lines: ['hookmq.yaml:2:5: listeners[0]: the key "key" is missing'],
  },
  {
    what: "a key that stands there twice",
    config: `limits:\n  inflight: 10\n  packetSize: 100\n  inflight: 20\n`,
    lines: ['hookmq.yaml:4:3: limits: the key "inflight" stands in line 2 already'],
  },
  {
    what: "a text where a number belongs",
    config: `listeners:\n  - port: "1883"\n`,
    lines: ['hookmq.yaml:2:5: listeners[0].port: "1883": must be a whole number from 0 to 65535'],
  },
  {
    what: "numbers that are out of range",
    config:
      `limits:\n  packetSize: 10\n  connections: 0\n  topicLevels: 1.5\n  queueBytes: .inf\n  connectTimeout: .nan\n`,
    lines: [
      "hookmq.yaml:2:3: limits.packetSize: 10: must be a whole number from 64 to 268435460",
      "hookmq.yaml:3:3: limits.connections: 0: must be a whole number from 1 on",
      "hookmq.yaml:4:3: limits.topicLevels: 1.5: must be a whole number from 1 on",
      "hookmq.yaml:5:3: limits.queueBytes: Infinity: must be a whole number from 0 on",
      "hookmq.yaml:6:3: limits.connectTimeout: NaN: must be a number from 1 on",
    ],
  },
  {
    what: "words that are no booleans in YAML 1.2",
    config: `anonymous: yes\n`,
    lines: ['hookmq.yaml:1:1: anonymous: "yes": must be true or false'],
  },
  {
    what: "a value that is not among the allowed ones",
    config: `queuePolicy: drop_old\nmaximumQos: 3\nlog: { level: warn, format: xml }\n`,
    lines: [
      'hookmq.yaml:1:1: queuePolicy: "drop_old": must be one of drop-oldest, drop-new, disconnect; ' +
      'did you mean "drop-oldest"?',
      "hookmq.yaml:2:1: maximumQos: 3: must be one of 0, 1, 2",
      'hookmq.yaml:3:8: log.level: "warn": must be one of debug, info, warning, error; did you mean "warning"?',
      'hookmq.yaml:3:21: log.format: "xml": must be one of text, json',
    ],
  },
  {
    what: "an unknown transport",
    config: `listeners:\n  - transport: tpc\n`,
    lines: [
      'hookmq.yaml:2:5: listeners[0].transport: "tpc": must be one of tcp, tls, ws, wss, unix; did you mean "tcp"?',
    ],
  },
  {
    what: "a number where a text belongs",
    config: `listeners:\n  - hostname: 127\n`,
    lines: ["hookmq.yaml:2:5: listeners[0].hostname: 127: must be a text: put it in quotes"],
  },
  {
    what: "permissions that YAML does not take for octal",
    config: `listeners:\n  - transport: unix\n    path: hookmq.sock\n    mode: 0660\n`,
    lines: ['hookmq.yaml:4:5: listeners[0].mode: 660: must be permissions in octal and in quotes, such as "660"'],
  },
  {
    what: "no value",
    config: `anonymous:\nlisteners:\n`,
    lines: [
      "hookmq.yaml:1:1: anonymous: no value: must be true or false",
      "hookmq.yaml:2:1: listeners: no value: must be a list with at least one entry",
    ],
  },
  {
    what: "no listeners",
    config: `listeners: []\n`,
    lines: ["hookmq.yaml:1:1: listeners: a list: must be a list with at least one entry"],
  },
  {
    what: "a group where a list belongs, and the other way round",
    config: `listeners: { port: 1 }\nlimits: [1]\nhooks: acl\n`,
    lines: [
      "hookmq.yaml:1:1: listeners: a group of options: must be a list with at least one entry",
      "hookmq.yaml:2:1: limits: a list: must be a group of options (name: value)",
      'hookmq.yaml:3:1: hooks: "acl": must be a group of options (name: value)',
    ],
  },
  {
    what: "a file that holds a text",
    config: `listeners\n`,
    lines: ['hookmq.yaml:1:1: "listeners": must be a group of options (name: value)'],
  },
  {
    what: "topic filters of rules that are none",
    config: `
hooks:
  acl:
    rules:
      - permission: allow
        topicFilter: a/#/b
      - permission: allow
        topicFilter: a+/b
      - permission: allow
        topicFilter: $share/group/a
      - permission: allow
        topicFilter: ""
`,
    lines: [
      'hookmq.yaml:6:9: hooks.acl.rules[0].topicFilter: "a/#/b": "#" may only be the last level',
      'hookmq.yaml:8:9: hooks.acl.rules[1].topicFilter: "a+/b": "+" and "#" stand for whole levels only',
      'hookmq.yaml:10:9: hooks.acl.rules[2].topicFilter: "$share/group/a": rules are for the filter inside a shared ' +
      "subscription",
      'hookmq.yaml:12:9: hooks.acl.rules[3].topicFilter: "": is no topic filter',
    ],
  },
  {
    what: "a rule without a permission",
    config: `hooks:\n  acl:\n    rules:\n      - topicFilter: a\n        permision: allow\n`,
    lines: [
      'hookmq.yaml:4:9: hooks.acl.rules[0]: the key "permission" is missing',
      'hookmq.yaml:5:9: hooks.acl.rules[0]: unknown key "permision"; did you mean "permission"?',
    ],
  },
  {
    what: "proxies that are no addresses",
    config: `listeners:\n  - proxyProtocol:\n      trusted: [10.0.0.1, 10.0.0.0/33, proxy]\n`,
    lines: [
      'hookmq.yaml:3:27: listeners[0].proxyProtocol.trusted[1]: "10.0.0.0/33": is no address and no network, such as ' +
      "10.0.0.5 or 192.168.0.0/16",
      'hookmq.yaml:3:40: listeners[0].proxyProtocol.trusted[2]: "proxy": is no address and no network, such as ' +
      "10.0.0.5 or 192.168.0.0/16",
    ],
  },
  {
    what: "hooks that lack what they are for",
    config: `hooks:\n  auth:\n  rateLimit: { interval: 2 }\n`,
    lines: [
      "hookmq.yaml:2:3: hooks.auth: needs credentials, passwordFile or both",
      "hookmq.yaml:3:3: hooks.rateLimit: needs publishRate, byteRate or both",
    ],
  },
  {
    what: "options that a hook itself refuses",
    config: `hooks:\n  rateLimit: { publishRate: 1, byteBurst: 3 }\n  auth:\n    credentials: { alice: "$7$abc" }\n`,
    lines: [
      "hookmq.yaml:2:3: hooks.rateLimit: byteBurst is 3, but byteRate is missing",
      'hookmq.yaml:3:3: hooks.auth: credentials["alice"] looks like a hash: a hash with this beginning is written as ' +
      "$7$<iterations>$<salt>$<hash>",
    ],
  },
  {
    what: "two hooks that keep sessions",
    config: `hooks:\n  sqlite: { path: a.db }\n  cluster: { nodeId: a }\n`,
    lines: [
      "hookmq.yaml:2:3: hooks.sqlite: hooks.cluster keeps sessions and retained messages already: leave one of them out",
    ],
  },
  {
    what: "a time in which no node can be missed",
    config: `hooks:\n  cluster: { nodeId: a b, addr: localhost, addrs: [localhost], nodeTtl: 0.1 }\n`,
    lines: ["hookmq.yaml:2:64: hooks.cluster.nodeTtl: 0.1: must be a number from 0.2 to 86400"],
  },
  {
    what: "a cluster whose options do not fit together",
    config: `hooks:\n  cluster: { addr: localhost, addrs: [localhost] }\n`,
    lines: [
      "hookmq.yaml:2:3: hooks.cluster: addr and addrs are both there; addr is for a single server, addrs for a Redis " +
      "Cluster",
    ],
  },
  {
    what: "a listener for everybody without authentication",
    config: `listeners:\n  - port: 1883\n  - transport: ws\n    hostname: 0.0.0.0\n`,
    lines: [
      'hookmq.yaml:4:5: listeners[1].hostname: "0.0.0.0": cannot listen beyond this machine without authentication: ' +
      "anybody who reaches it could connect; configure hooks.auth (--user), or allow it with anonymous: true " +
      "(--anonymous)",
    ],
  },
  {
    what: "a list that has no end",
    config: `hooks:\n  logger:\n    level: [session, connection\nlog:\n  level: info\n`,
    lines: ["hookmq.yaml:4:1: the bracket that ends a list or a group is missing before this"],
  },
  {
    what: "a text that has no end",
    config: `log:\n  file: "hookmq.log\n`,
    lines: ["hookmq.yaml:3:1: the quote that ends a text is missing before this"],
  },
  {
    what: "a text that needs quotes",
    config: `hooks:\n  auth:\n    credentials: { alice: @secret }\n`,
    lines: ["hookmq.yaml:3:27: a text that begins like this must be put in quotes"],
  },
  {
    what: "lines that are not indented alike",
    config: `limits:\n    inflight: 10\n  packetSize: 100\n`,
    lines: ["hookmq.yaml:3:1: all mapping items must start at the same column"],
  },
  {
    what: "tabs",
    config: `limits:\n\tinflight: 10\n`,
    lines: ["hookmq.yaml:2:1: a line cannot be indented with tabs: use spaces"],
  },
  {
    what: "a line without a colon",
    config: `anonymous\nlimits:\n  inflight: 10\n`,
    lines: ["hookmq.yaml:1:1: a key needs a colon behind it, on the same line"],
  },
  {
    what: "a colon in a value",
    config: `hooks:\n  sys:\n    version: HookMQ: mine\n`,
    lines: ['hookmq.yaml:3:14: a value with ": " in it must be put in quotes'],
  },
  {
    what: "two documents",
    config: `anonymous: false\n---\nanonymous: true\n`,
    lines: ["hookmq.yaml:2:1: a second document begins here, but there can be only one"],
  },
  {
    what: "a tag",
    config: `hooks:\n  sys:\n    version: !mine HookMQ\n`,
    lines: ['hookmq.yaml:3:14: tags are not used here: put a text that begins with "!" in quotes'],
  },
  {
    what: "a tag that other programs know",
    config: `limits: !!omap [inflight: 1]\n`,
    lines: ['hookmq.yaml:1:9: tags are not used here: put a text that begins with "!" in quotes'],
  },
  {
    what: "an alias without an anchor",
    config: `hooks:\n  auth:\n    credentials:\n      alice: *secret\n`,
    lines: ['hookmq.yaml:4:14: an alias without an anchor: put a text that begins with "*" in quotes'],
  },
  {
    what: "two listeners in one place",
    config: `listeners:
  - {}
  - { transport: ws, port: 1883 }
  - { transport: unix, path: /run/mqtt.sock }
  - { transport: unix, path: /run/mqtt.sock }
  - { port: 0 }
  - { port: 0 }
  - { hostname: 127.0.0.2, port: 1883 }
  - { port: 9883 }
hooks:
  metrics:
`,
    lines: [
      "hookmq.yaml:3:5: listeners[1]: listeners[0] is on 127.0.0.1:1883 already: give each a place of its own",
      "hookmq.yaml:5:5: listeners[3]: listeners[2] is on /run/mqtt.sock already: give each a place of its own",
      "hookmq.yaml:11:3: hooks.metrics: listeners[7] is on 127.0.0.1:9883 already: give each a place of its own",
    ],
  },
  {
    what: "bytes that are no text",
    config: new Uint8Array([0x61, 0x3a, 0x20, 0xff, 0xfe]),
    lines: ["cannot read hookmq.yaml: it is no UTF-8 text"],
  },
];

for (const { what, config, lines } of badFiles) {
  Deno.test(`a configuration with ${what} is refused, and the lines say where and why`, async () => {
    assert.deepEqual(await refusalOf(config), lines);
  });
}

Deno.test("aliases that stand for billions of values are refused before they are counted out", async () => {
  const levels = Array.from({ length: 12 }, (_, level) => `l${level + 1}: &l${level + 1} [${`*l${level},`.repeat(9)}]`);
  const [line, ...others] = await refusalOf([`l0: &l0 [lol]`, ...levels].join("\n"));
  assert.match(line, /^hookmq\.yaml:\d+:\d+: there are more than 100 aliases$/);
  assert.deepEqual(others, []);
});

Deno.test("an alias inside of what it stands for is refused", async () => {
  assert.deepEqual(await refusalOf("listeners: &all [*all]\n"), [
    "hookmq.yaml:1:18: there are more than 100 aliases",
  ]);
});

Deno.test("brackets that go very deep are refused", async () => {
  const [line] = await refusalOf("[".repeat(10_000));
  assert.match(line, /^hookmq\.yaml:1:\d+: lists and groups are nested too deeply$/);
});

Deno.test("a file that is not there is refused", async () => {
  assert.deepEqual(await refusalOf("", { file: "/nowhere/hookmq.yaml" }), [
    "cannot read /nowhere/hookmq.yaml: there is no such file",
  ]);
});

Deno.test("passwords are not shown, however wrong they are", async () => {
  const lines = await refusalOf(`
hooks:
  auth:
    credentials:
      alice: [hidden]
      bob: { hidden: hidden }
      carl: 12345
      dora: ""
      "": hidden
`);
  assert.deepEqual(lines, [
    "hookmq.yaml:5:7: hooks.auth.credentials.alice: must be a text that is not empty",
    "hookmq.yaml:6:7: hooks.auth.credentials.bob: must be a text that is not empty",
    "hookmq.yaml:7:7: hooks.auth.credentials.carl: must be a text: put it in quotes",
    "hookmq.yaml:8:7: hooks.auth.credentials.dora: must be a text that is not empty",
    "hookmq.yaml:9:7: hooks.auth.credentials: a name is empty",
  ]);
  assert.deepEqual(await refusalOf("hooks:\n  auth:\n    credentials: alice:hidden\n"), [
    "hookmq.yaml:3:5: hooks.auth.credentials: must be names with values (name: value)",
  ]);
});
