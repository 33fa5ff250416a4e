import assert from "node:assert/strict";
import {
  allowsReason,
  connectReturnCode,
  decode,
  type Packet,
  ReasonCode,
  type ReasonCodePacketType,
  reasonName,
} from "../../codec/mod.ts";
import { assertRefused, packetBytes, properties, text } from "./packet_bytes.ts";
import { reasonCodes } from "./reason_code_tables.ts";

/** Table 2-6 of the specification. */
// deno-fmt-ignore
const names: Readonly<Record<number, string>> = {
  0x00: "Success", 0x01: "Granted QoS 1", 0x02: "Granted QoS 2", 0x04: "Disconnect with Will Message",
  0x10: "No matching subscribers", 0x11: "No subscription existed", 0x18: "Continue authentication",
  0x19: "Re-authenticate", 0x80: "Unspecified error", 0x81: "Malformed Packet", 0x82: "Protocol Error",
  0x83: "Implementation specific error", 0x84: "Unsupported Protocol Version", 0x85: "Client Identifier not valid",
  0x86: "Bad User Name or Password", 0x87: "Not authorized", 0x88: "Server unavailable", 0x89: "Server busy",
  0x8a: "Banned", 0x8b: "Server shutting down", 0x8c: "Bad authentication method", 0x8d: "Keep Alive timeout",
  0x8e: "Session taken over", 0x8f: "Topic Filter invalid", 0x90: "Topic Name invalid",
  0x91: "Packet Identifier in use", 0x92: "Packet Identifier not found", 0x93: "Receive Maximum exceeded",
  0x94: "Topic Alias invalid", 0x95: "Packet too large", 0x96: "Message rate too high", 0x97: "Quota exceeded",
  0x98: "Administrative action", 0x99: "Payload format invalid", 0x9a: "Retain not supported",
  0x9b: "QoS not supported", 0x9c: "Use another server", 0x9d: "Server moved",
  0x9e: "Shared Subscriptions not supported", 0x9f: "Connection rate exceeded", 0xa0: "Maximum connect time",
  0xa1: "Subscription Identifiers not supported", 0xa2: "Wildcard Subscriptions not supported",
};

Deno.test("ReasonCode has every value of table 2-6, and no other", () => {
  assert.deepEqual(new Set(Object.values(ReasonCode)), new Set(Object.keys(names).map(Number)));
});

Deno.test("reasonName gives the name of table 2-6, in lower case and without a hyphen", () => {
  for (const [reasonCode, name] of Object.entries(names)) {
    assert.equal(reasonName(Number(reasonCode)), name.toLowerCase().replace("-", ""));
  }
});

Deno.test("reasonName gives the number where the specification has no name", () => {
  assert.equal(reasonName(0x03), "reason code 0x03");
  assert.equal(reasonName(0xff), "reason code 0xff");
});

function tableOf(type: ReasonCodePacketType): readonly number[] {
  // Table 2-6 lists 0x8C for DISCONNECT, table 3-10 leaves it out. It is the answer to a wrong re-authentication.
  return type === "disconnect" ? [...reasonCodes.disconnect, 0x8c] : reasonCodes[type];
}

const carriers: Record<ReasonCodePacketType, (reasonCode: number) => Uint8Array> = {
  connack: (reasonCode) => packetBytes(0x20, 0, reasonCode, properties()),
  puback: (reasonCode) => packetBytes(0x40, [0, 1], reasonCode),
  pubrec: (reasonCode) => packetBytes(0x50, [0, 1], reasonCode),
  pubrel: (reasonCode) => packetBytes(0x62, [0, 1], reasonCode),
  pubcomp: (reasonCode) => packetBytes(0x70, [0, 1], reasonCode),
  suback: (reasonCode) => packetBytes(0x90, [0, 1], properties(), reasonCode),
  unsuback: (reasonCode) => packetBytes(0xb0, [0, 1], properties(), reasonCode),
  disconnect: (reasonCode) => packetBytes(0xe0, reasonCode),
  auth: (reasonCode) => packetBytes(0xf0, reasonCode, properties(0x15, text("m"))),
};

const statements: Record<ReasonCodePacketType, string> = {
  connack: "MQTT-3.2.2-8",
  puback: "MQTT-3.4.2-1",
  pubrec: "MQTT-3.5.2-1",
  pubrel: "MQTT-3.6.2-1",
  pubcomp: "MQTT-3.7.2-1",
  suback: "MQTT-3.9.3-2",
  unsuback: "MQTT-3.11.3-2",
  disconnect: "MQTT-3.14.2-1",
  auth: "MQTT-3.15.2-1",
};

function reasonCodeOf(packet: Packet): number | undefined {
  if ("reasonCode" in packet) return packet.reasonCode;
  return "reasonCodes" in packet ? packet.reasonCodes[0] : undefined;
}

for (const type of Object.keys(carriers) as ReasonCodePacketType[]) {
  const name = type.toUpperCase();

  Deno.test(`[5.0 ${statements[type]}] ${name} may carry the reason codes of its own table`, () => {
    for (let reasonCode = 0; reasonCode < 256; reasonCode++) {
      assert.equal(allowsReason(type, reasonCode), tableOf(type).includes(reasonCode), reasonName(reasonCode));
    }
  });

  Deno.test(`[5.0 ${statements[type]}] ${name} with any other reason code is a protocol error`, () => {
    for (let reasonCode = 0; reasonCode < 256; reasonCode++) {
      const bytes = carriers[type](reasonCode);
      if (tableOf(type).includes(reasonCode)) assert.equal(reasonCodeOf(decode(bytes, 5)), reasonCode);
      else {assertRefused(
          bytes,
          5,
          0x82,
          new RegExp(`${name} has the reason code ${reasonCode}, which it may not carry`),
        );}
    }
  });
}

/** Which reason codes say the same as a return code of MQTT 3.1.1's table 3.1. */
const returnCodes: readonly (readonly number[])[] = [
  [0x00],
  [0x84],
  [0x85],
  [0x88, 0x89, 0x97, 0x9c, 0x9d, 0x9f],
  [0x86],
  [0x87, 0x8a, 0x8c],
];

Deno.test("[3.1.1 section 3.2.2.3] connectReturnCode gives the return code that says the same", () => {
  for (const [returnCode, reasonCodes] of returnCodes.entries()) {
    for (const reasonCode of reasonCodes) assert.equal(connectReturnCode(reasonCode), returnCode);
  }
});

Deno.test("[3.1.1 MQTT-3.2.2-6] connectReturnCode gives undefined where no return code is applicable", () => {
  for (const reasonCode of reasonCodes.connack) {
    if (returnCodes.flat().includes(reasonCode)) continue;
    assert.equal(connectReturnCode(reasonCode), undefined, reasonName(reasonCode));
  }
});
