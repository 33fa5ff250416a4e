import { type AcknowledgementType, readAcknowledgement } from "./acknowledgement.ts";
import { readAuth } from "./auth.ts";
import { readConnack } from "./connack.ts";
import { readConnect } from "./connect.ts";
import { readDisconnect } from "./disconnect.ts";
import { malformed, protocolError } from "./errors.ts";
import { Framer } from "./framer.ts";
import { type Packet, PacketType, type ProtocolLevel } from "./packet.ts";
import { PacketReader } from "./packet_reader.ts";
import { readPublish } from "./publish.ts";
import { readSuback } from "./suback.ts";
import { readSubscribe } from "./subscribe.ts";
import { readUnsuback } from "./unsuback.ts";
import { readUnsubscribe } from "./unsubscribe.ts";

/**
 * Decodes one packet.
 *
 * @param packet Exactly one packet, with its fixed header.
 * @param level The protocol level of the connection; a CONNECT says its own.
 * @throws {PacketError} If the bytes are no packet of that level, or one that says what it may not say.
 *
 * @example
 * ```ts
 * import { decode } from "@hookmq/broker/codec";
 *
 * console.log(decode(new Uint8Array([0x40, 0x02, 0x00, 0x07]), 4)); // { type: "puback", packetId: 7, reasonCode: 0 }
 * ```
 */
export function decode(packet: Uint8Array, level: ProtocolLevel): Packet {
  const framer = new Framer();
  framer.push(packet);
  if (!framer.next()) throw malformed("packet is not complete");
  if (framer.end !== packet.length) throw malformed(`${packet.length - framer.end} bytes follow the packet`);
  return decodeFrame(framer, level);
}

/**
 * Decodes the packet that a {@linkcode Framer} is at. What it returns may hold views into the framer's bytes.
 *
 * @example
 * ```ts
 * import { decodeFrame, Framer } from "@hookmq/broker/codec";
 *
 * const framer = new Framer();
 * framer.push(Uint8Array.of(0xc0, 0, 0xc0, 0));
 * while (framer.next()) console.log(decodeFrame(framer, 5)); // { type: "pingreq" }, twice
 * ```
 *
 * @throws {PacketError} As {@linkcode decode} does.
 */
export function decodeFrame(framer: Framer, level: ProtocolLevel): Packet {
  const { bytes, start, bodyStart, end } = framer;
  const type = bytes[start] >> 4;
  if (type === PacketType.Publish) return readPublish(bytes, start, bodyStart, end, level);
  checkFlags(type, bytes[start] & 0x0f, level);
  const reader = new PacketReader(bytes, bodyStart, end);
  switch (type) {
    case PacketType.Connect:
      return readConnect(reader);
    case PacketType.Connack:
      return readConnack(reader, level);
    case PacketType.Puback:
    case PacketType.Pubrec:
    case PacketType.Pubrel:
    case PacketType.Pubcomp:
      return readAcknowledgement(reader, level, acknowledgementTypes[type - PacketType.Puback]);
    case PacketType.Subscribe:
      return readSubscribe(reader, level);
    case PacketType.Suback:
      return readSuback(reader, level);
    case PacketType.Unsubscribe:
      return readUnsubscribe(reader, level);
    case PacketType.Unsuback:
      return readUnsuback(reader, level);
    case PacketType.Pingreq:
      reader.expectEnd("PINGREQ");
      return { type: "pingreq" };
    case PacketType.Pingresp:
      reader.expectEnd("PINGRESP");
      return { type: "pingresp" };
    case PacketType.Disconnect:
      return readDisconnect(reader, level);
    case PacketType.Auth:
      if (level !== 5) throw protocolError("AUTH does not exist before MQTT 5");
      return readAuth(reader);
    default:
      throw malformed("packet type 0 does not exist");
  }
}

const acknowledgementTypes: readonly AcknowledgementType[] = ["puback", "pubrec", "pubrel", "pubcomp"];

/** The lower four bits of the first byte are fixed for every packet but PUBLISH [MQTT-2.1.3-1]. */
function checkFlags(type: number, flags: number, level: ProtocolLevel): void {
  const reserved = type === PacketType.Pubrel || type === PacketType.Subscribe || type === PacketType.Unsubscribe
    ? 0x02
    : 0x00;
  // MQTT 3.1 sets DUP in a PUBREL, SUBSCRIBE or UNSUBSCRIBE that is sent again.
  if (level === 3 && reserved === 0x02 && flags === 0x0a) return;
  if (flags !== reserved) throw malformed(`packet of type ${type} has the reserved flags 0x${flags.toString(16)}`);
}
