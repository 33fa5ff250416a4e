import type { Random } from "../../crash/random.ts";
import { variableByteInteger } from "../../codec/packet_bytes.ts";

/** Bytes at which something happens: the ends of ranges, and lengths that promise more than there is. */
const interesting = [0x00, 0x01, 0x02, 0x04, 0x7f, 0x80, 0xff];

/** Remaining lengths that are not those of the packet. */
const lengths = [0, 1, 2, 127, 128, 16_383, 16_384, 65_536, 2_097_152, 268_435_455];

/** Changes a conversation in a few places, or, now and then, not at all; returns it as the bytes of one stream. */
export function mutate(conversation: readonly Uint8Array[], random: Random): Uint8Array {
  const packets = conversation.map((packet) => [...packet]);
  const count = random.pick([0, 1, 1, 1, 2, 2, 3, 5]);
  for (let done = 0; done < count && packets.length > 0; done++) {
    if (random.next() < 0.3) rearrange(packets, random);
    else change(packets, random.between(0, packets.length - 1), random);
  }
  const bytes = packets.flat();
  if (random.next() < 0.05) bytes.splice(random.between(0, bytes.length));
  if (random.next() < 0.05) bytes.push(...garbage(random));
  return new Uint8Array(bytes);
}

/** Packets that come twice, not at all, or in another order. */
function rearrange(packets: number[][], random: Random): void {
  const [from, to] = [random.between(0, packets.length - 1), random.between(0, packets.length)];
  const [taken] = random.next() < 0.5 ? packets.splice(from, 1) : [[...packets[from]]];
  if (random.next() < 0.8) packets.splice(to, 0, taken);
}

/** One packet with other bytes, half of the time with a remaining length that fits them. */
function change(packets: number[][], index: number, random: Random): void {
  const packet = packets[index];
  const at = random.between(0, Math.max(0, packet.length - 1));
  switch (random.between(0, 5)) {
    case 0:
      packet[at] ^= 1 << random.between(0, 7);
      break;
    case 1:
      packet[at] = random.pick(interesting);
      break;
    case 2:
      packet.splice(at, random.between(1, 8));
      break;
    case 3:
      packet.splice(at, 0, ...garbage(random));
      break;
    case 4:
      packet.splice(at);
      break;
    case 5:
      packet.splice(1, lengthSize(packet), ...variableByteInteger(random.pick(lengths)));
      return;
  }
  if (packet.length > 0 && random.next() < 0.5) {
    const size = lengthSize(packet);
    packet.splice(1, size, ...variableByteInteger(packet.length - 1 - size));
  }
}

function garbage(random: Random): number[] {
  return Array.from({ length: random.between(1, 12) }, () => random.between(0, 255));
}

/** How many bytes the remaining length takes. */
function lengthSize(packet: readonly number[]): number {
  const last = packet.findIndex((byte, index) => index > 0 && byte < 0x80);
  return last === -1 ? Math.max(0, packet.length - 1) : Math.min(last, 4);
}
