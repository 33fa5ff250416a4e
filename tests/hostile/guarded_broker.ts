import assert from "node:assert/strict";
import {
  type AclHook,
  aclHook,
  type AclOptions,
  type AclRule,
  type AuthHook,
  authHook,
  type AuthOptions,
  hashPassword,
  type RateLimitHook,
  rateLimitHook,
  sysHook,
} from "../../hooks/mod.ts";
import { Broker, type BrokerOptions, type BrokerStats } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { RecordingLogger } from "../broker/recording_logger.ts";
import { duplexPair } from "../support/duplex_pair.ts";
import { type ConnectOptions, connectPacket, RawClient } from "../support/raw_client.ts";

/** The users and their passwords. */
export const passwords = {
  admin: "correct horse battery staple",
  ann: "crème brûlée",
  bob: "Tr0ub4dor&3",
  josé: "olé",
};

/** Somebody who can log in. */
export type User = keyof typeof passwords;

/** The cost of a hash is not what these tests are about: 2^4 is next to nothing. */
export const passwordHashes: Record<User, string> = {
  admin: await hashPassword(passwords.admin, { cost: 4 }),
  ann: await hashPassword(passwords.ann, { cost: 4 }),
  bob: await hashPassword(passwords.bob, { cost: 4 }),
  josé: await hashPassword(passwords.josé, { cost: 4 }),
};

/** What users may do: the administrator everything, others what is below their name, and to read the public news. */
export const rules: readonly AclRule[] = [
  { permission: "allow", username: "admin" },
  { permission: "deny", topicFilter: "news/internal/#" },
  { permission: "allow", topicFilter: "news/#", access: "read" },
  { permission: "allow", topicFilter: "home/%u/#" },
];

/** In what a broker differs from the one that all tests have. */
export interface GuardedBrokerOptions {
  broker?: BrokerOptions;
  auth?: Partial<AuthOptions>;
  acl?: AclOptions;
  /** How long it may take to answer, in milliseconds. Default: what every `RawClient` allows. */
  patience?: number;
}

/** What attackers might leave behind. */
export type Remains = Pick<
  BrokerStats,
  "sessions" | "subscriptions" | "sharedSubscriptions" | "queuedMessages" | "queuedBytes" | "retainedMessages"
>;

/**
 * A broker with users, rules and limits, as a careful operator sets it up, and a witness: a client of the administrator
 * that is sent everything that anybody has published.
 */
export class GuardedBroker extends Broker {
  readonly auth: AuthHook;
  readonly acl: AclHook;
  readonly rateLimit: RateLimitHook = rateLimitHook({ publishRate: 100, burstSize: 500, scope: "username" });
  readonly #logger: RecordingLogger;
  readonly #patience: number | undefined;
  readonly #opened: RawClient[] = [];
  #witness!: RawClient;
  #before!: Remains;

  constructor(options: GuardedBrokerOptions, logger: RecordingLogger) {
    super({ logger, maximumSessionExpiry: 3600, ...options.broker });
    this.#logger = logger;
    this.#patience = options.patience;
    this.auth = authHook({ credentials: passwordHashes, concurrency: 2, ...options.auth });
    this.acl = aclHook({ rules, denyByDefault: true, ...options.acl });
  }

  async guard(): Promise<void> {
    for (const hook of [this.auth, this.rateLimit, this.acl, sysHook({ interval: 0 })]) await this.use(hook);
    this.#witness = await this.connectAs("admin", { clientId: "witness", keepAlive: 0 });
    this.#opened.pop();
    await this.#witness.subscribe(["#", "$SYS/#"], { retainHandling: 2 });
    this.#before = this.#remains();
  }

  /** A connection that has sent nothing. */
  open(remoteAddress = "192.0.2.66"): RawClient {
    const [here, there] = duplexPair();
    void this.serve(there, { remoteAddress });
    const client = new RawClient(here, this.#patience);
    this.#opened.push(client);
    return client;
  }

  /** What the answer to a CONNECT with these fields says; a client that is refused is disconnected. */
  async attempt(fields: ConnectOptions, remoteAddress?: string): Promise<number> {
    const client = this.open(remoteAddress);
    await client.send(connectPacket({ clientId: `attempt-${this.#opened.length}`, ...fields }));
    const { reasonCode } = await client.expect("connack");
    if (reasonCode !== 0) await client.expectClosed();
    return reasonCode;
  }

  /** A client that has logged in with the user's password, from an address where nobody else is. */
  async connectAs(username: User, fields: ConnectOptions = {}): Promise<RawClient> {
    const client = this.open(`${username}.example`);
    await client.connect({ clientId: username, username, password: passwords[username], ...fields });
    return client;
  }

  /** The topics of all messages since it was last asked that anybody with all rights has been sent, in order. */
  async arrived(): Promise<string[]> {
    const topics: string[] = [];
    await this.publish("end of what has arrived", "");
    for (;;) {
      const { topic } = await this.#witness.expect("publish");
      if (topic === "end of what has arrived") return topics;
      topics.push(topic);
    }
  }

  /**
   * When all clients but the witness are gone, nothing has arrived that has not been asked for, nothing is left behind
   * but what is said, the broker has met no failure of its own, and a client is served.
   */
  async expectUnharmed(left: Partial<Remains> = {}): Promise<void> {
    for (const client of this.#opened) await client.close();
    await eventually(() => this.stats().connections === 1, "the end of all connections but the witness's");
    assert.deepEqual(await this.arrived(), []);
    const expected = Object.entries(this.#before).map((
      [name, before],
    ) => [name, before + (left[name as keyof Remains] ?? 0)]);
    assert.deepEqual(this.#remains(), Object.fromEntries(expected));
    assert.equal(this.stats().clients, 1);
    const client = await this.connectAs("admin", { clientId: "still here" });
    for (const qos of [0, 1, 2] as const) await client.publish({ topic: `still here/${qos}`, qos });
    await client.expectNothing();
    assert.deepEqual(await this.arrived(), ["still here/0", "still here/1", "still here/2"]);
    await client.disconnect();
    assert.deepEqual(this.#logger.entries.filter((entry) => entry.startsWith("error")), []);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    for (const client of [...this.#opened, this.#witness]) await client?.close();
    await super[Symbol.asyncDispose]();
  }

  #remains(): Remains {
    const { sessions, subscriptions, sharedSubscriptions, queuedMessages, queuedBytes, retainedMessages } = this
      .stats();
    return { sessions, subscriptions, sharedSubscriptions, queuedMessages, queuedBytes, retainedMessages };
  }
}

/** A broker that is guarded, with its witness connected. */
export async function startGuardedBroker(options: GuardedBrokerOptions = {}): Promise<GuardedBroker> {
  const broker = new GuardedBroker(options, new RecordingLogger());
  await broker.guard();
  return broker;
}

/** Subscribes to each filter in a packet of its own; returns those that were granted. */
export async function granted(client: RawClient, topicFilters: readonly string[]): Promise<string[]> {
  const filters: string[] = [];
  for (const topicFilter of topicFilters) {
    const { reasonCodes } = await client.subscribe(topicFilter, { qos: 2 });
    if (reasonCodes[0] < 0x80) filters.push(topicFilter);
  }
  return filters;
}
