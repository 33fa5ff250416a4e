import { Failure } from "../failure.ts";
import { onTerminationSignal } from "../signals.ts";
import { type LoadRequest, type LoadResult, runLoad } from "./load.ts";
import type { ProtocolLevel, QoS } from "./packets.ts";
import { progressLine } from "./progress_line.ts";
import { clientsOf, type ScenarioName } from "./scenario.ts";
import { describeLoad, summary, thousands } from "./summary.ts";

/** The options of the command `bench`, as they were given. */
export interface BenchOptions {
  scenario: ScenarioName;
  publishers?: number;
  subscribers?: number;
  qos: QoS;
  payload: number;
  window?: number;
  rate?: number;
  seconds: number;
  warmUp: number;
  topic: string;
  brokerPid?: number;
  json?: true;
  host: string;
  port: number;
  username?: string;
  pw?: string;
  level: ProtocolLevel;
}

/**
 * Puts the load on the broker and prints what came of it.
 *
 * @throws {Failure} If it cannot be carried out, or a message was lost or came twice.
 */
export async function bench(options: BenchOptions): Promise<void> {
  const request = loadRequest(options);
  const interruption = new AbortController();
  using _signals = onTerminationSignal((exitCode) => interruption.abort(new Failure("", exitCode)));
  const { signal } = interruption;
  if (options.json) {
    const result = await runLoad(request, { signal });
    console.log(JSON.stringify(result));
    return assertComplete(result);
  }
  console.log(describeLoad(request));
  const result = await runVisibly(request, signal);
  console.log(summary(result));
  assertComplete(result);
}

async function runVisibly(request: LoadRequest, signal: AbortSignal): Promise<LoadResult> {
  using line = progressLine(request);
  return await runLoad(request, { signal, onProgress: line.show });
}

function loadRequest(options: BenchOptions): LoadRequest {
  const { host, pw, payload, warmUp, ...others } = options;
  if (pw !== undefined && options.username === undefined && options.level === 4) {
    throw new Failure("-P needs a user name before MQTT 5: add -u", 2);
  }
  return {
    ...others,
    ...clientsOf(options),
    hostname: host,
    password: pw,
    payloadSize: payload,
    warmUpSeconds: warmUp,
  };
}

function assertComplete({ lost, duplicates }: LoadResult): void {
  const problems = [];
  if (lost > 0) problems.push(`${thousands(lost)} deliveries never came`);
  if (duplicates > 0) problems.push(`${thousands(duplicates)} deliveries came again or out of order`);
  if (problems.length > 0) throw new Failure(problems.join(", "));
}
