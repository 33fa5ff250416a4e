import { fileURLToPath } from "node:url";
import { Random } from "../../crash/random.ts";
import { type Program, startReady } from "../../interop/programs.ts";
import { type Duplex, RawClient } from "../../support/raw_client.ts";
import { chosenTransport, createEndpoint, type Transport } from "../transport.ts";
import { faultOf } from "./answer.ts";
import { validConversation } from "./conversation.ts";
import { mutate } from "./mutation.ts";
import { Witness } from "./witness.ts";

/** How to fuzz. */
export interface FuzzOptions {
  /** Which conversations: the same ones for the same seed. */
  seed: number;
  /** For how long. */
  seconds: number;
  /** Whether the broker stores sessions in a database. Default false. */
  durable?: boolean;
  /** Over what to talk to it. Default: what the conformance tests do. */
  transport?: Transport;
}

/** What has come of it. */
export interface FuzzResult {
  /** What is not as it should be. */
  faults: string[];
  /** What the run was worth. */
  summary: string;
}

/** How many clients there are at a time. */
const CLIENTS = 8;

/** How much more the broker may hold in the end than in the beginning, in bytes: what it retains, and code that got compiled. */
const GROWTH = 16_000_000;

/** How long what is left behind may take to go, in milliseconds: sessions last a second. */
const SETTLING = 20_000;

/** Small limits, so that they are reached; what is kept is kept for a short time. */
const configuration = `
limits: {connectTimeout: 2, packetSize: 65536, retainedMessages: 100, queueMessages: 50, receiveMaximum: 10, subscriptions: 8}
maximumSessionExpiry: 1
hooks: {sys: {interval: 0.2}}
`;

const broker = fileURLToPath(new URL("fuzzed_broker.ts", import.meta.url));

