import assert from "node:assert/strict";
import { decode, type ProtocolLevel } from "../../codec/mod.ts";
import { assertRefused, connectBytes, levels, packetBytes, text } from "./packet_bytes.ts";

/** Table 2-2 of the specification but for PUBLISH: a packet with the flags that it must have. */
const packets: [statement: string, name: string, packet: Uint8Array][] = [
  ["MQTT-2.1.3-1", "CONNECT", connectBytes()],
  ["MQTT-2.1.3-1", "CONNACK", packetBytes(0x20, 0, 0, 0)],
  ["MQTT-2.1.3-1", "PUBACK", packetBytes(0x40, 0, 1)],
  ["MQTT-2.1.3-1", "PUBREC", packetBytes(0x50, 0, 1)],
  ["MQTT-3.6.1-1", "PUBREL", packetBytes(0x62, 0, 1)],
  ["MQTT-2.1.3-1", "PUBCOMP", packetBytes(0x70, 0, 1)],
  ["MQTT-3.8.1-1", "SUBSCRIBE", packetBytes(0x82, [0, 1], 0, text("t"), 0)],
  ["MQTT-2.1.3-1", "SUBACK", packetBytes(0x90, [0, 1], 0, 0)],
  ["MQTT-3.10.1-1", "UNSUBSCRIBE", packetBytes(0xa2, [0, 1], 0, text("t"))],
  ["MQTT-2.1.3-1", "UNSUBACK", packetBytes(0xb0, [0, 1], 0, 0)],
  ["MQTT-2.1.3-1", "PINGREQ", packetBytes(0xc0)],
  ["MQTT-2.1.3-1", "PINGRESP", packetBytes(0xd0)],
  ["MQTT-3.14.1-1", "DISCONNECT", packetBytes(0xe0)],
  ["MQTT-3.15.1-1", "AUTH", packetBytes(0xf0)],
];

for (const [statement, name, packet] of packets) {
  Deno.test(`[5.0 ${statement}] ${name} is malformed with any flags but its own`, () => {
    assert.equal(decode(packet, 5).type, name.toLowerCase());
    for (let flags = 0; flags < 16; flags++) {
      const firstByte = (packet[0] & 0xf0) | flags;
      if (firstByte !== packet[0]) assertRefused(packet.with(0, firstByte), 5, 0x81, /reserved flags/);
    }
  });
}

const resent: [name: string, type: string, build: (flags: number) => Uint8Array][] = [
  ["PUBREL", "pubrel", (flags) => packetBytes(0x60 | flags, [0, 1])],
  ["SUBSCRIBE", "subscribe", (flags) => packetBytes(0x80 | flags, [0, 1], text("t"), 0)],
  ["UNSUBSCRIBE", "unsubscribe", (flags) => packetBytes(0xa0 | flags, [0, 1], text("t"))],
];

for (const [name, type, build] of resent) {
  Deno.test(`[3.1 section 2.1] at level 3, ${name} may have DUP set: it is sent again`, () => {
    assert.equal(decode(build(0x0a), 3).type, type);
  });

  Deno.test(`[3.1.1 MQTT-2.2.2-2] at level 4, ${name} with DUP set is malformed`, () => {
    assertRefused(build(0x0a), 4, 0x81, /reserved flags/);
  });
}

Deno.test("at level 3, DUP is still malformed in packets that are never sent again", () => {
  assertRefused(packetBytes(0x48, [0, 1]), 3, 0x81, /reserved flags/);
  assertRefused(packetBytes(0xc8), 3, 0x81, /reserved flags/);
});

for (const level of levels) {
  Deno.test(`at level ${level}, packet type 0 is malformed`, () => {
    assertRefused(packetBytes(0x00), level, 0x81, /packet type 0 does not exist/);
    assertRefused(packetBytes(0x00, 0, 1), level, 0x81, /packet type 0 does not exist/);
  });
}

for (const level of [3, 4] as ProtocolLevel[]) {
  Deno.test(`at level ${level}, AUTH is a protocol error`, () => {
    assertRefused(packetBytes(0xf0), level, 0x82, /AUTH does not exist before MQTT 5/);
  });
}

Deno.test("no bytes at all are malformed", () => {
  assertRefused(new Uint8Array(0), 5, 0x81, /packet is not complete/);
});

Deno.test("bytes behind the packet are malformed", () => {
  assertRefused(new Uint8Array([0xc0, 0, 0xc0, 0]), 5, 0x81, /2 bytes follow the packet/);
});

Deno.test("[5.0 MQTT-1.5.5-1] a remaining length that is not encoded in the fewest bytes is malformed", () => {
  assertRefused(new Uint8Array([0xc0, 0x80, 0x00]), 5, 0x81, /remaining length.* fewest bytes/);
});

Deno.test("a remaining length of five bytes is malformed", () => {
  assertRefused(new Uint8Array([0xc0, 0x80, 0x80, 0x80, 0x80, 0x00]), 5, 0x81, /remaining length.* four bytes/);
});

const behind: [name: string, packet: Uint8Array][] = [
  ["CONNECT", connectBytes({ rest: [0] })],
  ["CONNACK", packetBytes(0x20, 0, 0, 0, 0)],
  ["PUBACK", packetBytes(0x40, [0, 1], 0, 0, 0)],
  ["PUBREC", packetBytes(0x50, [0, 1], 0, 0, 0)],
  ["PUBREL", packetBytes(0x62, [0, 1], 0, 0, 0)],
  ["PUBCOMP", packetBytes(0x70, [0, 1], 0, 0, 0)],
  ["PINGREQ", packetBytes(0xc0, 0)],
  ["PINGRESP", packetBytes(0xd0, 0)],
  ["DISCONNECT", packetBytes(0xe0, 0, 0, 0)],
  ["AUTH", packetBytes(0xf0, 0x18, 4, [0x15, ...text("m")], 0)],
];

for (const [name, packet] of behind) {
  Deno.test(`${name} is malformed with a byte behind its last field`, () => {
    assertRefused(packet, 5, 0x81, new RegExp(`${name} has 1 bytes behind its end`));
  });
}

const behindAt4: [name: string, packet: Uint8Array][] = [
  ["CONNECT", connectBytes({ level: 4, rest: [0] })],
  ["CONNACK", packetBytes(0x20, 0, 0, 0)],
  ["PUBACK", packetBytes(0x40, [0, 1], 0)],
  ["PUBREC", packetBytes(0x50, [0, 1], 0)],
  ["PUBREL", packetBytes(0x62, [0, 1], 0)],
  ["PUBCOMP", packetBytes(0x70, [0, 1], 0)],
  ["UNSUBACK", packetBytes(0xb0, [0, 1], 0)],
  ["DISCONNECT", packetBytes(0xe0, 0)],
];

for (const [name, packet] of behindAt4) {
  Deno.test(`before MQTT 5, ${name} has neither reason code nor properties`, () => {
    for (const level of [3, 4] as ProtocolLevel[]) {
      assertRefused(packet, level, 0x81, new RegExp(`${name} has 1 bytes behind its end`));
    }
  });
}
