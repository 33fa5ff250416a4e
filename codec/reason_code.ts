/**
 * What an MQTT 5 packet says about the outcome of an operation; values of 0x80 and above are failures.
 * Source: MQTT 5.0 section 2.4.
 *
 * @example
 * ```ts
 * import { ReasonCode, reasonName } from "@hookmq/broker/codec";
 *
 * console.log(ReasonCode.NotAuthorized); // 135, 0x87
 * console.log(reasonName(ReasonCode.NotAuthorized)); // "not authorized"
 * ```
 */
export const ReasonCode = {
  Success: 0x00,
  NormalDisconnection: 0x00,
  GrantedQos0: 0x00,
  GrantedQos1: 0x01,
  GrantedQos2: 0x02,
  DisconnectWithWillMessage: 0x04,
  NoMatchingSubscribers: 0x10,
  NoSubscriptionExisted: 0x11,
  ContinueAuthentication: 0x18,
  Reauthenticate: 0x19,
  UnspecifiedError: 0x80,
  MalformedPacket: 0x81,
  ProtocolError: 0x82,
  ImplementationSpecificError: 0x83,
  UnsupportedProtocolVersion: 0x84,
  ClientIdentifierNotValid: 0x85,
  BadUserNameOrPassword: 0x86,
  NotAuthorized: 0x87,
  ServerUnavailable: 0x88,
  ServerBusy: 0x89,
  Banned: 0x8a,
  ServerShuttingDown: 0x8b,
  BadAuthenticationMethod: 0x8c,
  KeepAliveTimeout: 0x8d,
  SessionTakenOver: 0x8e,
  TopicFilterInvalid: 0x8f,
  TopicNameInvalid: 0x90,
  PacketIdentifierInUse: 0x91,
  PacketIdentifierNotFound: 0x92,
  ReceiveMaximumExceeded: 0x93,
  TopicAliasInvalid: 0x94,
  PacketTooLarge: 0x95,
  MessageRateTooHigh: 0x96,
  QuotaExceeded: 0x97,
  AdministrativeAction: 0x98,
  PayloadFormatInvalid: 0x99,
  RetainNotSupported: 0x9a,
  QosNotSupported: 0x9b,
  UseAnotherServer: 0x9c,
  ServerMoved: 0x9d,
  SharedSubscriptionsNotSupported: 0x9e,
  ConnectionRateExceeded: 0x9f,
  MaximumConnectTime: 0xa0,
  SubscriptionIdentifiersNotSupported: 0xa1,
  WildcardSubscriptionsNotSupported: 0xa2,
} as const;

/** One of the values of {@linkcode ReasonCode}. */
export type ReasonCode = (typeof ReasonCode)[keyof typeof ReasonCode];

/**
 * The types of packet that carry a reason code, by the name that their `type` field has.
 *
 * @example
 * ```ts
 * import { allowsReason, ReasonCode, type ReasonCodePacketType } from "@hookmq/broker/codec";
 *
 * const answers: ReasonCodePacketType[] = ["connack", "puback", "suback", "disconnect"];
 * console.log(answers.filter((type) => allowsReason(type, ReasonCode.TopicFilterInvalid))); // ["suback", "disconnect"]
 * ```
 */
export type ReasonCodePacketType =
  | "connack"
  | "puback"
  | "pubrec"
  | "pubrel"
  | "pubcomp"
  | "suback"
  | "unsuback"
  | "disconnect"
  | "auth";

const publishReasons = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const releaseReasons = [0x00, 0x92];

/**
 * Which reason codes each packet may carry: the packet sections' own tables, and 0x8C for DISCONNECT, which only table
 * 2-6 has: it answers a re-authentication with another method.
 */
const reasonsByPacket: Readonly<Record<ReasonCodePacketType, ReadonlySet<number>>> = {
  connack: new Set([
    0x00,
    ...[0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99],
    ...[0x9a, 0x9b, 0x9c, 0x9d, 0x9f],
  ]),
  puback: new Set(publishReasons),
  pubrec: new Set(publishReasons),
  pubrel: new Set(releaseReasons),
  pubcomp: new Set(releaseReasons),
  suback: new Set([0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]),
  unsuback: new Set([0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]),
  disconnect: new Set([
    ...[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95],
    ...[0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2],
  ]),
  auth: new Set([0x00, 0x18, 0x19]),
};

/**
 * Whether a packet of this type may carry this reason code.
 *
 * @example
 * ```ts
 * import { allowsReason, ReasonCode } from "@hookmq/broker/codec";
 *
 * console.log(allowsReason("puback", ReasonCode.QuotaExceeded)); // true
 * console.log(allowsReason("puback", ReasonCode.SessionTakenOver)); // false
 * ```
 */
export function allowsReason(type: ReasonCodePacketType, reasonCode: number): boolean {
  return reasonsByPacket[type].has(reasonCode);
}

const names = new Map<number, string>();
for (const [key, value] of Object.entries(ReasonCode)) {
  if (!names.has(value)) names.set(value, key.replaceAll(/(?<!^)([A-Z]|\d)/g, " $1").toLowerCase());
}

/**
 * The words for a reason code, for logs and error messages, e.g. `"session taken over"` for 0x8E. A value that the
 * specification does not define gives `"reason code 0x…"`.
 *
 * @example
 * ```ts
 * import { reasonName } from "@hookmq/broker/codec";
 *
 * console.log(reasonName(0x8e)); // session taken over
 * ```
 */
export function reasonName(reasonCode: number): string {
  return names.get(reasonCode) ?? `reason code 0x${reasonCode.toString(16).padStart(2, "0")}`;
}

/**
 * The return code of an MQTT 3.1 or 3.1.1 CONNACK that says the same as a reason code: 0 accepted, 1 unacceptable
 * protocol version, 2 identifier rejected, 3 server unavailable, 4 bad user name or password, 5 not authorized.
 * `undefined` where those versions have no word for it: the connection is then closed without a CONNACK.
 * Source: MQTT 3.1.1 section 3.2.2.3.
 *
 * @example
 * ```ts
 * import { connectReturnCode, ReasonCode } from "@hookmq/broker/codec";
 *
 * console.log(connectReturnCode(ReasonCode.Banned)); // 5: not authorized
 * ```
 */
export function connectReturnCode(reasonCode: number): number | undefined {
  switch (reasonCode) {
    case ReasonCode.Success:
      return 0;
    case ReasonCode.UnsupportedProtocolVersion:
      return 1;
    case ReasonCode.ClientIdentifierNotValid:
      return 2;
    case ReasonCode.ServerUnavailable:
    case ReasonCode.ServerBusy:
    case ReasonCode.QuotaExceeded:
    case ReasonCode.ConnectionRateExceeded:
    case ReasonCode.UseAnotherServer:
    case ReasonCode.ServerMoved:
      return 3;
    case ReasonCode.BadUserNameOrPassword:
      return 4;
    case ReasonCode.NotAuthorized:
    case ReasonCode.Banned:
    case ReasonCode.BadAuthenticationMethod:
      return 5;
    default:
      return undefined;
  }
}
