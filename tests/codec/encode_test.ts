import assert from "node:assert/strict";
import { decode, encode, type Packet, type Properties, type ProtocolLevel } from "../../codec/mod.ts";
import { packetBytes, text, variableByteInteger } from "./packet_bytes.ts";
import { propertyTable } from "./property_table.ts";

const connect = { type: "connect", protocolLevel: 5, clientId: "a", cleanStart: true, keepAlive: 10 } as const;
const will = { topic: "t", payload: new Uint8Array([1]), qos: 0, retain: false } as const;
const publish = { type: "publish", topic: "t", payload: new Uint8Array(0), qos: 0, retain: false, dup: false } as const;
const subscription = { topicFilter: "t", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;

/** The specification's own examples: what is encoded, at which level, and the bytes of the figure. */
const examples: [where: string, level: ProtocolLevel, packet: Packet, bytes: Uint8Array][] = [
  [
    "5.0 figure 3-6, a CONNECT with user name, password, will and session expiry",
    5,
    {
      ...connect,
      will: { ...will, qos: 1 },
      username: "u",
      password: new Uint8Array([2]),
      properties: { sessionExpiryInterval: 10 },
    },
    packetBytes(
      0x10,
      [0x00, 0x04, 0x4d, 0x51, 0x54, 0x54, 0x05, 0xce, 0x00, 0x0a, 0x05, 0x11, 0x00, 0x00, 0x00, 0x0a],
      text("a"),
      [0x00, 0x00, 0x01, 0x74, 0x00, 0x01, 0x01],
      text("u"),
      [0x00, 0x01, 0x02],
    ),
  ],
  [
    "3.1.1 figure 3.6, a CONNECT with user name, password and will",
    4,
    { ...connect, protocolLevel: 4, will: { ...will, qos: 1 }, username: "u", password: new Uint8Array([2]) },
    packetBytes(
      0x10,
      [0x00, 0x04, 0x4d, 0x51, 0x54, 0x54, 0x04, 0xce, 0x00, 0x0a],
      text("a"),
      [0x00, 0x01, 0x74, 0x00, 0x01, 0x01],
      text("u"),
      [0x00, 0x01, 0x02],
    ),
  ],
  [
    "5.0 figure 3-9, a PUBLISH to a/b with packet identifier 10 and no properties",
    5,
    { ...publish, topic: "a/b", qos: 1, packetId: 10, payload: new Uint8Array([0xff]) },
    packetBytes(0x32, [0x00, 0x03, 0x61, 0x2f, 0x62, 0x00, 0x0a, 0x00], 0xff),
  ],
  [
    "5.0 figures 3-19 and 3-21, a SUBSCRIBE to a/b at QoS 1 and c/d at QoS 2",
    5,
    {
      type: "subscribe",
      packetId: 10,
      subscriptions: [{ ...subscription, topicFilter: "a/b", qos: 1 }, { ...subscription, topicFilter: "c/d", qos: 2 }],
    },
    packetBytes(
      0x82,
      [0x00, 0x0a, 0x00],
      [0x00, 0x03, 0x61, 0x2f, 0x62, 0x01],
      [0x00, 0x03, 0x63, 0x2f, 0x64, 0x02],
    ),
  ],
  [
    "3.1.1 figures 3.21 and 3.23, a SUBSCRIBE to a/b at QoS 1 and c/d at QoS 2",
    4,
    {
      type: "subscribe",
      packetId: 10,
      subscriptions: [{ ...subscription, topicFilter: "a/b", qos: 1 }, { ...subscription, topicFilter: "c/d", qos: 2 }],
    },
    packetBytes(0x82, [0x00, 0x0a], [0x00, 0x03, 0x61, 0x2f, 0x62, 0x01], [0x00, 0x03, 0x63, 0x2f, 0x64, 0x02]),
  ],
  [
    "3.1.1 figure 3.27, a SUBACK with QoS 0, QoS 2 and a failure",
    4,
    { type: "suback", packetId: 10, reasonCodes: [0, 2, 0x80] },
    packetBytes(0x90, [0x00, 0x0a], [0x00, 0x02, 0x80]),
  ],
  [
    "5.0 figure 3.30, an UNSUBSCRIBE from a/b and c/d",
    5,
    { type: "unsubscribe", packetId: 10, topicFilters: ["a/b", "c/d"] },
    packetBytes(0xa2, [0x00, 0x0a, 0x00], [0x00, 0x03, 0x61, 0x2f, 0x62], [0x00, 0x03, 0x63, 0x2f, 0x64]),
  ],
  [
    "3.1.1 figure 3.30, an UNSUBSCRIBE from a/b and c/d",
    4,
    { type: "unsubscribe", packetId: 10, topicFilters: ["a/b", "c/d"] },
    packetBytes(0xa2, [0x00, 0x0a], [0x00, 0x03, 0x61, 0x2f, 0x62], [0x00, 0x03, 0x63, 0x2f, 0x64]),
  ],
  [
    "5.0 figure 3-24, a DISCONNECT with session expiry 0",
    5,
    { type: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 0 } },
    packetBytes(0xe0, [0x00, 0x05, 0x11, 0x00, 0x00, 0x00, 0x00]),
  ],
  ["3.1.1 figure 3.8, a CONNACK", 4, { type: "connack", sessionPresent: true, reasonCode: 0 }, packetBytes(0x20, 1, 0)],
  [
    "3.1.1 figure 3.31, an UNSUBACK",
    4,
    { type: "unsuback", packetId: 10, reasonCodes: [] },
    packetBytes(0xb0, 0x00, 0x0a),
  ],
  ["5.0 figure 3.33, a PINGREQ", 5, { type: "pingreq" }, new Uint8Array([0xc0, 0x00])],
  ["5.0 figure 3.34, a PINGRESP", 5, { type: "pingresp" }, new Uint8Array([0xd0, 0x00])],
  ["3.1.1 figure 3.35, a DISCONNECT", 4, { type: "disconnect", reasonCode: 0 }, new Uint8Array([0xe0, 0x00])],
];

