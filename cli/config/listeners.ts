import { hostAndPort } from "../../broker/listeners/host_and_port.ts";
import { formatPath, type Problem } from "./problem.ts";
import type { Path } from "./option.ts";
import type { Config } from "./schema.ts";

/** Something that listens somewhere. */
interface Listening {
  option: Path;
  /** `undefined` if the system chooses it. */
  place: string | undefined;
}

/** Where a configuration has one place listened on twice: the system would say only that it is in use. */
export function faultsOfListeners({ listeners, hooks: { metrics } }: Config): Problem[] {
  const all: Listening[] = listeners.map((listener, index) => ({
    option: ["listeners", index],
    place: listener.transport === "unix" ? listener.path : placeOf(listener),
  }));
  if (metrics !== undefined) all.push({ option: ["hooks", "metrics"], place: placeOf(metrics) });

  const first = new Map<string, Listening>();
  return all.flatMap((one) => {
    if (one.place === undefined) return [];
    const other = first.get(one.place);
    if (other !== undefined) {
      const message = `${formatPath(other.option)} is on ${one.place} already: give each a place of its own`;
      return [{ path: one.option, message }];
    }
    first.set(one.place, one);
    return [];
  });
}

function placeOf({ hostname, port }: { hostname: string; port: number }): string | undefined {
  return port === 0 ? undefined : hostAndPort(hostname, port);
}
