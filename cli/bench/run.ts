import { Failure } from "../failure.ts";
import { onTerminationSignal } from "../signals.ts";
import { runConnectLoad } from "./connect_load.ts";
import { type LoadOptions, type LoadRequest, type LoadResult, runLoad } from "./load.ts";
import type { ProtocolLevel, QoS } from "./packets.ts";
import { progressLine } from "./progress_line.ts";
import { clientsOf, type ScenarioName } from "./scenario.ts";
import type { Transport } from "./socket.ts";
import { describeLoad, summary, thousands } from "./summary.ts";

/** The options of the command `bench`, as they were given. */
export interface BenchOptions {
  scenario: ScenarioName;
  publishers?: number;
  subscribers?: number;
  topicsPerSubscriber: number;
  qos: QoS;
  payload: number;
  properties?: true;
  window?: number;
  rate?: number;
  storm?: number;
  seconds: number;
  warmUp: number;
  topic: string;
  brokerPid?: number;
  json?: true;
  host: string;
  port: number;
  transport: Transport;
  cafile?: string;
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
  const request = await loadRequest(options);
  const run = options.scenario === "connect" ? runConnectLoad : runLoad;
  const interruption = new AbortController();
  using _signals = onTerminationSignal((exitCode) => interruption.abort(new Failure("", exitCode)));
  const { signal } = interruption;
  if (options.json) {
    const result = await run(request, { signal });
    console.log(JSON.stringify(result));
    return assertComplete(result);
  }
  console.log(describeLoad(request, options.scenario));
  const result = await runVisibly(run, request, signal);
  console.log(summary(result, options.scenario));
  assertComplete(result);
}

async function runVisibly(
  run: (request: LoadRequest, options: LoadOptions) => Promise<LoadResult>,
  request: LoadRequest,
  signal: AbortSignal,
): Promise<LoadResult> {
  using line = progressLine(request);
  return await run(request, { signal, onProgress: line.show });
}

async function loadRequest(options: BenchOptions): Promise<LoadRequest> {
  const { host, pw, payload, warmUp, properties, cafile, ...others } = options;
  if (pw !== undefined && options.username === undefined && options.level === 4) {
    throw new Failure("-P needs a user name before MQTT 5: add -u", 2);
  }
  if (properties && options.level === 4) throw new Failure("--properties needs MQTT 5: add --level 5", 2);
  return {
    ...others,
    ...clientsOf(options),
    clientIds: `bench${Deno.pid}`,
    hostname: host,
    password: pw,
    certificateAuthority: cafile === undefined ? undefined : await readCertificate(cafile),
    payloadSize: payload,
    withProperties: properties,
    warmUpSeconds: warmUp,
  };
}

async function readCertificate(file: string): Promise<string> {
  try {
    return await Deno.readTextFile(file);
  } catch (error) {
    throw new Failure(`--cafile ${file}: ${(error as Error).message}`, 2);
  }
}

function assertComplete({ lost, duplicates }: LoadResult): void {
  const problems = [];
  if (lost > 0) problems.push(`${thousands(lost)} deliveries never came`);
  if (duplicates > 0) problems.push(`${thousands(duplicates)} deliveries came again or out of order`);
  if (problems.length > 0) throw new Failure(problems.join(", "));
}
