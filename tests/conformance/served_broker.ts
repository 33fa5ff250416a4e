import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { startHookmq, startReady } from "../interop/programs.ts";
import type { Duplex } from "../support/raw_client.ts";
import { chosenTransport, createEndpoint } from "./transport.ts";

/** How a broker is started. */
export interface ServeOptions {
  /** The configuration file's text, without `listeners`. Default: none. */
  config?: string;
  /** More of its environment, e.g. `{ HOOKMQ_MAXIMUM_QOS: "1" }`. */
  environment?: Record<string, string>;
  /**
   * A program in this directory to run in the place of `hookmq serve`. It finds how to listen in its environment, as
   * `hookmq serve` does, and must print `listens on URL`, and end with exit code 0 at SIGTERM.
   */
  script?: string;
}

/** A broker in a process of its own. Disposing it shuts it down, and fails if it did not run and end without a fault. */
export interface ServedBroker extends AsyncDisposable {
  /** Makes a connection. */
  connect(): Promise<Duplex>;
}

/** Starts a broker as its users do, which listens over the transport that the tests are to use. */
export async function serve({ config, environment, script }: ServeOptions): Promise<ServedBroker> {
  await using resources = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir();
  resources.defer(() => Deno.remove(directory, { recursive: true }));
  const endpoint = await createEndpoint(chosenTransport(), directory);
  const options = { env: { ...endpoint.environment, ...environment } };
  const args = ["serve", "--memory"];
  if (config !== undefined) {
    await Deno.writeTextFile(`${directory}/hookmq.yaml`, config);
    args.push("--config", `${directory}/hookmq.yaml`);
  }
  const listening = /listens on (\S+)/;
  const broker = resources.use(
    script === undefined
      ? await startHookmq(listening, args, options)
      : await startReady(listening, Deno.execPath(), ["run", "-A", pathOf(script)], options),
  );
  const [, url] = await broker.printed(listening);
  const started = resources.move();
  return {
    connect: () => endpoint.connect(url),
    async [Symbol.asyncDispose]() {
      await using _resources = started;
      broker.kill("SIGTERM");
      const { code, stderr } = await broker.ended();
      assert.doesNotMatch(stderr, /\[(error|fatal)\]|Uncaught/, "the broker met a fault of its own");
      assert.equal(code, 0, `the broker's exit code; it printed:\n${stderr}`);
    },
  };
}

function pathOf(script: string): string {
  return fileURLToPath(new URL(script, import.meta.url));
}
