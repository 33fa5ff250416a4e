import { DatabaseSync } from "node:sqlite";
import type { Program } from "../interop/programs.ts";
import { type ConnectOptions, RawClient } from "../support/raw_client.ts";
import { Journal } from "./journal.ts";
import { Mourned } from "./mourned.ts";
import type { Ordeal } from "./ordeal.ts";
import { PersistentClient, type PersistentClientOptions } from "./persistent_client.ts";
import { Random } from "./random.ts";
import { RetainedRecord } from "./retained_record.ts";
import { WillRecord } from "./will_record.ts";

/** What a run comes to: what the clients found, each list empty if all is as it should be. */
export interface CrashResult {
  /** Acknowledged messages that did not arrive. */
  lost: string[];
  /** QoS 2 messages that arrived more than once. */
  repeated: string[];
  /** Messages that arrived behind later ones. */
  unordered: string[];
  /** Messages that nobody has sent. */
  unknown: string[];
  /** Retained messages, looked at after each crash. */
  retained: string[];
  wills: string[];
  /** What clients met that they should not have: sessions gone, refusals, sessions back that had ended. */
  violations: string[];
  /** What is in the database when all is acknowledged, by table; of sessions those too many or too few. */
  remains: Record<string, number>;
  /** What the run was worth. */
  summary: string;
}

/** How many messages a publisher sends before the first is acknowledged. */
const WINDOW = 15;

/** How likely it is that something happens to the broker when something happens to a connection. */
const STRIKING = 0.1;

/** How long the broker may take to be well again, in milliseconds. */
const RECOVERY = 10_000;

/** How long all that is under way at the end may take to arrive, in milliseconds. */
const DRAIN = 20_000;

const listening = /mqtt:\/\/127\.0\.0\.1:(\d+)/;
const topics = ["t/0", "t/1", "t/2"];

/**
 * Has clients publish and subscribe at full speed, with connections that come, go, and take each other over, and puts the
 * broker through an ordeal in the middle of that, again and again.
 */
export async function crashRun(ordeal: Ordeal, seed: number, rounds: number): Promise<CrashResult> {
  const directory = await Deno.makeTempDir({ prefix: "hookmq-crash-" });
  const run = new CrashRun(ordeal, seed, `${directory}/hookmq.db`);
  try {
    return await run.run(rounds);
  } finally {
    await run.end();
    await Deno.remove(directory, { recursive: true });
  }
}

class CrashRun {
  readonly #ordeal: Ordeal;
  readonly #random: Random;
  readonly #path: string;
  #program: Program | undefined;
  #port = 0;
  /** How often the broker has been killed. */
  #crashes = 0;
  /** How many messages it has refused. */
  #refusals = 0;

  readonly #journal = new Journal();
  readonly #retainedRecord = new RetainedRecord();
  readonly #wills: WillRecord;
  readonly #violations: string[] = [];
  readonly #wrongRetained: string[] = [];

  readonly #publishers: PersistentClient[] = [];
  /** By their QoS: at one QoS alone no acknowledgement waits for that of another QoS. */
  readonly #retainers = new Map<1 | 2, PersistentClient>();
  /** Those that are connected all the time. */
  readonly #steady: PersistentClient[] = [];
  /** Those that come and go. */
  readonly #fickle: PersistentClient[] = [];
  /** Those whose connections are taken over. */
  readonly #hasty: PersistentClient[] = [];
  readonly #mourned: Mourned[] = [];
  /** Clients whose sessions are to end. */
  readonly #finishing = new Set<string>();
  /** Clients whose sessions have ended, as CONNACK has told them. */
  readonly #finished = new Set<string>();

  /** With whom something is being done. */
  readonly #busy = new Set<PersistentClient | string>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #numbers = new Map<string, number>();

  constructor(ordeal: Ordeal, seed: number, path: string) {
    this.#ordeal = ordeal;
    this.#random = new Random(seed);
    this.#path = path;
    // Nobody is told that a will was refused.
    this.#wills = new WillRecord(ordeal.mayRefuse);
    for (const [index, level] of ([5, 4, 5] as const).entries()) {
      const onAcknowledged = (text: string) => this.#journal.acknowledge(text);
      const onRefused = () => this.#refusals += 1;
      this.#publishers.push(this.#client({ clientId: `publisher-${index}`, level, onAcknowledged, onRefused }));
    }
    for (const qos of [1, 2] as const) {
      const onAcknowledged = (text: string) => {
        const [topic, number] = text.split(" ");
        this.#retainedRecord.acknowledge(topic, Number(number));
      };
      this.#retainers.set(qos, this.#client({ clientId: `retainer-${qos}`, level: 5, onAcknowledged }));
    }
    for (const [index, level] of ([5, 4, 5, 4] as const).entries()) {
      this.#mourned.push(new Mourned(this.#client({ clientId: `mourned-${index}`, level }), this.#wills));
    }
  }

