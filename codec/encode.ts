import { encodeAcknowledgement } from "./acknowledgement.ts";
import { encodeAuth } from "./auth.ts";
import { encodeConnack } from "./connack.ts";
import { encodeConnect } from "./connect.ts";
import { encodeDisconnect } from "./disconnect.ts";
import type { Packet, ProtocolLevel } from "./packet.ts";
import { encodePingreq, encodePingresp } from "./ping.ts";
import { encodePublish } from "./publish.ts";
import { encodeSuback } from "./suback.ts";
import { encodeSubscribe } from "./subscribe.ts";
import { encodeUnsuback } from "./unsuback.ts";
import { encodeUnsubscribe } from "./unsubscribe.ts";

/**
 * Encodes one packet. What a level does not know (properties and reason codes before MQTT 5) is left out.
 *
 * @param level The protocol level of the connection; a CONNECT is encoded at its own.
 * @throws {RangeError} If a field has a value that MQTT cannot carry, or a property does not belong into the packet.
 *
 * @example
 * ```ts
 * import { encode } from "@hookmq/broker/codec";
 *
 * console.log(encode({ type: "puback", packetId: 7, reasonCode: 0 }, 4)); // Uint8Array [0x40, 0x02, 0x00, 0x07]
 * ```
 */
export function encode(packet: Packet, level: ProtocolLevel): Uint8Array {
  switch (packet.type) {
    case "connect":
      return encodeConnect(packet);
    case "connack":
      return encodeConnack(packet, level);
    case "publish":
      return encodePublish(packet, level);
    case "puback":
    case "pubrec":
    case "pubrel":
    case "pubcomp":
      return encodeAcknowledgement(packet, level);
    case "subscribe":
      return encodeSubscribe(packet, level);
    case "suback":
      return encodeSuback(packet, level);
    case "unsubscribe":
      return encodeUnsubscribe(packet, level);
    case "unsuback":
      return encodeUnsuback(packet, level);
    case "pingreq":
      return encodePingreq();
    case "pingresp":
      return encodePingresp();
    case "disconnect":
      return encodeDisconnect(packet, level);
    case "auth":
      return encodeAuth(packet);
  }
}
