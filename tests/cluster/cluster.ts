import assert from "node:assert/strict";
import { readProcessStats } from "../../cli/bench/process_stats.ts";
import { type BrokerProcess, type Program, startHookmq } from "../interop/programs.ts";
import { type ConnectOptions, RawClient } from "../support/raw_client.ts";
import { RedisServer } from "../support/redis_server.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

/**
 * How long a node is missed before it counts as dead, in seconds. All other times are in proportion to it: with
 * CLUSTER_NODE_TTL=10, its default in the product, tests take the time that they would take there.
 */
export const nodeTtl = Number(Deno.env.get("CLUSTER_NODE_TTL") ?? 2);

/** How often a node says that it is alive, in seconds. */
const heartbeatInterval = nodeTtl / 4;

/** How long anything in a cluster may take, in milliseconds; only a failing test waits so long. */
export const patience = nodeTtl * 10_000;

/** How a cluster is started. */
export interface ClusterOptions {
  /** The nodes' ids. Default: a, b and c. */
  ids?: string[];
  /** The Redis that they meet in. Default: a server of their own. */
  redisUrl?: string;
  /** Whether each node reaches Redis through a proxy of its own. Default false. */
  isProxied?: boolean;
  /** Further variables of the nodes' environment. */
  env?: Record<string, string>;
}

/** Several brokers, each a process of its own, that are one, and the Redis server in which they meet. */
export class Cluster implements AsyncDisposable {
  readonly nodes: readonly ClusterNode[];
  readonly #redis: RedisServer | undefined;
  readonly #options: ClusterOptions;

  private constructor(nodes: ClusterNode[], redis: RedisServer | undefined, options: ClusterOptions) {
    this.nodes = nodes;
    this.#redis = redis;
    this.#options = options;
  }

  /** Resolves when every node listens. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    await using stack = new AsyncDisposableStack();
    const redis = options.redisUrl === undefined ? stack.use(await RedisServer.start()) : undefined;
    const nodes = (options.ids ?? ["a", "b", "c"]).map((id) => stack.use(new ClusterNode(id, redis, options)));
    await Promise.all(nodes.map((node) => node.start()));
    stack.move();
    return new Cluster(nodes, redis, options);
  }

  /** The Redis server, unless the cluster was told of one. */
  get redis(): RedisServer {
    return this.#redis!;
  }

  /** Adds a node, which is the caller's to dispose. */
  async join(id: string): Promise<ClusterNode> {
    const node = new ClusterNode(id, this.#redis, this.#options);
    await node.start();
    return node;
  }

  /** Resolves when every node says that it is well. */
  async isWell(): Promise<void> {
    for (const node of this.nodes) await node.isWell();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nodes that go must not wait for a Redis that does not answer.
    this.#redis?.continue();
    for (const node of this.nodes) node.link?.heal();
    await Promise.all(this.nodes.map((node) => node[Symbol.asyncDispose]()));
    await this.#redis?.[Symbol.asyncDispose]();
  }
}

/** One broker of a cluster. Disposing it shuts it down, if it runs, and fails if it did not run and end without a fault. */
export class ClusterNode implements BrokerProcess {
  readonly id: string;
  /** The way to Redis, if it leads through a proxy. */
  readonly link: TcpProxy | undefined;
  /** Where it listens, while it runs. */
  port = 0;
  readonly #redisUrl: string;
  readonly #env: Record<string, string>;
  readonly #clients: RawClient[] = [];
  #pages = "";
  #program: Program | undefined;

  constructor(id: string, redis: RedisServer | undefined, { redisUrl, isProxied, env }: ClusterOptions) {
    this.id = id;
    this.link = isProxied ? new TcpProxy(redis!.port) : undefined;
    this.#redisUrl = redisUrl ?? `redis://127.0.0.1:${this.link?.port ?? redis!.port}`;
    this.#env = {
      NO_COLOR: "1",
      HOOKMQ_HOOKS_METRICS_PORT: "0",
      HOOKMQ_HOOKS_CLUSTER_NODE_TTL: String(nodeTtl),
      HOOKMQ_HOOKS_CLUSTER_HEARTBEAT_INTERVAL: String(heartbeatInterval),
      ...env,
    };
  }