for (const [where, level, packet, bytes] of examples) {
  Deno.test(`[${where}] is encoded to the bytes of the figure`, () => {
    assert.deepEqual(encode(packet, level), bytes);
  });

  Deno.test(`[${where}] is decoded from the bytes of the figure`, () => {
    assert.deepEqual(decode(bytes, level), packet);
  });
}

Deno.test("[5.0 figure 1-2] the string A𪛔 takes five bytes behind its length", () => {
  const bytes = encode({ ...publish, topic: "A\u{2a6d4}" }, 4);
  assert.deepEqual(bytes, packetBytes(0x30, [0x00, 0x05, 0x41, 0xf0, 0xaa, 0x9b, 0x94]));
});

Deno.test("[5.0 table 1-1] a Variable Byte Integer takes the fewest bytes", () => {
  const sizes: [value: number, ...bytes: number[]][] = [
    [1, 0x01],
    [127, 0x7f],
    [128, 0x80, 0x01],
    [16_383, 0xff, 0x7f],
    [16_384, 0x80, 0x80, 0x01],
    [2_097_151, 0xff, 0xff, 0x7f],
    [2_097_152, 0x80, 0x80, 0x80, 0x01],
    [268_435_455, 0xff, 0xff, 0xff, 0x7f],
  ];
  for (const [value, ...bytes] of sizes) {
    const packet = encode({ ...publish, properties: { subscriptionIdentifiers: [value] } }, 5);
    assert.deepEqual(packet, packetBytes(0x30, text("t"), 1 + bytes.length, 0x0b, bytes));
  }
});

Deno.test("[3.1.1 section 2.2.3] a remaining length of 321 is 0xC1 0x02", () => {
  const bytes = encode({ ...publish, payload: new Uint8Array(318) }, 4);
  assert.deepEqual([...bytes.subarray(0, 3)], [0x30, 0xc1, 0x02]);
  assert.equal(bytes.length, 324);
});

