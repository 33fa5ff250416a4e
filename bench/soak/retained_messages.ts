import { setTimeout as delay } from "node:timers/promises";
import { Connection } from "../../cli/bench/connection.ts";
import { publishTemplate } from "../../cli/bench/packets.ts";
import { Publisher } from "../../cli/bench/publisher.ts";
import type { SocketAddress } from "../../cli/bench/socket.ts";
import { Subscriber } from "../../cli/bench/subscriber.ts";
import { becomesTrue, publishBatches } from "./exchange.ts";
import { emptyTally, type Part } from "./tally.ts";

const topicCount = 500;
const batch = 50;
const pauseMilliseconds = 500;

/** Retained messages that are replaced again and again, and each time read by a client that is new. */
export function retainedMessages(address: SocketAddress): Part {
  const tally = emptyTally(`${topicCount} retained messages, replaced and read`);
  const topics = Array.from({ length: topicCount }, (_, index) => `retained/${String(index).padStart(3, "0")}`);
  const template = publishTemplate({ topic: topics[0], payloadSize: 100, qos: 1, level: 4, retain: true });
  let turn = 0;

  async function replace(): Promise<void> {
    const connection = await Connection.open({ ...address, clientId: `retainp${turn}`, level: 4 });
    const publisher = new Publisher(connection, template, 1, { window: 200, batch, topics });
    await Promise.race([publisher.receive(() => {}), publishBatches(publisher, topicCount / batch)]);
    await connection.disconnect();
  }

  async function read(): Promise<void> {
    const connection = await Connection.open({ ...address, clientId: `retains${turn}`, level: 4 });
    await connection.subscribe("retained/#", 1);
    const subscriber = new Subscriber(connection, template, 1);
    // They come in any order, which the subscriber counts as duplicates.
    const received = () => subscriber.delivered + subscriber.duplicates;
    await Promise.race([subscriber.receive(() => {}), becomesTrue(() => received() >= topicCount)]);
    tally.delivered += received();
    tally.lost += Math.max(0, topicCount - received());
    tally.duplicates += Math.max(0, received() - topicCount);
    await connection.disconnect();
  }

  return {
    tally,
    run: async (until) => {
      for (; performance.now() < until; turn++) {
        await replace();
        await read();
        await delay(pauseMilliseconds);
      }
    },
  };
}