  async run(rounds: number): Promise<CrashResult> {
    const startedAt = performance.now();
    await this.#start();
    await this.#setUp();
    for (let round = 1; round <= rounds; round++) {
      await this.#live();
      // What a fault has left on the disk shows after a restart.
      if (round === rounds || this.#random.next() < this.#ordeal.deadliness) await this.#crash();
      else await this.#relent();
    }
    await this.#drain();
    const remains = await this.#remains();
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    return {
      lost: this.#journal.lost(),
      repeated: this.#journal.repeated(),
      unordered: this.#journal.unordered,
      unknown: this.#journal.unknown,
      retained: this.#wrongRetained,
      wills: this.#wills.check(),
      violations: this.#violations,
      remains,
      summary: `${this.#crashes} crashes in ${seconds} s; ${this.#journal.acknowledged} messages were acknowledged, ` +
        `${this.#refusals} refused, ${this.#journal.received} arrived (${this.#journal.duplicates} again), ` +
        `and ${this.#wills.received} wills; ${this.#ordeal.summary}`,
    };
  }

  async end(): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
    for (const client of this.#all()) client.close();
    await Promise.all(this.#tasks);
  }

  // The broker.

  async #start(): Promise<void> {
    this.#program = this.#ordeal.spawn(this.#path);
    this.#port = Number((await this.#program!.printed(listening))[1]);
  }

  async #kill(): Promise<void> {
    this.#crashes += 1;
    this.#program!.kill("SIGKILL");
    await this.#program![Symbol.asyncDispose]();
  }

  // The clients.