for (const type of ["puback", "pubrec", "pubrel", "pubcomp"] as const) {
  const name = type.toUpperCase();

  Deno.test(`${name} leaves reason code and properties out when it says success`, () => {
    assert.equal(encode({ type, packetId: 10, reasonCode: 0 }, 5).length, 4);
  });

  Deno.test(`${name} leaves the property length out when there is only a reason code`, () => {
    assert.deepEqual([...encode({ type, packetId: 10, reasonCode: 0x92 }, 5).subarray(1)], [3, 0, 10, 0x92]);
  });

  Deno.test(`before MQTT 5, ${name} leaves reason code and properties out`, () => {
    const packet: Packet = { type, packetId: 10, reasonCode: 0x80, properties: { reasonString: "why" } };
    assert.deepEqual([...encode(packet, 4).subarray(1)], [2, 0, 10]);
  });
}

Deno.test("before MQTT 5, properties and the subscription options but QoS are left out", () => {
  const subscriptions = [{ ...subscription, noLocal: true, retainAsPublished: true, retainHandling: 2 as const }];
  const properties: Properties = { userProperties: [["k", "v"]] };
  assert.deepEqual(
    encode({ type: "subscribe", packetId: 1, subscriptions, properties }, 4),
    packetBytes(0x82, [0, 1], text("t"), 0),
  );
  assert.deepEqual(encode({ ...publish, properties }, 4), packetBytes(0x30, text("t")));
  assert.deepEqual(encode({ type: "disconnect", reasonCode: 0x8e, properties }, 4), packetBytes(0xe0));
});

Deno.test("a property that is undefined is left out", () => {
  const bytes = encode({ ...publish, properties: { contentType: undefined, topicAlias: undefined } }, 5);
  assert.deepEqual(bytes, packetBytes(0x30, text("t"), 0));
});

/** Every place for a string, with packets that hold `string` there. */
const stringFields: [where: string, packet: (string: string) => Packet][] = [
  ["a client identifier", (clientId) => ({ ...connect, clientId })],
  ["a will topic", (topic) => ({ ...connect, will: { ...will, topic } })],
  ["a user name", (username) => ({ ...connect, username })],
  ["a topic name", (topic) => ({ ...publish, topic })],
  [
    "a topic filter of a SUBSCRIBE",
    (topicFilter) => ({ type: "subscribe", packetId: 1, subscriptions: [{ ...subscription, topicFilter }] }),
  ],
  [
    "a topic filter of an UNSUBSCRIBE",
    (topicFilter) => ({ type: "unsubscribe", packetId: 1, topicFilters: [topicFilter] }),
  ],
  ["a content type", (contentType) => ({ ...publish, properties: { contentType } })],
  ["a response topic", (responseTopic) => ({ ...publish, properties: { responseTopic } })],
  [
    "a reason string",
    (reasonString) => ({ type: "puback", packetId: 1, reasonCode: 0, properties: { reasonString } }),
  ],
  ["the name of a user property", (key) => ({ ...publish, properties: { userProperties: [[key, "v"]] } })],
  ["the value of a user property", (value) => ({ ...publish, properties: { userProperties: [["k", value]] } })],
];

for (const [where, packet] of stringFields) {
  Deno.test(`a lone surrogate in ${where} is a RangeError that shows it`, () => {
    for (
      const [string, shown] of [["a\ud800", "a\\ud800"], ["\udfffb", "\\udfffb"], ["\udc00\ud800", "\\udc00\\ud800"]]
    ) {
      assertRangeError(() => encode(packet(string), 5), `"${shown}"`);
    }
  });

  Deno.test(`U+0000 in ${where} is a RangeError that shows it`, () => {
    assertRangeError(() => encode(packet("a\0b"), 5), '"a\\u0000b"');
  });

  Deno.test(`${where} of 65,535 bytes is encoded, one more is a RangeError that says so`, () => {
    const longest = packet("ä".repeat(32_767) + "a");
    assert.deepEqual(decode(encode(longest, 5), 5), longest);
    assertRangeError(() => encode(packet("ä".repeat(32_768)), 5), "65536");
  });
}

/** The error says which value was wrong, in one short line. */
function assertRangeError(action: () => void, value: string): void {
  assert.throws(action, (error) => {
    assert(error instanceof RangeError, `not a RangeError: ${error}`);
    assert(error.message.includes(value), error.message);
    assert(error.message.length < 300 && !error.message.includes("\n"), error.message);
    return true;
  });
}

