import { connect as connectMqttjs } from "../interop/mqttjs_client.ts";
import { Journal } from "../crash/journal.ts";
import { Mourned } from "../crash/mourned.ts";
import { PersistentClient, type PersistentClientOptions } from "../crash/persistent_client.ts";
import type { Random } from "../crash/random.ts";
import { WillRecord } from "../crash/will_record.ts";
import { type ClusterNode, patience } from "./cluster.ts";

/** How many messages a publisher sends before the first is acknowledged. */
const WINDOW = 15;

/** Limits of the nodes, as they are needed here: what a full queue drops would count as lost. */
export const limits = { HOOKMQ_LIMITS_QUEUE_MESSAGES: "1000000", HOOKMQ_LIMITS_QUEUE_BYTES: "1000000000" };

const topics = ["t/0", "t/1", "t/2"];

/** What a run of traffic comes to: each list is empty if all is as it should be. */
export interface TrafficResult {
  /** Acknowledged messages that did not arrive. */
  lost: string[];
  /** QoS 2 messages that arrived more than once. */
  repeated: string[];
  /** Messages that arrived behind later ones. */
  unordered: string[];
  /** Messages that nobody has sent. */
  unknown: string[];
  wills: string[];
  /** What clients met that they should not have: sessions gone, refusals. */
  violations: string[];
  /** What the run was worth. */
  summary: string;
}

/**
 * Clients of a cluster that publish and subscribe at full speed, at any node, some of which come, go, and move from node to
 * node. They keep their own records of what has to arrive.
 */
export class Traffic implements AsyncDisposable {
  /** The nodes that clients connect to. */
  readonly nodes: Set<ClusterNode>;
  /** Violations that match are none for the time being. */
  #expected: RegExp | undefined;
  /** Whether publishers move from node to node, too. */
  readonly #publishersMove: boolean;
  readonly #random: Random;
  readonly #journal = new Journal();
  readonly #wills = new WillRecord(false);
  readonly #violations: string[] = [];
  readonly #publishers: PersistentClient[] = [];
  /** Those that stay where they are as long as they can. */
  readonly #steady: PersistentClient[] = [];
  /** Those that come and go, and move. */
  readonly #fickle: PersistentClient[] = [];
  readonly #mourned: Mourned[] = [];
  readonly #clean = new AsyncDisposableStack();
  readonly #busy = new Set<PersistentClient>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #numbers = new Map<string, number>();
  /** Whether Redis has been away, so that two nodes may have published the same will. */
  #wasAway = false;
  /** How often something has happened that keeps nodes from storing what they have been told. */
  #troubles = 0;
  #refusals = 0;
  #publishing: ReturnType<typeof setInterval> | undefined;

  constructor(nodes: Iterable<ClusterNode>, random: Random, publishersMove = true) {
    this.nodes = new Set(nodes);
    this.#random = random;
    this.#publishersMove = publishersMove;
  }

