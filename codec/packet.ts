import type { AuthPacket } from "./auth.ts";
import type { AcknowledgementPacket } from "./acknowledgement.ts";
import type { ConnackPacket } from "./connack.ts";
import type { ConnectPacket } from "./connect.ts";
import type { DisconnectPacket } from "./disconnect.ts";
import type { PingreqPacket, PingrespPacket } from "./ping.ts";
import type { PublishPacket } from "./publish.ts";
import type { SubackPacket } from "./suback.ts";
import type { SubscribePacket } from "./subscribe.ts";
import type { UnsubackPacket } from "./unsuback.ts";
import type { UnsubscribePacket } from "./unsubscribe.ts";

/**
 * The protocol level of CONNECT: 3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is MQTT 5.0. Source: MQTT 5.0 section 3.1.2.2.
 *
 * @example
 * ```ts
 * import type { ProtocolLevel } from "@hookmq/broker/codec";
 *
 * const versions: Record<ProtocolLevel, string> = { 3: "MQTT 3.1", 4: "MQTT 3.1.1", 5: "MQTT 5.0" };
 * console.log(versions[4]); // MQTT 3.1.1
 * ```
 */
export type ProtocolLevel = 3 | 4 | 5;

/**
 * Quality of service: 0 at most once, 1 at least once, 2 exactly once. Source: MQTT 5.0 section 4.3.
 *
 * @example
 * ```ts
 * import type { Qos } from "@hookmq/broker/codec";
 *
 * // At which QoS a message goes to a subscriber.
 * function delivered(published: Qos, granted: Qos): Qos {
 *   return published < granted ? published : granted;
 * }
 * console.log(delivered(2, 1)); // 1
 * ```
 */
export type Qos = 0 | 1 | 2;

/**
 * Any MQTT control packet, told apart by its `type`. Source: MQTT 5.0 section 2.1.2.
 *
 * @example
 * ```ts
 * import { decode, type Packet } from "@hookmq/broker/codec";
 *
 * function describe(packet: Packet): string {
 *   switch (packet.type) {
 *     case "publish":
 *       return `${packet.payload.length} bytes for ${packet.topic}`;
 *     case "connect":
 *       return `${packet.clientId} connects`;
 *     default:
 *       return packet.type;
 *   }
 * }
 * console.log(describe(decode(Uint8Array.of(0x30, 5, 0, 1, 0x61, 0x6f, 0x6e), 4))); // 2 bytes for a
 * ```
 */
export type Packet =
  | ConnectPacket
  | ConnackPacket
  | PublishPacket
  | AcknowledgementPacket
  | SubscribePacket
  | SubackPacket
  | UnsubscribePacket
  | UnsubackPacket
  | PingreqPacket
  | PingrespPacket
  | DisconnectPacket
  | AuthPacket;

/**
 * The upper four bits of a packet's first byte. Source: MQTT 5.0 section 2.1.2.
 *
 * @example
 * ```ts
 * import { encode, PacketType } from "@hookmq/broker/codec";
 *
 * const [first] = encode({ type: "pingreq" }, 5);
 * console.log(first >> 4 === PacketType.Pingreq); // true
 * ```
 */
export const PacketType = {
  Connect: 1,
  Connack: 2,
  Publish: 3,
  Puback: 4,
  Pubrec: 5,
  Pubrel: 6,
  Pubcomp: 7,
  Subscribe: 8,
  Suback: 9,
  Unsubscribe: 10,
  Unsuback: 11,
  Pingreq: 12,
  Pingresp: 13,
  Disconnect: 14,
  Auth: 15,
} as const;