/** Has clients say to a broker what is almost right, and looks whether it minds. */
export async function fuzzRun(options: FuzzOptions): Promise<FuzzResult> {
  const { seed, seconds, durable = false, transport = chosenTransport() } = options;
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${directory}/hookmq.yaml`, configuration);
    const endpoint = await createEndpoint(transport, directory);
    const store = durable ? ["--data", `${directory}/hookmq.db`] : ["--memory"];
    const args = ["run", "-A", "--v8-flags=--expose-gc", broker, "--config", `${directory}/hookmq.yaml`, ...store];
    const listening = /listens on (\S+)/;
    await using program = await startReady(listening, Deno.execPath(), args, { env: endpoint.environment });
    const [, url] = await program.printed(listening);
    return await new FuzzRun(program, () => endpoint.connect(url), seed).run(seconds);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

class FuzzRun {
  readonly #program: Program;
  readonly #connect: () => Promise<Duplex>;
  readonly #seed: number;
  readonly #faults: string[] = [];
  #conversations = 0;
  #bytesSent = 0;
  #bytesReceived = 0;
  #memoryAsked = 0;

  constructor(program: Program, connect: () => Promise<Duplex>, seed: number) {
    this.#program = program;
    this.#connect = connect;
    this.#seed = seed;
  }

  async run(seconds: number): Promise<FuzzResult> {
    await using witness = await Witness.connect(this.#connect);
    const memoryBefore = await this.#memory();
    const held = [memoryBefore];
    try {
      await this.#fuzz(witness, seconds);
      await this.#settle();
      held.push(await this.#memory());
      if (held[1] - memoryBefore > GROWTH) {
        this.#faults.push(`the broker holds ${held.map(megabytes).join(" MB, then ")} MB`);
      }
      await this.#endBroker();
    } catch (error) {
      this.#faults.push((error as Error).message);
    }
    const summary = `${this.#conversations} conversations, ${megabytes(this.#bytesSent)} MB sent, ` +
      `${megabytes(this.#bytesReceived)} MB received; the witness got ${witness.count} messages, ` +
      `the slowest in ${Math.round(witness.slowest)} ms; memory: ${held.map(megabytes).join(" MB, then ")} MB`;
    return { faults: this.#faults, summary };
  }

  /** All clients at work, until time is over or one of them fails. */
  async #fuzz(witness: Witness, seconds: number): Promise<void> {
    const end = performance.now() + seconds * 1000;
    let hasFailed = false;
    const isOver = () => hasFailed || performance.now() > end;
    const tasks = [witness.watch(isOver), ...Array.from({ length: CLIENTS }, () => this.#talk(isOver))];
    try {
      await Promise.all(tasks);
    } finally {
      hasFailed = true;
      await Promise.allSettled(tasks);
    }
  }

  /** One conversation after the other. */
  async #talk(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const number = this.#conversations++;
      const random = new Random(Math.imul(this.#seed, 0x9e3779b1) + number);
      const bytes = mutate(validConversation(random), random);
      const fault = faultOf(await this.#say(bytes, random));
      if (fault !== undefined) this.#faults.push(`conversation ${number}: ${fault}; it was ${bytes.toHex()}`);
    }
  }

  /** Says it in one piece or several, listens for a moment, and hangs up. Returns the answer. */
  async #say(bytes: Uint8Array, random: Random): Promise<Uint8Array> {
    const { readable, writable } = await this.#connect();
    const [reader, writer] = [readable.getReader(), writable.getWriter()];
    const answer: Uint8Array[] = [];
    const listening = (async () => {
      for (let chunk; (chunk = (await reader.read()).value) !== undefined;) answer.push(chunk);
    })().catch(() => {}); // The broker may have closed the connection in any manner.
    const speaking = (async () => {
      const size = random.pick([bytes.length, bytes.length, random.between(1, 50)]) || 1;
      for (let start = 0; start < bytes.length; start += size) await writer.write(bytes.slice(start, start + size));
    })().catch(() => {});
    await Promise.race([speaking, listening]);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const patience = new Promise<void>((resolve) => timer = setTimeout(resolve, random.pick([0, 2, 10, 50, 200])));
    await Promise.race([listening, patience]);
    clearTimeout(timer);
    await Promise.allSettled([writer.abort(), reader.cancel()]);
    await Promise.all([listening, speaking]);
    this.#bytesSent += bytes.length;
    for (const { length } of answer) this.#bytesReceived += length;
    return await new Blob(answer as Uint8Array<ArrayBuffer>[]).bytes();
  }

  /** When the clients are gone, so are their sessions and what waited for them. */
  async #settle(): Promise<void> {
    const expected: Record<string, number> = {
      "$SYS/broker/clients/connected": 3,
      "$SYS/broker/clients/total": 3,
      "$SYS/broker/subscriptions/count": 1 + 4,
      "$SYS/broker/store/messages/bytes": 0,
    };
    await using observer = new RawClient(await this.#connect(), SETTLING);
    await observer.connect({ clientId: "observer", keepAlive: 0 });
    await observer.subscribe(Object.keys(expected));
    const found: Record<string, number> = {};
    const end = performance.now() + SETTLING;
    while (Object.entries(expected).some(([topic, value]) => found[topic] !== value)) {
      const message = await observer.expect("publish").catch(() => undefined);
      if (message === undefined || performance.now() > end) {
        throw new Error(`the clients are gone and the broker has still ${JSON.stringify(found)}`);
      }
      found[message.topic] = Number(new TextDecoder().decode(message.payload));
    }
  }

  /** How many bytes the broker holds that are no garbage. */
  async #memory(): Promise<number> {
    this.#memoryAsked += 1;
    this.#program.kill("SIGUSR2");
    const [, bytes] = await this.#program.printed(new RegExp(`memory ${this.#memoryAsked}: (\\d+) bytes`));
    return Number(bytes);
  }

  /** The broker ends as it should, and had nothing to complain about. */
  async #endBroker(): Promise<void> {
    this.#program.kill("SIGTERM");
    const { code, stderr } = await this.#program.ended();
    if (code !== 0) this.#faults.push(`the broker ended with exit code ${code}`);
    if (stderr !== "") this.#faults.push(`the broker said:\n${stderr}`);
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1_000_000).toFixed(1);
}
