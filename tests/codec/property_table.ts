/** Table 2-4 of the specification, with a value of each property. Source: MQTT 5.0 section 2.2.2.2. */

import type { Properties } from "../../codec/mod.ts";
import { binary, text } from "./packet_bytes.ts";

/** A row of the table, and a value as bytes and as what it is decoded to. */
export interface PropertyRow {
  identifier: number;
  name: string;
  key: keyof Properties;
  /** As in the table: where the property may be. */
  packets: string[];
  bytes: number[];
  value: unknown;
}

function row(
  identifier: number,
  name: string,
  packets: string,
  key: keyof Properties,
  bytes: number[],
  value: unknown,
): PropertyRow {
  return { identifier, name, key, packets: packets.split(", "), bytes, value };
}

const WITH_REASON = "CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH";
const ALL = "CONNECT, CONNACK, PUBLISH, Will Properties, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, " +
  "UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH";

// deno-fmt-ignore
export const propertyTable: readonly PropertyRow[] = [
  row(0x01, "Payload Format Indicator", "PUBLISH, Will Properties", "payloadFormatIndicator", [1], 1),
  row(0x02, "Message Expiry Interval", "PUBLISH, Will Properties", "messageExpiryInterval", [0xff, 2, 3, 4], 0xff020304),
  row(0x03, "Content Type", "PUBLISH, Will Properties", "contentType", text("text/plain"), "text/plain"),
  row(0x08, "Response Topic", "PUBLISH, Will Properties", "responseTopic", text("r/t"), "r/t"),
  row(0x09, "Correlation Data", "PUBLISH, Will Properties", "correlationData", binary(0, 255), new Uint8Array([0, 255])),
  row(0x0b, "Subscription Identifier", "PUBLISH, SUBSCRIBE", "subscriptionIdentifiers", [0xc1, 2], [321]),
  row(0x11, "Session Expiry Interval", "CONNECT, CONNACK, DISCONNECT", "sessionExpiryInterval", [0xff, 0xff, 0xff, 0xff], 0xffffffff),
  row(0x12, "Assigned Client Identifier", "CONNACK", "assignedClientIdentifier", text("c"), "c"),
  row(0x13, "Server Keep Alive", "CONNACK", "serverKeepAlive", [1, 2], 0x0102),
  row(0x15, "Authentication Method", "CONNECT, CONNACK, AUTH", "authenticationMethod", text("m"), "m"),
  row(0x16, "Authentication Data", "CONNECT, CONNACK, AUTH", "authenticationData", binary(0), new Uint8Array([0])),
  row(0x17, "Request Problem Information", "CONNECT", "requestProblemInformation", [0], false),
  row(0x18, "Will Delay Interval", "Will Properties", "willDelayInterval", [0, 0, 1, 0], 256),
  row(0x19, "Request Response Information", "CONNECT", "requestResponseInformation", [1], true),
  row(0x1a, "Response Information", "CONNACK", "responseInformation", text("i"), "i"),
  row(0x1c, "Server Reference", "CONNACK, DISCONNECT", "serverReference", text("s"), "s"),
  row(0x1f, "Reason String", WITH_REASON, "reasonString", text("because"), "because"),
  row(0x21, "Receive Maximum", "CONNECT, CONNACK", "receiveMaximum", [0, 1], 1),
  row(0x22, "Topic Alias Maximum", "CONNECT, CONNACK", "topicAliasMaximum", [0, 0], 0),
  row(0x23, "Topic Alias", "PUBLISH", "topicAlias", [0xff, 0xff], 0xffff),
  row(0x24, "Maximum QoS", "CONNACK", "maximumQos", [0], 0),
  row(0x25, "Retain Available", "CONNACK", "retainAvailable", [0], false),
  row(0x26, "User Property", ALL, "userProperties", [...text("k"), ...text("v")], [["k", "v"]]),
  row(0x27, "Maximum Packet Size", "CONNECT, CONNACK", "maximumPacketSize", [0, 0, 0, 1], 1),
  row(0x28, "Wildcard Subscription Available", "CONNACK", "wildcardSubscriptionAvailable", [1], true),
  row(0x29, "Subscription Identifier Available", "CONNACK", "subscriptionIdentifiersAvailable", [0], false),
  row(0x2a, "Shared Subscription Available", "CONNACK", "sharedSubscriptionAvailable", [1], true),
];
