import type { PublishPacket } from "../../codec/mod.ts";

/** One message as its publisher remembers it. */
interface Published {
  readonly publisher: string;
  readonly topic: string;
  readonly qos: 1 | 2;
  readonly number: number;
  isAcknowledged: boolean;
}

/** What somebody has got of what it is to get. */
interface Receiver {
  readonly name: string;
  readonly maximumQos: 1 | 2;
  /** A group gets messages in no order, as its members take turns. */
  readonly isGroup: boolean;
  /** How often each message came. */
  readonly counts: Map<string, number>;
  /** The highest number that came, by publisher, topic and QoS. */
  readonly highest: Map<string, number>;
}

/** What the clients know: what they have published, what was acknowledged, what has come; and what is wrong with that. */
export class Journal {
  readonly #published = new Map<string, Published>();
  readonly #receivers = new Map<string, Receiver>();
  /** Messages that came behind later ones. */
  readonly unordered: string[] = [];
  /** Messages that nobody has sent. */
  readonly unknown: string[] = [];

  /** Notes a message; returns its payload, by which it is known. */
  publish(publisher: string, number: number, topic: string, qos: 1 | 2): string {
    const text = `${publisher} ${number}`;
    this.#published.set(text, { publisher, topic, qos, number, isAcknowledged: false });
    return text;
  }

  acknowledge(text: string): void {
    this.#published.get(text)!.isAcknowledged = true;
  }

  /** Notes somebody who gets all messages, from now on; returns what to call when one has come. */
  addReceiver(name: string, maximumQos: 1 | 2, isGroup = false): (packet: PublishPacket, text: string) => void {
    const receiver = { name, maximumQos, isGroup, counts: new Map(), highest: new Map() };
    this.#receivers.set(name, receiver);
    return (packet, text) => this.#receive(receiver, packet, text);
  }

  /** How many messages were acknowledged. */
  get acknowledged(): number {
    return this.#published.values().reduce((sum, { isAcknowledged }) => sum + (isAcknowledged ? 1 : 0), 0);
  }

  /** How many messages came, counting duplicates. */
  get received(): number {
    return this.#sumOfCounts((count) => count);
  }

  /** How many of them were duplicates. */
  get duplicates(): number {
    return this.#sumOfCounts((count) => count - 1);
  }

  /** Acknowledged messages that did not come to somebody. */
  lost(): string[] {
    const lost: string[] = [];
    for (const { name, counts } of this.#receivers.values()) {
      for (const [text, { isAcknowledged, qos }] of this.#published) {
        if (isAcknowledged && !counts.has(text)) lost.push(`${name} never got ${text} (QoS ${qos})`);
      }
    }
    return lost;
  }

  /** QoS 2 messages that came more than once to somebody. */
  repeated(): string[] {
    const repeated: string[] = [];
    for (const { name, maximumQos, counts } of this.#receivers.values()) {
      for (const [text, count] of counts) {
        const isOnce = maximumQos === 2 && this.#published.get(text)?.qos === 2;
        if (isOnce && count > 1) repeated.push(`${name} got ${text} ${count} times`);
      }
    }
    return repeated;
  }

  #receive(receiver: Receiver, { topic }: PublishPacket, text: string): void {
    const { name, isGroup, counts, highest } = receiver;
    const published = this.#published.get(text);
    if (published?.topic !== topic) return void this.unknown.push(`${name} got ${text} on ${topic}`);
    const count = (counts.get(text) ?? 0) + 1;
    counts.set(text, count);
    if (isGroup || count > 1) return;
    const { publisher, qos, number } = published;
    const stream = `${publisher} ${topic} ${qos}`;
    const before = highest.get(stream) ?? -1;
    if (number < before) this.unordered.push(`${name} got ${text} behind ${before}, on ${topic} at QoS ${qos}`);
    highest.set(stream, Math.max(number, before));
  }

  #sumOfCounts(of: (count: number) => number): number {
    let sum = 0;
    for (const { counts } of this.#receivers.values()) for (const count of counts.values()) sum += of(count);
    return sum;
  }
}
