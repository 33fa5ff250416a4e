import { setTimeout as delay } from "node:timers/promises";
import { Connection } from "../../cli/bench/connection.ts";
import { type PublishTemplate, publishTemplate, type QoS } from "../../cli/bench/packets.ts";
import { Publisher } from "../../cli/bench/publisher.ts";
import type { SocketAddress } from "../../cli/bench/socket.ts";
import { Subscriber } from "../../cli/bench/subscriber.ts";
import { becomesTrue, publishBatches } from "./exchange.ts";
import { emptyTally, type Part } from "./tally.ts";

const clientCount = 10;
const batch = 50;
const batchesWhileAbsent = 4;
const batchesWhilePresent = 1;

/** Before messages are sent to a client that is away. */
const awayMilliseconds = 700;

/** In which the last acknowledgements reach the broker before a client leaves. */
const partingMilliseconds = 300;

/** Clients with lasting sessions that go and come back, to whom messages are sent meanwhile; half of them at QoS 2. */
export function absentClients(address: SocketAddress): Part {
  const tally = emptyTally(`${clientCount} clients that go and come back, QoS 1 and 2`);

  async function run(until: number, index: number): Promise<void> {
    const qos = index % 2 === 0 ? 1 : 2;
    const topic = `absent/${index}`;
    const template = publishTemplate({ topic, payloadSize: 200, qos, level: 4 });
    const open = (role: string, persistent: boolean) => {
      return Connection.open({ ...address, clientId: `absent${role}${index}`, level: 4, persistent });
    };

    const first = await open("s", true);
    await first.subscribe(topic, qos);
    await first.disconnect();
    const publishing = await open("p", false);
    const publisher = new Publisher(publishing, template, qos, { window: 4 * batch, batch });
    const failure = publisher.receive(() => {});
    while (performance.now() < until) {
      await Promise.race([failure, delay(awayMilliseconds)]);
      await Promise.race([failure, publishBatches(publisher, batchesWhileAbsent)]);
      const connection = await open("s", true);
      await Promise.race([failure, exchange(connection, template, qos, publisher)]);
      await delay(partingMilliseconds);
      await connection.disconnect();
    }
    await publishing.disconnect();
  }

  /** Takes what has been sent meanwhile, and some more. */
  async function exchange(connection: Connection, template: PublishTemplate, qos: QoS, publisher: Publisher) {
    const subscriber = new Subscriber(connection, template, qos);
    const failure = subscriber.receive(() => {});
    await Promise.race([failure, publishBatches(publisher, batchesWhilePresent)]);
    const expected = batch * (batchesWhileAbsent + batchesWhilePresent);
    await Promise.race([failure, becomesTrue(() => subscriber.delivered >= expected)]);
    tally.delivered += subscriber.delivered;
    tally.duplicates += subscriber.duplicates + Math.max(0, subscriber.delivered - expected);
    tally.lost += Math.max(0, expected - subscriber.delivered);
  }

  return {
    tally,
    run: async (until) => {
      await Promise.all(Array.from({ length: clientCount }, (_, index) => run(until, index)));
    },
  };
}