/** Every packet type, and the will, with properties. */
const withProperties: [name: string, packet: (properties: Properties) => Packet][] = [
  ["CONNECT", (properties) => ({ ...connect, properties })],
  ["Will Properties", (properties) => ({ ...connect, will: { ...will, properties } })],
  ["CONNACK", (properties) => ({ type: "connack", sessionPresent: false, reasonCode: 0, properties })],
  ["PUBLISH", (properties) => ({ ...publish, properties })],
  ["PUBACK", (properties) => ({ type: "puback", packetId: 1, reasonCode: 0, properties })],
  ["PUBREC", (properties) => ({ type: "pubrec", packetId: 1, reasonCode: 0, properties })],
  ["PUBREL", (properties) => ({ type: "pubrel", packetId: 1, reasonCode: 0, properties })],
  ["PUBCOMP", (properties) => ({ type: "pubcomp", packetId: 1, reasonCode: 0, properties })],
  ["SUBSCRIBE", (properties) => ({ type: "subscribe", packetId: 1, subscriptions: [subscription], properties })],
  ["SUBACK", (properties) => ({ type: "suback", packetId: 1, reasonCodes: [0], properties })],
  ["UNSUBSCRIBE", (properties) => ({ type: "unsubscribe", packetId: 1, topicFilters: ["t"], properties })],
  ["UNSUBACK", (properties) => ({ type: "unsuback", packetId: 1, reasonCodes: [0], properties })],
  ["DISCONNECT", (properties) => ({ type: "disconnect", reasonCode: 0, properties })],
  ["AUTH", (properties) => ({ type: "auth", reasonCode: 0x18, properties })],
];

for (const [name, packet] of withProperties) {
  Deno.test(`[5.0 table 2-4] ${name} with a property of other packets is a RangeError that names it`, () => {
    for (const { key, value, packets } of propertyTable) {
      if (packets.includes(name)) assert.doesNotThrow(() => encode(packet({ [key]: value }), 5));
      else assertRangeError(() => encode(packet({ [key]: value }), 5), `"${key}"`);
    }
  });
}

Deno.test("a property that does not exist is a RangeError that names it", () => {
  const properties = { contentTipe: "x" } as Properties;
  assertRangeError(() => encode({ ...publish, properties }, 5), '"contentTipe"');
});

const packetsWithIds: [name: string, packet: (packetId: number) => Packet][] = [
  ["PUBLISH at QoS 1", (packetId) => ({ ...publish, qos: 1, packetId })],
  ["PUBLISH at QoS 2", (packetId) => ({ ...publish, qos: 2, packetId })],
  ["PUBACK", (packetId) => ({ type: "puback", packetId, reasonCode: 0 })],
  ["PUBREC", (packetId) => ({ type: "pubrec", packetId, reasonCode: 0 })],
  ["PUBREL", (packetId) => ({ type: "pubrel", packetId, reasonCode: 0 })],
  ["PUBCOMP", (packetId) => ({ type: "pubcomp", packetId, reasonCode: 0 })],
  ["SUBSCRIBE", (packetId) => ({ type: "subscribe", packetId, subscriptions: [subscription] })],
  ["SUBACK", (packetId) => ({ type: "suback", packetId, reasonCodes: [0] })],
  ["UNSUBSCRIBE", (packetId) => ({ type: "unsubscribe", packetId, topicFilters: ["t"] })],
  ["UNSUBACK", (packetId) => ({ type: "unsuback", packetId, reasonCodes: [0] })],
];

for (const [name, packet] of packetsWithIds) {
  Deno.test(`${name} with a packet identifier that is not from 1 to 65,535 is a RangeError that shows it`, () => {
    assert.doesNotThrow(() => encode(packet(65_535), 5));
    for (const packetId of [0, -1, 65_536, 1.5, NaN]) {
      assertRangeError(() => encode(packet(packetId), 5), `packet identifier is ${packetId}`);
    }
  });
}

Deno.test("PUBLISH at QoS 1 without a packet identifier is a RangeError", () => {
  assertRangeError(() => encode({ ...publish, qos: 1 }, 5), "packet identifier");
});

