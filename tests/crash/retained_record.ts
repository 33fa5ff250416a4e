/** What the publisher of retained messages knows of them: by topic its messages, one after the other. */
export class RetainedRecord {
  readonly #byTopic = new Map<string, { payloads: string[]; acknowledged: number }>();

  /** Notes a message. An empty payload is a message, too: nothing is to be there then. */
  publish(topic: string, payload: string): void {
    const record = this.#byTopic.get(topic) ?? { payloads: [""], acknowledged: 0 };
    record.payloads.push(payload);
    this.#byTopic.set(topic, record);
  }

  /** All up to the message with this number, from 1 on, have been acknowledged. */
  acknowledge(topic: string, number: number): void {
    const record = this.#byTopic.get(topic)!;
    record.acknowledged = Math.max(record.acknowledged, number);
  }

  /** How many messages a topic has had. */
  count(topic: string): number {
    return (this.#byTopic.get(topic)?.payloads.length ?? 1) - 1;
  }

  /** What is wrong with what is retained: neither the last that was acknowledged, nor one that came after it. */
  check(retained: ReadonlyMap<string, string>): string[] {
    const wrong: string[] = [];
    for (const [topic, { payloads, acknowledged }] of this.#byTopic) {
      const found = retained.get(topic) ?? "";
      if (payloads.slice(acknowledged).includes(found)) continue;
      wrong.push(`${topic} has "${found}", and not "${payloads[acknowledged]}" or a later one`);
    }
    return wrong;
  }
}
