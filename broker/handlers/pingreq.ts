import { encodePingresp } from "../../codec/ping.ts";
import type { Client } from "../client.ts";

const pingresp = encodePingresp();

/** PINGREQ: the client shows that it is alive, and wants to know whether we are [MQTT-3.12.4-1]. */
export function handlePingreq(client: Client): void {
  client.sendEncoded(pingresp);
}
