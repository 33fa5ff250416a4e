/**
 * Tests of what the specification demands of a server, on a broker that runs as its users run it: from the command line,
 * in a process of its own. `CONFORMANCE_TRANSPORT` says over what they talk to it.
 */

import type { ProtocolLevel } from "../../mod.ts";
import { type ConnectOptions, RawClient } from "../support/raw_client.ts";
import { serve, type ServedBroker, type ServeOptions } from "./served_broker.ts";
import { levels, parseTestName, testName, type Version } from "./test_name.ts";

/** How long the broker may take to answer, in milliseconds; only a failing test waits so long. */
const DEADLINE = 10_000;

/** The broker that one test talks to; other tests use it as well. */
export interface ConformanceBroker {
  /** A connection that has sent nothing. */
  open(): Promise<RawClient>;
  /** A client whose CONNECT has been accepted, at the test's level and with a client id of its own by default. */
  connect(options?: ConnectOptions): Promise<RawClient>;
  /** A topic level or client id that no other test uses, such as `name-17`. */
  unique(name: string): string;
}

/** What a test does; whatever it opens is closed at its end. */
export type ConformanceTest = (broker: ConformanceBroker, level: ProtocolLevel) => Promise<void>;

/** A test as it was declared, for one version. */
export interface DeclaredTest {
  /** As `deno test` knows it, with the bracket. */
  name: string;
  sentence: string;
  version: Version;
  ids: string[];
}

let collected: DeclaredTest[] | undefined;
let firstTest = true;
const brokers = new Map<string, Promise<ServedBroker>>();
let lastUnique = 0;

/**
 * Declares a test for each version that its name says it proves something of.
 *
 * @example
 * ```ts
 * // "The Server MUST …"
 * conformance("[5.0 MQTT-3.1.4-3] [3.1.1 MQTT-3.1.4-2] a second CONNECT closes the first", async (broker, level) => {
 *   const first = await broker.connect({ clientId: broker.unique("a") });
 * });
 * ```
 *
 * @param name One bracket for each version, with the ids of what is proved, if it has any, and then a sentence.
 * @param run Is called with the protocol level of each of the versions.
 * @param options For a test that needs another broker than `hookmq serve` without options. Tests of one file with the
 *   same options share a process.
 * @throws {SyntaxError} If the name is none of these.
 */
export function conformance(name: string, run: ConformanceTest, options: ServeOptions = {}): void {
  const { proofs, sentence } = parseTestName(name);
  for (const proof of proofs) {
    const test: DeclaredTest = { name: testName(proof, sentence), sentence, ...proof };
    if (collected !== undefined) {
      collected.push(test);
      continue;
    }
    if (firstTest) Deno.test.afterAll(endBrokers);
    firstTest = false;
    Deno.test({
      name: test.name,
      fn: () => runTest(run, levels[proof.version], options),
      // The broker's process, and the reading of what it prints, go on from one test to the next.
      sanitizeOps: false,
      sanitizeResources: false,
    });
  }
}

/** The tests that a module declares, without having them run. */
export async function testsIn(module: string): Promise<DeclaredTest[]> {
  collected = [];
  try {
    await import(module);
    return collected;
  } finally {
    collected = undefined;
  }
}

async function runTest(run: ConformanceTest, level: ProtocolLevel, options: ServeOptions): Promise<void> {
  const key = JSON.stringify(options);
  if (!brokers.has(key)) brokers.set(key, serve(options));
  const served = await brokers.get(key)!;
  await using clients = new AsyncDisposableStack();
  const open = async () => {
    const client = clients.use(new RawClient(await served.connect(), DEADLINE));
    client.level = level;
    return client;
  };
  const unique = (name: string) => `${name}-${++lastUnique}`;
  const connect = async (options: ConnectOptions = {}) => {
    const client = await open();
    await client.connect({ level, clientId: unique("client"), ...options });
    return client;
  };
  await run({ open, connect, unique }, level);
}

async function endBrokers(): Promise<void> {
  const ended = await Promise.allSettled([...brokers.values()].map(async (broker) => {
    await (await broker)[Symbol.asyncDispose]();
  }));
  const failed = ended.filter((result) => result.status === "rejected").map(({ reason }) => reason);
  if (failed.length > 0) throw new AggregateError(failed, failed.map(({ message }) => message).join("\n"));
}
