import { encode, type Packet } from "../../codec/mod.ts";
import type { RawClient } from "../support/raw_client.ts";

/** Sends packets in one write. */
export async function sendAll(client: RawClient, packets: Packet[]): Promise<void> {
  await client.sendBytes(new Uint8Array(packets.flatMap((packet) => [...encode(packet, client.level)])));
}
