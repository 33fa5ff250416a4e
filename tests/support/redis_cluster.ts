import { withDeadline } from "../interop/programs.ts";
import { RedisServer } from "./redis_server.ts";

/** How many hash slots every Redis Cluster has. */
const SLOTS = 16_384;

/** A Redis Cluster of masters that share the hash slots equally. It is gone after its `await using` block. */
export class RedisCluster implements AsyncDisposable {
  readonly masters: readonly RedisServer[];

  private constructor(masters: RedisServer[]) {
    this.masters = masters;
  }

  /** Resolves when every master knows the others and takes commands. */
  static async start(size = 3): Promise<RedisCluster> {
    const args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"];
    await using stack = new AsyncDisposableStack();
    const masters: RedisServer[] = [];
    for (let index = 0; index < size; index++) masters.push(stack.use(await RedisServer.start({ args })));
    for (const [index, master] of masters.entries()) {
      const first = Math.floor(index * SLOTS / size);
      const last = Math.floor((index + 1) * SLOTS / size) - 1;
      await master.command("CLUSTER", "ADDSLOTSRANGE", first, last);
      await master.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1);
      if (index > 0) await master.command("CLUSTER", "MEET", "127.0.0.1", masters[0].port);
    }
    await withDeadline(
      Promise.all(masters.map((master) => isComplete(master, size))),
      () => "the Redis Cluster to form",
    );
    stack.move();
    return new RedisCluster(masters);
  }

  /** All of its masters, e.g. `redis://127.0.0.1:12345,127.0.0.1:12346,127.0.0.1:12347`. */
  get url(): string {
    return `redis://${this.masters.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const master of this.masters) await master[Symbol.asyncDispose]();
  }
}

/** Resolves when a master knows that every slot is served; it tells nobody, so it is asked again and again. */
async function isComplete(master: RedisServer, size: number): Promise<void> {
  const complete = new RegExp(`cluster_state:ok[^]*cluster_known_nodes:${size}\\b[^]*cluster_size:${size}\\b`);
  while (!complete.test(await master.command("CLUSTER", "INFO"))) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
