import { decode, Framer, type Packet, PacketError, type ProtocolLevel } from "../../../codec/mod.ts";

const fromServers = new Set<Packet["type"]>([
  "connack",
  "publish",
  "puback",
  "pubrec",
  "pubrel",
  "pubcomp",
  "suback",
  "unsuback",
  "pingresp",
  "disconnect",
  "auth",
]);

/**
 * What is wrong with all that the broker has sent on one connection, which may be cut off anywhere; `undefined` if it is
 * what a server may send. At which level it speaks depends on what became of the CONNECT.
 */
export function faultOf(answer: Uint8Array): string | undefined {
  const faults = ([5, 4, 3] as const).map((level) => faultAt(level, answer));
  return faults.includes(undefined)
    ? undefined
    : faults.map((fault, index) => `at level ${5 - index}: ${fault}`).join("; ");
}

function faultAt(level: ProtocolLevel, answer: Uint8Array): string | undefined {
  const framer = new Framer();
  framer.push(answer);
  let last: Packet | undefined;
  try {
    while (framer.next()) {
      const packet = decode(framer.packet().slice(), level);
      if (!fromServers.has(packet.type)) return `${packet.type} is not for a server to send`;
      if (last === undefined && packet.type !== "connack" && packet.type !== "auth") {
        return `${packet.type} comes first`;
      }
      if (last?.type === "disconnect") return `${packet.type} comes behind DISCONNECT`;
      if (last?.type === "connack" && last.reasonCode !== 0) return `${packet.type} comes behind a refusal`;
      last = packet;
    }
    return undefined;
  } catch (error) {
    if (error instanceof PacketError) return error.message;
    throw error;
  }
}