  #client(options: Omit<PersistentClientOptions, "mayBeRefused" | "onViolation">): PersistentClient {
    const { mayRefuse: mayBeRefused } = this.#ordeal;
    return new PersistentClient({
      ...options,
      mayBeRefused,
      onViolation: (violation) => this.#violations.push(violation),
    });
  }

  #all(): PersistentClient[] {
    const mourned = this.#mourned.map(({ client }) => client);
    const publishers = [...this.#publishers, ...this.#retainers.values()];
    return [...publishers, ...this.#steady, ...this.#fickle, ...this.#hasty, ...mourned];
  }

  /** Everybody subscribes before the first message. */
  async #setUp(): Promise<void> {
    await this.#subscribe(this.#steady, { clientId: "steady-5", level: 5 }, 2);
    await this.#subscribe(this.#steady, { clientId: "steady-4", level: 4 }, 1);
    await this.#subscribe(this.#fickle, { clientId: "fickle-5", level: 5, receiveMaximum: 10 }, 2);
    await this.#subscribe(this.#fickle, { clientId: "fickle-4", level: 4 }, 2);
    await this.#subscribe(this.#hasty, { clientId: "hasty-5", level: 5 }, 2);
    await this.#subscribe(this.#hasty, { clientId: "hasty-4", level: 4 }, 1);

    const onMessage = this.#journal.addReceiver("group", 2, true);
    for (const [clientId, members] of [["member-1", this.#steady], ["member-2", this.#fickle]] as const) {
      const member = this.#client({ clientId, level: 5, onMessage });
      await member.connect(this.#port);
      await member.subscribe("$share/group/t/#", 2);
      members.push(member);
    }

    const onWill = (_packet: unknown, text: string) => this.#wills.receive(text);
    const watcher = this.#client({ clientId: "watcher", level: 5, onMessage: onWill });
    await watcher.connect(this.#port);
    await watcher.subscribe("w/#", 2);
    this.#steady.push(watcher);
    await this.#connectAll();
  }

  async #subscribe(
    among: PersistentClient[],
    options: Pick<PersistentClientOptions, "clientId" | "level" | "receiveMaximum">,
    qos: 1 | 2,
  ): Promise<void> {
    const client = this.#client({ ...options, onMessage: this.#journal.addReceiver(options.clientId, qos) });
    await client.connect(this.#port);
    await client.subscribe("t/#", qos);
    among.push(client);
  }

  /** Connects everybody who is not connected, in any order. */
  async #connectAll(): Promise<void> {
    const mourned = new Map(this.#mourned.map((each) => [each.client, each]));
    const waiting = this.#all().filter(({ isConnected }) => !isConnected);
    while (waiting.length > 0) {
      const [client] = waiting.splice(this.#random.between(0, waiting.length - 1), 1);
      await (mourned.get(client)?.connect(this.#port, this.#crashes) ?? client.connect(this.#port));
    }
  }

  /** Publishes at full speed for a while, while things happen to connections. */
  async #live(): Promise<void> {
    const until = performance.now() + this.#random.between(50, 700);
    const publishing = setInterval(() => this.#publish(), 1);
    while (performance.now() < until) {
      await delay(this.#random.between(1, 20));
      this.#stir();
    }
    if (this.#random.next() < 0.3) {
      // The crash comes in the middle of takeovers.
      for (const client of this.#hasty) this.#task(client, () => client.connect(this.#port));
      for (const each of this.#mourned) this.#task(each.client, () => each.connect(this.#port, this.#crashes));
      await delay(this.#random.between(0, 8));
    }
    clearInterval(publishing);
  }

  #publish(): void {
    for (const client of this.#publishers) {
      while (client.isConnected && client.unfinished < WINDOW) {
        const qos = this.#random.pick([1, 2] as const);
        const topic = this.#random.pick(topics);
        client.publish(topic, this.#journal.publish(client.clientId, this.#next(client.clientId), topic, qos), qos);
      }
    }
    for (const [qos, client] of this.#retainers) {
      if (!client.isConnected || client.unfinished >= WINDOW) continue;
      const topic = `r/${qos}/${this.#random.between(0, 2)}`;
      const text = `${topic} ${this.#retainedRecord.count(topic) + 1}`;
      const payload = this.#random.next() < 0.2 ? "" : text;
      this.#retainedRecord.publish(topic, payload);
      client.publish(topic, text, qos, true, payload);
    }
  }

  /** Something happens to some connection, and maybe to the broker. */
  #stir(): void {
    const port = this.#port;
    if (this.#random.next() < STRIKING) {
      this.#task("broker", () => this.#ordeal.strike(this.#program!, this.#random));
    }
    for (const client of this.#publishers) {
      // A publisher of MQTT 3.1.1 is thrown out when it is refused something.
      if (!client.isConnected) this.#task(client, () => client.connect(port));
    }
    switch (this.#random.between(0, 4)) {
      case 0: {
        const client = this.#random.pick(this.#fickle);
        const isGoodbye = this.#random.next() < 0.5;
        return this.#task(client, async () => {
          if (!client.isConnected) return await client.connect(port);
          if (isGoodbye) await client.disconnect();
          else client.close();
        });
      }
      case 1: {
        const client = this.#random.pick(this.#hasty);
        return this.#task(client, () => client.connect(port));
      }
      case 2: {
        const mourned = this.#random.pick(this.#mourned);
        const end = this.#random.pick(["goodbye", "silence", "takeover"] as const);
        return this.#task(mourned.client, async () => {
          if (mourned.client.isConnected && end === "goodbye") await mourned.disconnect(this.#crashes);
          if (mourned.client.isConnected && end === "silence") mourned.close();
          await mourned.connect(port, this.#crashes);
        });
      }
      default:
        return this.#task(
          "finishing",
          () => this.#finish(`finished-${this.#next("finished")}`),
          this.#ordeal.mayRefuse,
        );
    }
  }

  /** A session that lasts, gets messages, and is ended by its client. It is new, so that it may be refused. */
  async #finish(clientId: string): Promise<void> {
    this.#finishing.add(clientId);
    const lasting = this.#client({ clientId, level: 5 });
    await lasting.connect(this.#port);
    await lasting.subscribe("t/#", 2);
    lasting.close();
    await delay(this.#random.between(0, 10));
    await using _clean = await this.#open({ clientId });
    this.#finishing.delete(clientId);
    this.#finished.add(clientId);
  }

  async #open(options: ConnectOptions): Promise<RawClient> {
    const client = new RawClient(await Deno.connect({ hostname: "127.0.0.1", port: this.#port }));
    try {
      await client.connect(options);
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  /** Does something with a client, unless something is being done with it. That the broker dies meanwhile is expected. */
  #task(subject: PersistentClient | string, run: () => Promise<void>, mayFail = false): void {
    if (this.#busy.has(subject)) return;
    this.#busy.add(subject);
    const crashes = this.#crashes;
    const task = run().catch((error: Error) => {
      if (crashes === this.#crashes && !mayFail) this.#violations.push(`${error.message}, without a crash`);
    }).finally(() => {
      this.#busy.delete(subject);
      this.#tasks.delete(task);
    });
    this.#tasks.add(task);
  }

  #next(name: string): number {
    const number = (this.#numbers.get(name) ?? 0) + 1;
    this.#numbers.set(name, number);
    return number;
  }

  // What becomes of the broker.

  /** Whatever has befallen it is over: everything is to be as it was. */
  async #relent(): Promise<void> {
    await this.#ordeal.relent(this.#program!);
    await Promise.all(this.#tasks);
    await this.#connectAll();
    const deadline = performance.now() + RECOVERY;
    for (;;) {
      const reason = await this.#ordeal.failure(this.#program!);
      if (reason === undefined) break;
      if (performance.now() > deadline) throw new Error(`the broker has not recovered: ${reason}`);
      await delay(50);
    }
    await this.#checkRetained();
    await this.#checkFinished();
    await this.#connectAll();
  }

  async #crash(): Promise<void> {
    await this.#kill();
    await Promise.all(this.#tasks);
    // What the broker had sent still arrives.
    await Promise.all(this.#all().map((client) => client.ended()));
    for (const mourned of this.#mourned) mourned.bereave();
    if (this.#random.next() < 0.2) {
      // Once more, while it starts.
      this.#program = this.#ordeal.spawn(this.#path);
      await delay(this.#random.between(50, 600));
      await this.#kill();
    }
    await this.#start();
    await this.#checkRetained();
    await this.#checkFinished();
    await this.#connectAll();
  }

  async #checkRetained(): Promise<void> {
    await using client = await this.#open({ clientId: "looking" });
    await client.subscribe("r/#");
    await client.send({ type: "pingreq" });
    const found = new Map<string, string>();
    for (;;) {
      const packet = await client.expect("publish").catch((error: Error) => {
        // The answer to the PINGREQ marks the end.
        if (!error.message.includes('got { type: "pingresp" }')) throw error;
      });
      if (packet === undefined) break;
      found.set(packet.topic, new TextDecoder().decode(packet.payload));
    }
    this.#wrongRetained.push(...this.#retainedRecord.check(found));
  }

  async #checkFinished(): Promise<void> {
    for (const clientId of this.#finished) {
      await using client = await this.#open({ clientId, cleanStart: false });
      if (client.connack.sessionPresent) this.#violations.push(`the session of ${clientId} is back`);
    }
    this.#finished.clear();
    // Those whose end a crash has come before.
    for (const clientId of this.#finishing) await (await this.#open({ clientId })).close();
    this.#finishing.clear();
  }

  // The end.

  async #drain(): Promise<void> {
    await Promise.all(this.#tasks);
    await this.#checkFinished();
    await this.#connectAll();
    const deadline = performance.now() + DRAIN;
    const isComplete = () =>
      this.#all().every(({ unfinished }) => unfinished === 0) && this.#journal.lost().length === 0 &&
      this.#wills.check().length === 0;
    while (performance.now() < deadline && !isComplete()) await delay(100);
    // What comes too often comes now.
    await delay(200);
    for (const client of this.#all()) await client.disconnect();
  }

  /** Stops the broker in order, and looks at what it leaves. */
  async #remains(): Promise<Record<string, number>> {
    this.#program!.kill("SIGTERM");
    const { code, stderr } = await this.#program!.ended();
    if (code !== 0) this.#violations.push(`the broker ended with ${code}: ${stderr}`);
    const faults = stderr.split("\n").filter((line) => /\[(error|fatal)\]|Uncaught/i.test(line));
    const unexpected = faults.filter((line) => !this.#ordeal.expectedErrors.test(line));
    if (unexpected.length > 0) this.#violations.push(`the broker met a fault: ${unexpected.join("\n")}`);
    using database = new DatabaseSync(this.#path);
    const remains: Record<string, number> = {};
    for (const table of ["sessions", "messages", "outgoing", "received"]) {
      remains[table] = Number(database.prepare(`SELECT count(*) AS count FROM ${table}`).get()!.count);
    }
    remains.sessions -= this.#all().length;
    return remains;
  }
}

function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