  /** Starts it, also again. Resolves when it listens. */
  async start(): Promise<void> {
    const greeting = /mqtt:\/\/127\.0\.0\.1:(\d+)[^]*(http:\/\/127\.0\.0\.1:\d+)\/metrics/;
    const args = ["serve", "--cluster", this.#redisUrl, "--node-id", this.id, "--port", 0];
    this.#program = await startHookmq(greeting, args, { env: this.#env });
    const [, port, pages] = await this.#program.printed(greeting);
    this.port = Number(port);
    this.#pages = pages;
  }

  /** A client of this node. It is closed with the node at the latest. */
  async connect(options: ConnectOptions = {}): Promise<RawClient> {
    const client = await this.open();
    await client.connect(options);
    return client;
  }

  /** A connection to this node that has sent nothing. */
  async open(deadline = patience): Promise<RawClient> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
    conn.setNoDelay(true);
    const client = new RawClient(conn, deadline);
    this.#clients.push(client);
    return client;
  }

  /** What is wrong with it, as it says itself, by the part that it is wrong with. */
  async problems(): Promise<Record<string, string>> {
    const response = await fetch(`${this.#pages}/healthz`);
    return (await response.json()).reasons;
  }

  /** Whether a load balancer should send it clients, as it says itself. */
  async isReady(): Promise<boolean> {
    const response = await fetch(`${this.#pages}/healthz/ready`);
    await response.body?.cancel();
    return response.ok;
  }

  /** A figure of its page for Prometheus, e.g. `hookmq_health{part="cluster"}`. */
  async figure(name: string): Promise<number> {
    const page = await (await fetch(`${this.#pages}/metrics`)).text();
    const line = page.split("\n").find((line) => line.startsWith(`${name} `));
    return Number(line?.slice(name.length));
  }

  /** Resolves when it says that it is well. */
  async isWell(): Promise<void> {
    await eventually(async () => Object.keys(await this.problems()).length === 0, `node ${this.id} to be well`);
  }

  /** How much memory its process has, in bytes. */
  get memory(): number {
    return readProcessStats(this.#program!.pid)!.residentBytes;
  }

  /** Resolves with what it has printed, as soon as that matches. */
  printed(pattern: RegExp): Promise<RegExpMatchArray> {
    return this.#program!.printed(pattern);
  }

  /** Stops the process where it is, until it goes on. */
  freeze(): void {
    this.#program!.kill("SIGSTOP");
  }

  /** Lets the process go on. */
  thaw(): void {
    this.#program!.kill("SIGCONT");
  }

  /** Ends it without giving it time for anything. */
  async kill(): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
    this.#program = undefined;
  }

  /** Shuts it down. */
  async stop(): Promise<void> {
    if (this.#program === undefined) return;
    await using program = this.#program;
    this.#program = undefined;
    program.kill("SIGCONT");
    program.kill("SIGTERM");
    const { code, stderr } = await program.ended();
    assert.doesNotMatch(stderr, /unexpected error|\[fatal\]|Uncaught/, `node ${this.id} met a fault of its own`);
    assert.equal(code, 0, `the exit code of node ${this.id}; it printed:\n${stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close();
    await this.stop();
    await this.link?.[Symbol.asyncDispose]();
  }
}

/** Resolves when `check` finds what nobody tells of. */
export async function eventually(
  check: () => boolean | Promise<boolean>,
  awaited: string,
  deadline = patience,
): Promise<void> {
  const until = performance.now() + deadline;
  while (!await check()) {
    if (performance.now() > until) throw new Error(`waited ${deadline} ms for ${awaited}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
