import { Failure } from "../failure.ts";
import type { LoadRequest } from "./load.ts";
import type { QoS } from "./packets.ts";

/** Who publishes to whom. */
export type ScenarioName = "pairs" | "fan-in" | "fan-out";

/** What a scenario is unless something else is asked for. */
interface Scenario {
  publishers: number;
  subscribers: number;
  /**
   * Messages that all publishers to a topic together may be ahead. Wide enough that a broker can gather messages into
   * larger writes, and narrow enough to stay below the limits that brokers have by default: 1,000 at QoS 1 and 2.
   */
  ahead: { qos0: number; acknowledged: number };
}

const scenarios: Record<ScenarioName, Scenario> = {
  pairs: { publishers: 50, subscribers: 50, ahead: { qos0: 128, acknowledged: 64 } },
  "fan-in": { publishers: 50, subscribers: 1, ahead: { qos0: 3200, acknowledged: 800 } },
  "fan-out": { publishers: 1, subscribers: 50, ahead: { qos0: 1024, acknowledged: 256 } },
};

/** What of the options says who publishes to whom. */
export interface ScenarioOptions {
  scenario: ScenarioName;
  publishers?: number;
  subscribers?: number;
  qos: QoS;
  window?: number;
}

/**
 * The groups of clients that a scenario means.
 *
 * @throws {Failure} With exit code 2 if the subscribers cannot be shared out evenly.
 */
export function clientsOf(
  options: ScenarioOptions,
): Pick<LoadRequest, "groups" | "publishers" | "subscribers" | "window"> {
  const scenario = scenarios[options.scenario];
  const publishers = options.publishers ?? scenario.publishers;
  const isPairs = options.scenario === "pairs";
  const subscribers = options.subscribers ?? (isPairs ? publishers : scenario.subscribers);
  const groups = isPairs ? publishers : 1;
  if (subscribers % groups !== 0) {
    throw new Failure(
      `--subscribers ${subscribers}: ${publishers} publishers with a topic each need a multiple of ${publishers}`,
      2,
    );
  }
  const ahead = options.qos === 0 ? scenario.ahead.qos0 : scenario.ahead.acknowledged;
  const window = options.window ?? Math.max(1, Math.floor(ahead / (publishers / groups)));
  return { groups, publishers: publishers / groups, subscribers: subscribers / groups, window };
}
