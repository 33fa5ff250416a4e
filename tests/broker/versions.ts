import type { ProtocolLevel } from "../../mod.ts";
import type { ConnectOptions } from "../support/raw_client.ts";

/** Every protocol level with the name of its version, for tests of what holds in all of them. */
export const versions: readonly (readonly [level: ProtocolLevel, version: string])[] = [
  [3, "3.1"],
  [4, "3.1.1"],
  [5, "5.0"],
];

/** A CONNECT that goes on with the client's session, and lets it outlive the connection, in the words of its version. */
export function lasting(level: ProtocolLevel): ConnectOptions {
  if (level < 5) return { level, cleanStart: false };
  return { level, cleanStart: false, properties: { sessionExpiryInterval: 0xffff_ffff } };
}
