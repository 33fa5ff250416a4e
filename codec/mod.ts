/**
 * The codec of HookMQ: MQTT 3.1, 3.1.1 and 5.0 packets from and to bytes. It knows no broker and no network, and can be
 * used alone.
 *
 * {@linkcode Framer} cuts a stream into packets, {@linkcode decode} and {@linkcode encode} turn one packet from and
 * into bytes. Decoding is strict: whatever the specification forbids is a {@linkcode PacketError} with the reason code
 * to answer with.
 *
 * @example
 * ```ts
 * import { decode, encode } from "@hookmq/broker/codec";
 *
 * const bytes = encode({ type: "suback", packetId: 1, reasonCodes: [2] }, 5);
 * console.log(decode(bytes, 5)); // { type: "suback", packetId: 1, reasonCodes: [2] }
 * ```
 *
 * @module
 */
export { decode, decodeFrame } from "./decode.ts";
export { encode } from "./encode.ts";
export { PacketError, ReasonCodeError } from "./errors.ts";
export type { ReasonCodeErrorOptions } from "./errors.ts";
export { Framer } from "./framer.ts";
export { PacketType } from "./packet.ts";
export type { Packet, ProtocolLevel, Qos } from "./packet.ts";
export { allowsReason, connectReturnCode, ReasonCode, reasonName } from "./reason_code.ts";
export type { ReasonCodePacketType } from "./reason_code.ts";
export { isTopicFilter, isTopicName, parseSharedFilter } from "./topic.ts";
export type { SharedFilter } from "./topic.ts";
export type { Properties, UserProperty } from "./properties.ts";
export type { AcknowledgementPacket, AcknowledgementProperties, AcknowledgementType } from "./acknowledgement.ts";
export type { AuthPacket, AuthProperties } from "./auth.ts";
export type { ConnackPacket, ConnackProperties } from "./connack.ts";
export type { ConnectPacket, ConnectProperties, Will, WillProperties } from "./connect.ts";
export type { DisconnectPacket, DisconnectProperties } from "./disconnect.ts";
export type { PingreqPacket, PingrespPacket } from "./ping.ts";
export type { PublishPacket, PublishProperties } from "./publish.ts";
export type { SubackPacket, SubackProperties } from "./suback.ts";
export type { SubscribePacket, SubscribeProperties, SubscriptionRequest } from "./subscribe.ts";
export type { UnsubackPacket, UnsubackProperties } from "./unsuback.ts";
export type { UnsubscribePacket, UnsubscribeProperties } from "./unsubscribe.ts";
