import { setTimeout as delay } from "node:timers/promises";
import { Connection } from "../../cli/bench/connection.ts";
import type { SocketAddress } from "../../cli/bench/socket.ts";
import { emptyTally, type Part } from "./tally.ts";

const atATime = 20;
const pauseMilliseconds = 100;

/** New clients all the time, some 200 a second, that subscribe, unsubscribe and leave, every other one without goodbye. */
export function passersBy(address: SocketAddress): Part {
  const tally = emptyTally("passers-by: clients that came and went");
  let number = 0;

  async function passBy(number: number): Promise<void> {
    const level = number % 2 === 0 ? 4 : 5;
    const connection = await Connection.open({ ...address, clientId: `passer${number}`, level });
    await connection.subscribe(`nothing/${number}/+`, 1);
    await connection.unsubscribe(`nothing/${number}/+`);
    if (number % 4 < 2) await connection.disconnect();
    else connection.close();
    tally.delivered++;
  }

  return {
    tally,
    run: async (until) => {
      while (performance.now() < until) {
        await Promise.all(Array.from({ length: atATime }, () => passBy(number++)));
        await delay(pauseMilliseconds);
      }
    },
  };
}
