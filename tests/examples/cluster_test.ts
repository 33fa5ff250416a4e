import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { connect } from "../interop/mqttjs_client.ts";
import { type BrokerProcess, type Program, runHookmq, startReady } from "../interop/programs.ts";
import { RedisServer } from "../support/redis_server.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What the compose file says of a container. */
interface Service {
  command: string;
  volumes: string[];
  depends_on?: string[];
}

const compose = await Deno.readTextFile(`${root}examples/cluster/compose.yaml`);
const { services }: { services: Record<string, Service> } = parse(compose, { merge: true });

/** Runs a node by its command in the compose file, but on free ports of this machine, and with another Redis. */
async function startNode(name: string, redis: RedisServer): Promise<Program & BrokerProcess> {
  const { command, volumes } = services[name];
  // The project's directory, as the container sees it.
  const [, mounted] = volumes.find((volume) => volume.startsWith("../..:"))!.split(":");
  const env = {
    HOOKMQ_LISTENERS_0_HOSTNAME: "127.0.0.1",
    HOOKMQ_LISTENERS_0_PORT: "0",
    HOOKMQ_HOOKS_CLUSTER_ADDR: `127.0.0.1:${redis.port}`,
    HOOKMQ_HOOKS_METRICS_HOSTNAME: "127.0.0.1",
    HOOKMQ_HOOKS_METRICS_PORT: "0",
  };
  const args = command.replaceAll(`${mounted}/`, root).split(" ");
  const listening = /mqtt:\/\/127\.0\.0\.1:(\d+) .* this is node (\w)/;
  const program = await startReady(listening, Deno.execPath(), args, { env });
  const [, port, id] = await program.printed(listening);
  assert.equal(id, name);
  return { ...program, port: Number(port) };
}

Deno.test("examples/cluster: what one of its nodes takes, clients of the others get", async () => {
  await using redis = await RedisServer.start();
  await using a = await startNode("a", redis);
  await using b = await startNode("b", redis);
  await using c = await startNode("c", redis);
  await using atB = await connect(b, { protocolVersion: 5 });
  await using atC = await connect(c, { protocolVersion: 5 });
  for (const { client } of [atB, atC]) await client.subscribeAsync("letters", { qos: 1 });
  await using atA = await connect(a, { protocolVersion: 5 });
  await atA.client.publishAsync("letters", "from a", { qos: 1 });
  for (const client of [atB, atC]) assert.equal((await client.next()).payload, "from a");
  const { stdout } = await runHookmq(["nodes", "--cluster", `redis://127.0.0.1:${redis.port}`, "--json"]);
  assert.deepEqual(JSON.parse(stdout).map(({ nodeId }: { nodeId: string }) => nodeId).sort(), ["a", "b", "c"]);
});

Deno.test("examples/cluster: the balancer knows the nodes and ports that there are", async () => {
  const balancer = await Deno.readTextFile(`${root}examples/cluster/haproxy.cfg`);
  const { listeners, hooks } = parse(await Deno.readTextFile(`${root}examples/cluster/node.yaml`));
  const nodes = Object.keys(services).filter((name) => services[name].command?.includes("--node-id"));
  assert.deepEqual(services.balancer.depends_on, nodes);
  for (const node of nodes) assert.match(balancer, new RegExp(`\\b${node}:${listeners[0].port}\\b`));
  assert.equal(hooks.cluster.addr, "redis://valkey:6379");
});
