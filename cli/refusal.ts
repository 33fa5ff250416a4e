import type { Packet } from "mqtt";
import { reasonName } from "../codec/reason_code.ts";

/** The return codes of an MQTT 3 CONNACK. */
const returnCodes = [
  "accepted",
  "unacceptable protocol version",
  "identifier rejected",
  "server unavailable",
  "bad user name or password",
  "not authorized",
];

/** Why the broker refused something: what its code means, and what it says besides. */
export function refusal(code: number, packet?: Packet): string {
  const reason = returnCodes[code] ?? reasonName(code);
  const properties = packet !== undefined && "properties" in packet ? packet.properties : undefined;
  const explained = properties !== undefined && "reasonString" in properties;
  return explained ? `${reason} (${properties.reasonString})` : reason;
}