  /** Everybody subscribes before the first message. */
  async setUp(): Promise<void> {
    for (const [index, level] of ([5, 4, 5] as const).entries()) {
      const onAcknowledged = (text: string) => this.#journal.acknowledge(text);
      const onRefused = () => this.#refusals += 1;
      this.#publishers.push(this.#client({ clientId: `publisher-${index}`, level, onAcknowledged, onRefused }));
    }
    await this.#subscribe(this.#steady, { clientId: "steady-5", level: 5 }, 2);
    await this.#subscribe(this.#steady, { clientId: "steady-4", level: 4 }, 1);
    await this.#subscribe(this.#fickle, { clientId: "fickle-5", level: 5, receiveMaximum: 10 }, 2);
    await this.#subscribe(this.#fickle, { clientId: "fickle-4", level: 4 }, 2);

    const onMessage = this.#journal.addReceiver("group", 2, true);
    for (const [clientId, members] of [["member-1", this.#steady], ["member-2", this.#fickle]] as const) {
      const member = this.#client({ clientId, level: 5, onMessage });
      await member.connect(this.#anyNode().port);
      await member.subscribe("$share/group/t/#", 2);
      members.push(member);
    }

    const onWill = (_packet: unknown, text: string) => this.#wills.receive(text);
    const watcher = this.#client({ clientId: "watcher", level: 5, onMessage: onWill });
    await watcher.connect(this.#anyNode().port);
    await watcher.subscribe("w/#", 2);
    this.#steady.push(watcher);
    for (const [index, level] of ([5, 4, 5] as const).entries()) {
      this.#mourned.push(new Mourned(this.#client({ clientId: `mourned-${index}`, level }), this.#wills));
    }
    await this.connectAll();
  }

  /** Adds a subscriber without a durable session to each node, for nodes that are not to die. */
  async addCleanSubscribers(): Promise<void> {
    for (const node of this.nodes) {
      const onMessage = this.#journal.addReceiver(`clean-${node.id}`, 2);
      const { client } = this.#clean.use(await connectMqttjs(node, { protocolVersion: 5 }));
      client.on(
        "message",
        (_topic, payload, packet) => onMessage({ ...packet, type: "publish" } as never, `${payload}`),
      );
      await client.subscribeAsync("t/#", { qos: 2 });
    }
  }

  /** Publishes at full speed for a while, while things happen to connections. */
  async flow(milliseconds: number): Promise<void> {
    const until = performance.now() + milliseconds;
    this.#publishing ??= setInterval(() => this.#publish(), 1);
    while (performance.now() < until) {
      await delay(this.#random.between(1, 20));
      this.#stir();
    }
    clearInterval(this.#publishing);
    this.#publishing = undefined;
  }

  /** A node is going to be killed: whoever is connected to it has to look for another one. */
  lose(node: ClusterNode): void {
    this.#troubles += 1;
    this.nodes.delete(node);
    // Whoever says goodbye to it before having noticed says it to nobody.
    for (const mourned of this.#mourned) if (mourned.port === node.port) mourned.bereave();
  }

  /** From now on Redis is away for some node, so that violations that match are none; `undefined` ends that. */
  expect(violations: RegExp | undefined): void {
    this.#troubles += 1;
    this.#wasAway = true;
    this.#expected = violations;
  }

  /** Connects everybody who is not connected. */
  async connectAll(): Promise<void> {
    await Promise.all(this.#tasks);
    for (const client of this.#all()) if (!client.isConnected) await this.#comeBack(client);
  }

  /** Waits until all has arrived, ends all connections, and says what was wrong. */
  async finish(): Promise<TrafficResult> {
    await this.connectAll();
    const startedAt = performance.now();
    const isComplete = () =>
      this.#all().every(({ unfinished }) => unfinished === 0) && this.#journal.lost().length === 0 &&
      this.#wrongWills().length === 0;
    while (performance.now() < startedAt + patience && !isComplete()) {
      await delay(100);
      await this.connectAll();
    }
    // What comes too often comes now.
    await delay(300);
    const drained = Math.round(performance.now() - startedAt);
    for (const client of this.#all()) await client.disconnect();
    return {
      lost: this.#journal.lost(),
      repeated: this.#journal.repeated(),
      unordered: this.#journal.unordered,
      unknown: this.#journal.unknown,
      wills: this.#wrongWills(),
      violations: this.#violations,
      summary: `${this.#journal.acknowledged} messages were acknowledged, ${this.#refusals} refused, ` +
        `${this.#journal.received} arrived (${this.#journal.duplicates} again), and ${this.#wills.received} wills; ` +
        `the last after ${drained} ms`,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#publishing);
    for (const client of this.#all()) client.close();
    await Promise.all(this.#tasks);
    await Promise.all(this.#all().map((client) => client.ended()));
    await this.#clean[Symbol.asyncDispose]();
  }

  #client(options: Omit<PersistentClientOptions, "mayBeRefused" | "onViolation">): PersistentClient {
    return new PersistentClient({
      ...options,
      mayBeRefused: true,
      onViolation: (violation) => {
        if (!this.#expected?.test(violation)) this.#violations.push(violation);
      },
    });
  }

  #all(): PersistentClient[] {
    return [...this.#publishers, ...this.#steady, ...this.#fickle, ...this.#mourned.map(({ client }) => client)];
  }

  async #subscribe(
    among: PersistentClient[],
    options: Pick<PersistentClientOptions, "clientId" | "level" | "receiveMaximum">,
    qos: 1 | 2,
  ): Promise<void> {
    const client = this.#client({ ...options, onMessage: this.#journal.addReceiver(options.clientId, qos) });
    await client.connect(this.#anyNode().port);
    await client.subscribe("t/#", qos);
    among.push(client);
  }

  #anyNode(): ClusterNode {
    return this.#random.pick([...this.nodes]);
  }

  #publish(): void {
    for (const client of this.#publishers) {
      while (client.isConnected && client.unfinished < WINDOW) {
        const qos = this.#random.pick([1, 2] as const);
        const topic = this.#random.pick(topics);
        client.publish(topic, this.#journal.publish(client.clientId, this.#next(client.clientId), topic, qos), qos);
      }
    }
  }

  /** Something happens to some connection; those who have lost theirs look for another node. */
  #stir(): void {
    for (const client of [...this.#publishers, ...this.#steady]) {
      if (!client.isConnected) this.#task(client, () => this.#comeBack(client));
    }
    switch (this.#random.between(0, 3)) {
      case 0: {
        const client = this.#random.pick(this.#fickle);
        const isGoodbye = this.#random.next() < 0.5;
        return this.#task(client, async () => {
          if (!client.isConnected) return await this.#comeBack(client);
          if (isGoodbye) await client.disconnect();
          else client.close();
        });
      }
      case 1: {
        // Its old connection is still there.
        const client = this.#random.pick([...this.#fickle, ...this.#publishersMove ? this.#publishers : []]);
        return this.#task(client, () => this.#comeBack(client));
      }
      case 2: {
        const mourned = this.#random.pick(this.#mourned);
        const end = this.#random.pick(["goodbye", "silence", "takeover"] as const);
        return this.#task(mourned.client, async () => {
          if (mourned.client.isConnected && end === "goodbye") await mourned.disconnect(this.#trouble());
          if (mourned.client.isConnected && end === "silence") mourned.close();
          await this.#comeBack(mourned.client);
        });
      }
    }
  }

  /** Connects a client to any node; that a node does not let it in, or dies, is no reason to give up. */
  async #comeBack(client: PersistentClient): Promise<void> {
    const mourned = this.#mourned.find((each) => each.client === client);
    const until = performance.now() + patience;
    for (;;) {
      try {
        const node = this.#anyNode();
        if (mourned === undefined) return await client.connect(node.port);
        await mourned.connect(node.port, this.#trouble());
        if (!this.nodes.has(node)) mourned.bereave();
        return;
      } catch (error) {
        if (performance.now() > until) {
          return void this.#violations.push(`${client.clientId} finds no node: ${(error as Error).message}`);
        }
        await delay(this.#random.between(5, 50));
      }
    }
  }

  /** Does something with a client, unless something is being done with it. */
  #task(client: PersistentClient, run: () => Promise<void>): void {
    if (this.#busy.has(client)) return;
    this.#busy.add(client);
    const task = run().catch((error: Error) => {
      this.#violations.push(`${client.clientId}: ${error.message}`);
    }).finally(() => {
      this.#busy.delete(client);
      this.#tasks.delete(task);
    });
    this.#tasks.add(task);
  }

  #wrongWills(): string[] {
    const wrong = this.#wills.check();
    return this.#wasAway ? wrong.filter((text) => text.endsWith("was not published")) : wrong;
  }

  /** A number that is the same again if nothing has happened meanwhile. */
  #trouble(): number {
    if (this.#expected !== undefined) this.#troubles += 1;
    return this.#troubles;
  }

  #next(name: string): number {
    const number = (this.#numbers.get(name) ?? 0) + 1;
    this.#numbers.set(name, number);
    return number;
  }
}

function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
