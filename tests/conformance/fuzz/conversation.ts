import {
  type AcknowledgementType,
  type ConnectPacket,
  encode,
  type Packet,
  type ProtocolLevel,
  type PublishPacket,
  type Qos,
  type SubscribePacket,
} from "../../../codec/mod.ts";
import type { Random } from "../../crash/random.ts";
import { connectPacket, publishPacket } from "../../support/raw_client.ts";

const topics = ["a", "a/b", "a/b/c", "b", "b/", "/a", "ä/水", "$x/y"];
const filters = ["#", "+", "a/#", "a/+", "+/b", "b", "$x/#", "$share/g/a/#", "$share/h/#", "$share/g/b", "never"];
const clientIds = ["fuzz-0", "fuzz-1", "fuzz-2", "fuzz-3", "fuzz-4", "fuzz-5", ""];
const acknowledgements: AcknowledgementType[] = ["puback", "pubrec", "pubrel", "pubcomp"];

/**
 * What a client might say from its CONNECT on, packet by packet: nothing in it is wrong, except that it acknowledges by
 * guess. Clients share a few names and topics, so that they get in each other's way.
 */
export function validConversation(random: Random): Uint8Array[] {
  const level = random.pick<ProtocolLevel>([3, 4, 5, 5]);
  const packets: Packet[] = [connect(random, level)];
  const length = random.between(0, 12);
  while (packets.length <= length) packets.push(anyPacket(random, level));
  if (random.next() < 0.5) {
    packets.push({ type: "disconnect", reasonCode: level === 5 ? random.pick([0, 0, 4, 0x80]) : 0 });
  }
  return packets.map((packet) => encode(packet, level));
}

function connect(random: Random, level: ProtocolLevel): ConnectPacket {
  const clientId = random.pick(level === 3 ? clientIds.slice(0, -1) : clientIds);
  const packet = connectPacket({
    level,
    clientId,
    cleanStart: clientId === "" || random.next() < 0.5,
    keepAlive: random.pick([0, 1, 60, 0xffff]),
  });
  if (random.next() < 0.3) packet.username = "ann";
  if (packet.username !== undefined && random.next() < 0.5) packet.password = new Uint8Array([1, 2, 3]);
  if (random.next() < 0.3) {
    packet.will = {
      topic: random.pick(topics),
      payload: payload(random),
      qos: qos(random),
      retain: random.next() < 0.2,
    };
    if (level === 5) {
      packet.will.properties = { ...messageProperties(random), willDelayInterval: random.pick([0, 1, 1000]) };
    }
  }
  if (level === 5) {
    packet.properties = {
      sessionExpiryInterval: random.pick([undefined, 0, 1, 0xffff_ffff]),
      receiveMaximum: random.pick([undefined, 1, 5]),
      maximumPacketSize: random.pick([undefined, 30, 1000]),
      topicAliasMaximum: random.pick([undefined, 1, 10]),
      requestProblemInformation: random.pick([undefined, false]),
      authenticationMethod: random.next() < 0.05 ? "UNKNOWN" : undefined,
    };
  }
  return packet;
}

function anyPacket(random: Random, level: ProtocolLevel): Packet {
  const chance = random.next();
  if (chance < 0.45) return publish(random, level);
  if (chance < 0.65) return subscribe(random, level);
  if (chance < 0.7) {
    const topicFilters = Array.from({ length: random.between(1, 3) }, () => random.pick(filters));
    return { type: "unsubscribe", packetId: packetId(random), topicFilters };
  }
  if (chance < 0.9) return { type: random.pick(acknowledgements), packetId: packetId(random), reasonCode: 0 };
  if (chance < 0.97 || level < 5) return { type: "pingreq" };
  return { type: "auth", reasonCode: random.pick([0x18, 0x19]), properties: { authenticationMethod: "UNKNOWN" } };
}

function publish(random: Random, level: ProtocolLevel): PublishPacket {
  const packet = publishPacket({
    topic: random.pick(topics),
    qos: qos(random),
    retain: random.next() < 0.1,
    payload: payload(random),
  });
  if (packet.qos > 0) packet.packetId = packetId(random);
  if (level === 5) {
    packet.properties = messageProperties(random);
    if (random.next() < 0.2) packet.properties.topicAlias = random.between(1, 3);
    if (packet.properties.topicAlias !== undefined && random.next() < 0.3) packet.topic = "";
  }
  return packet;
}

function subscribe(random: Random, level: ProtocolLevel): SubscribePacket {
  const subscriptions = Array.from({ length: random.between(1, 4) }, () => {
    const topicFilter = random.pick(filters);
    return {
      topicFilter,
      qos: qos(random),
      noLocal: level === 5 && !topicFilter.startsWith("$share/") && random.next() < 0.2,
      retainAsPublished: level === 5 && random.next() < 0.2,
      retainHandling: level === 5 ? random.pick([0, 1, 2] as const) : 0 as const,
    };
  });
  const packet: SubscribePacket = { type: "subscribe", packetId: packetId(random), subscriptions };
  if (level === 5 && random.next() < 0.3) packet.properties = { subscriptionIdentifiers: [random.between(1, 300)] };
  return packet;
}

function messageProperties(random: Random): NonNullable<PublishPacket["properties"]> {
  return {
    payloadFormatIndicator: random.pick([undefined, 0]),
    messageExpiryInterval: random.pick([undefined, undefined, 0, 1, 1000]),
    contentType: random.pick([undefined, "text/plain"]),
    responseTopic: random.pick([undefined, "answers"]),
    correlationData: random.pick([undefined, new Uint8Array([0, 1])]),
    userProperties: random.pick([undefined, undefined, [["name", "value"]]]),
  };
}

function payload(random: Random): Uint8Array {
  return new Uint8Array(random.pick([0, 1, 10, 10, 200, 5000, random.between(0, 40_000)])).fill(0x61);
}

function qos(random: Random): Qos {
  return random.pick<Qos>([0, 1, 2]);
}

function packetId(random: Random): number {
  return random.pick([1, 2, 3, 4, 5, 0xffff]);
}
