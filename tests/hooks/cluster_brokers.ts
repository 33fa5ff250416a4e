import { type ClusterHook, clusterHook, type ClusterOptions } from "../../hooks/mod.ts";
import type { BrokerOptions } from "../../mod.ts";
import { RedisServer } from "../support/redis_server.ts";
import type { ConnectOptions, RawClient } from "../support/raw_client.ts";
import { startBroker, TestBroker } from "../support/start_broker.ts";

/** Times that let a test see a node die, in seconds. */
const TIMES = { heartbeatInterval: 0.2, nodeTtl: 1 };

/** A broker that is a node of a cluster. Its clients are named `a-1`, `a-2`, … by default if it is named `a`. */
export interface NodeBroker extends TestBroker {
  readonly hook: ClusterHook;
}

/** Brokers in one process that are one cluster over a Redis server of their own. */
export class BrokerCluster implements AsyncDisposable {
  readonly redis: RedisServer;
  readonly #brokers: TestBroker[] = [];

  private constructor(redis: RedisServer) {
    this.redis = redis;
  }

  static async start(): Promise<BrokerCluster> {
    return new BrokerCluster(await RedisServer.start());
  }

  /** One more broker. */
  async node(
    nodeId: string,
    options: Partial<ClusterOptions> = {},
    brokerOptions: BrokerOptions = {},
  ): Promise<NodeBroker> {
    const broker = await startBroker(brokerOptions);
    this.#brokers.push(broker);
    const hook = clusterHook({ addr: this.redis.url, nodeId, ...TIMES, ...options });
    await broker.use(hook);
    let named = 0;
    const connect = (options: ConnectOptions = {}): Promise<RawClient> =>
      TestBroker.prototype.connect.call(broker, { clientId: `${nodeId}-${++named}`, ...options });
    return Object.assign(broker, { hook, connect });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const broker of this.#brokers) await broker[Symbol.asyncDispose]();
    await this.redis[Symbol.asyncDispose]();
  }
}

/** The payload of a message as a text. */
export function text({ payload }: { payload: Uint8Array }): string {
  return new TextDecoder().decode(payload);
}
