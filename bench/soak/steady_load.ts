import { runLoad } from "../../cli/bench/load.ts";
import type { SocketAddress } from "../../cli/bench/socket.ts";
import type { SoakLoad } from "./mix.ts";
import { emptyTally, type Part } from "./tally.ts";

/** So long its clients stay; then all of them leave, and others come. */
const stay = { shortestSeconds: 3, longestSeconds: 15 };

/** A load of the mix, with other clients every few seconds. */
export function steadyLoad({ name, request }: SoakLoad, address: SocketAddress, index: number): Part {
  const tally = emptyTally(name);
  // No two loads change their clients at one time.
  let staySeconds = stay.shortestSeconds + index;
  let turn = 0;
  return {
    tally,
    run: async (until) => {
      for (let left; (left = (until - performance.now()) / 1000) > 0; turn++) {
        const seconds = Math.min(staySeconds, left);
        const clientIds = `soak${index}t${turn}`;
        const result = await runLoad({ ...request, ...address, clientIds, warmUpSeconds: 0, seconds });
        tally.delivered += Math.round(result.deliveredPerSecond * seconds);
        tally.lost += result.lost;
        tally.duplicates += result.duplicates;
        staySeconds = staySeconds >= stay.longestSeconds ? stay.shortestSeconds : staySeconds + 2;
      }
    },
  };
}
