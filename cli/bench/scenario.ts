import { Failure } from "../failure.ts";
import type { LoadRequest } from "./load.ts";
import type { QoS } from "./packets.ts";
import type { Routing } from "./topics.ts";

/** Who publishes to whom. */
export type ScenarioName = "pairs" | "fan-in" | "fan-out" | "wildcards" | "shared" | "spread" | "connect";

/** What a scenario is unless something else is asked for. */
interface Scenario {
  routing: Routing;
  publishers: number;
  subscribers: number;
  /**
   * Messages that all publishers of a group together may be ahead. Wide enough that a broker can gather messages into
   * larger writes, and narrow enough to stay below the limits that brokers have by default: 1,000 at QoS 1 and 2.
   */
  ahead: { qos0: number; acknowledged: number };
}

const scenarios: Record<ScenarioName, Scenario> = {
  pairs: { routing: "topic", publishers: 50, subscribers: 50, ahead: { qos0: 128, acknowledged: 64 } },
  "fan-in": { routing: "topic", publishers: 50, subscribers: 1, ahead: { qos0: 3200, acknowledged: 800 } },
  "fan-out": { routing: "topic", publishers: 1, subscribers: 50, ahead: { qos0: 1024, acknowledged: 256 } },
  wildcards: { routing: "wildcards", publishers: 20, subscribers: 20, ahead: { qos0: 1280, acknowledged: 640 } },
  shared: { routing: "shared", publishers: 50, subscribers: 50, ahead: { qos0: 3200, acknowledged: 800 } },
  spread: { routing: "spread", publishers: 50, subscribers: 1000, ahead: { qos0: 3200, acknowledged: 800 } },
  connect: { routing: "topic", publishers: 50, subscribers: 0, ahead: { qos0: 1, acknowledged: 1 } },
};

/** The names of all scenarios. */
export const scenarioNames: ScenarioName[] = Object.keys(scenarios) as ScenarioName[];

/** No group is further ahead than this, in bytes of payload: brokers drop what lies unread for too long. */
const mostBytesAhead = 1024 * 1024;

/** What of the options says who publishes to whom. */
export interface ScenarioOptions {
  scenario: ScenarioName;
  publishers?: number;
  subscribers?: number;
  topicsPerSubscriber: number;
  qos: QoS;
  payload: number;
  window?: number;
}

/**
 * The groups of clients that a scenario means.
 *
 * @throws {Failure} With exit code 2 if the subscribers or topics cannot be shared out.
 */
export function clientsOf(
  options: ScenarioOptions,
): Pick<LoadRequest, "routing" | "groups" | "publishers" | "subscribers" | "topicsPerSubscriber" | "window"> {
  const { topicsPerSubscriber } = options;
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
  if (scenario.routing === "spread" && (subscribers * topicsPerSubscriber) % publishers !== 0) {
    throw new Failure(
      `--publishers ${publishers}: they cannot share out ${subscribers * topicsPerSubscriber} topics evenly`,
      2,
    );
  }
  const limit = options.qos === 0 ? scenario.ahead.qos0 : scenario.ahead.acknowledged;
  const ahead = Math.min(limit, mostBytesAhead / options.payload);
  const window = options.window ?? Math.max(1, Math.floor(ahead / (publishers / groups)));
  return {
    routing: scenario.routing,
    groups,
    publishers: publishers / groups,
    subscribers: subscribers / groups,
    topicsPerSubscriber,
    window,
  };
}
