import type { ProtocolLevel } from "../../mod.ts";

/** How the name of a test begins: with the statement that it is about, by its name in that version. MQTT 3.1 numbers none. */
export function statement(level: ProtocolLevel, id: string, idBefore5 = id): string {
  if (level === 3) return "MQTT 3.1:";
  return level === 4 ? `[3.1.1 ${idBefore5}]` : `[5.0 ${id}]`;
}
