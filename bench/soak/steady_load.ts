import { runLoad } from "../../cli/bench/load.ts";
import type { SocketAddress } from "../../cli/bench/socket.ts";
import type { SoakLoad } from "./mix.ts";
import { emptyTally, type Part } from "./tally.ts";

/** So long its clients stay; then all of them leave, and others come. */
const stay = { shortestSeconds: 3, longestSeconds: 15 };

/** A load of the mix, with other clients every few seconds. */
export function steadyLoad({ name, request }: SoakLoad, address: SocketAddress, index: number): Part {
  const tally = emptyTally(name);
  return {
    tally,
    run: async (signal) => {
      // No two loads change their clients at one time.
      let seconds = stay.shortestSeconds + index;
      for (let turn = 0; !signal.aborted; turn++) {
        const clientIds = `soak${index}t${turn}`;
        const result = await runLoad({ ...request, ...address, clientIds, warmUpSeconds: 0, seconds });
        tally.delivered += Math.round(result.deliveredPerSecond * seconds);
        tally.lost += result.lost;
        tally.duplicates += result.duplicates;
        seconds = seconds >= stay.longestSeconds ? stay.shortestSeconds : seconds + 2;
      }
    },
  };
}
