import { type LocalBroker, type RunningBroker, startLocal } from "./brokers.ts";
import { aedes } from "./brokers/aedes.ts";
import { hookmq } from "./brokers/hookmq.ts";
import { mosquitto } from "./brokers/mosquitto.ts";
import type { Scenario } from "./scenarios.ts";
import { plainSetup, type Setup } from "./setup.ts";

/** A broker that the bench can start by itself. */
export interface KnownBroker {
  /** How it is started; its program is undefined where it is not installed. */
  local(setup: Setup): LocalBroker;
  /** Which version of it is installed. */
  version(): Promise<string>;
  /** Whether the scenario asks for something that it does not have. */
  lacks?(scenario: Pick<Scenario, "load">): boolean;
}

/** A broker that the bench can measure. */
export interface Broker {
  name: string;
  version(): Promise<string>;
  /** Whether the scenario asks for something that it does not have. */
  lacks(scenario: Pick<Scenario, "load" | "secured">): boolean;
  /** Starts it, or merely names its address where somebody else has. It ends when the signal aborts. */
  start(setup: Setup, signal: AbortSignal): Promise<RunningBroker>;
}

const knownBrokers: Record<string, KnownBroker> = { hookmq, mosquitto, aedes };

/** The brokers that can be asked for by name. */
export const brokerNames: string[] = Object.keys(knownBrokers);

/**
 * The broker that a command line names: one of {@linkcode brokerNames}, or any that runs already as `name=host:port`, or
 * `name=host:port,pid` to have figures of its process as well. Undefined where a known broker is not installed.
 *
 * @throws {RangeError} If it is neither.
 */
export function findBroker(text: string): Broker | undefined {
  if (text in knownBrokers) return installed(text, knownBrokers[text]);
  const address = /^(?<name>[^=]+)=(?<hostname>.+):(?<port>\d+)(,(?<pid>\d+))?$/.exec(text)?.groups;
  if (address === undefined) {
    throw new RangeError(
      `neither one of ${brokerNames.join(", ")} nor of the form name=host:port or name=host:port,pid`,
    );
  }
  const running: RunningBroker = {
    hostname: address.hostname,
    port: Number(address.port),
    pid: address.pid === undefined ? undefined : Number(address.pid),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return {
    name: address.name,
    version: () => Promise.resolve("unknown"),
    // What listens at that address is MQTT over TCP, and whom it lets in is not known.
    lacks: ({ load, secured }) => secured === true || (load.transport ?? "tcp") !== "tcp",
    start: () => Promise.resolve(running),
  };
}

function installed(name: string, known: KnownBroker): Broker | undefined {
  if (known.local(plainSetup).program === undefined) return undefined;
  return {
    name,
    version: () => known.version(),
    lacks: (scenario) => known.lacks?.(scenario) ?? false,
    start: (setup, signal) => startLocal(name, known.local(setup), signal),
  };
}