for (const topic of ["", "a/+", "#"]) {
  Deno.test(`PUBLISH to "${topic}" is a RangeError that shows it`, () => {
    assertRangeError(() => encode({ ...publish, topic }, 5), `"${topic}"`);
  });

  Deno.test(`a response topic "${topic}" is a RangeError that shows it`, () => {
    assertRangeError(() => encode({ ...publish, properties: { responseTopic: topic } }, 5), `"${topic}"`);
  });
}

Deno.test("before MQTT 5, an empty topic name is a RangeError even with a topic alias", () => {
  assertRangeError(() => encode({ ...publish, topic: "", properties: { topicAlias: 1 } }, 4), '""');
});

const binaryFields: [where: string, packet: (data: Uint8Array) => Packet][] = [
  ["a will payload", (payload) => ({ ...connect, will: { ...will, payload } })],
  ["a password", (password) => ({ ...connect, password })],
  ["correlation data", (correlationData) => ({ ...publish, properties: { correlationData } })],
];

for (const [where, packet] of binaryFields) {
  Deno.test(`${where} of 65,535 bytes is encoded, one more is a RangeError that says so`, () => {
    const longest = packet(new Uint8Array(65_535));
    assert.deepEqual(decode(encode(longest, 5), 5), longest);
    assertRangeError(() => encode(packet(new Uint8Array(65_536)), 5), "65536");
  });
}

const numbers: [where: string, maximum: number, packet: (value: number) => Packet][] = [
  ["keep alive", 0xffff, (keepAlive) => ({ ...connect, keepAlive })],
  ["receiveMaximum", 0xffff, (receiveMaximum) => ({ ...connect, properties: { receiveMaximum } })],
  ["topicAlias", 0xffff, (topicAlias) => ({ ...publish, properties: { topicAlias } })],
  [
    "messageExpiryInterval",
    0xffff_ffff,
    (messageExpiryInterval) => ({ ...publish, properties: { messageExpiryInterval } }),
  ],
  ["maximumPacketSize", 0xffff_ffff, (maximumPacketSize) => ({ ...connect, properties: { maximumPacketSize } })],
  [
    "subscriptionIdentifiers",
    0x0fff_ffff,
    (value) => ({ ...publish, properties: { subscriptionIdentifiers: [value] } }),
  ],
];

for (const [where, maximum, packet] of numbers) {
  Deno.test(`${where} above ${maximum}, below 0 or with a fraction is a RangeError that shows it`, () => {
    assert.doesNotThrow(() => encode(packet(maximum), 5));
    for (const value of [maximum + 1, -1, 1.5, NaN]) assertRangeError(() => encode(packet(value), 5), String(value));
  });
}

for (const key of ["receiveMaximum", "maximumPacketSize", "topicAlias", "subscriptionIdentifiers"] as const) {
  Deno.test(`${key} 0 is a RangeError that names it`, () => {
    const properties = { [key]: key === "subscriptionIdentifiers" ? [0] : 0 };
    const isPublish = key === "topicAlias" || key === "subscriptionIdentifiers";
    assertRangeError(() => encode(isPublish ? { ...publish, properties } : { ...connect, properties }, 5), key);
  });
}

Deno.test("payloadFormatIndicator and maximumQos other than 0 and 1 are a RangeError that shows the value", () => {
  const payloadFormatIndicator = 2 as 1;
  assertRangeError(() => encode({ ...publish, properties: { payloadFormatIndicator } }, 5), "is 2");
  const maximumQos = 2 as 1;
  const connack: Packet = { type: "connack", sessionPresent: false, reasonCode: 0, properties: { maximumQos } };
  assertRangeError(() => encode(connack, 5), "is 2");
});

Deno.test("packets of every size up to several growths of the writer's buffer are encoded whole", () => {
  for (let length = 0; length < 600; length++) {
    const topicFilter = "abcdefghijklmnopqrstuvwxyz".repeat(24).slice(0, length) + "z";
    const bytes = encode({ type: "unsubscribe", packetId: 0x0102, topicFilters: [topicFilter, "b"] }, 4);
    assert.deepEqual(bytes, packetBytes(0xa2, [1, 2], text(topicFilter), text("b")));
    assert.equal(bytes.length, 1 + variableByteInteger(length + 8).length + length + 8);
  }
});
