import { executable } from "../executable.ts";
import type { KnownBroker } from "../known_brokers.ts";
import { outputOf } from "../output_of.ts";

/** What is installed from npm: Aedes, and the WebSocket library that its documentation uses. */
const packages = { aedes: "1.2.0", ws: "8.23.0" };

const server = `${import.meta.dirname}/aedes_server.mjs`;

/** Aedes on Node.js. It is installed on first use, in the user's cache directory. */
export const aedes: KnownBroker = {
  local: (setup) => ({
    program: executable("npm") && executable("node"),
    prepare: install,
    configuration: (port) => JSON.stringify({ ...setup, ports: [port, ...setup.morePorts], modules: directory() }),
    commandArguments: (_port, configurationFile) => [server, configurationFile],
  }),
  version: async () => `${packages.aedes} on Node.js ${(await outputOf("node", ["--version"])).trim().slice(1)}`,
  lacks: ({ load }) => load.level === 5 || load.scenario === "shared",
};

async function install(): Promise<void> {
  const missing = Object.keys(packages).some((name) => !exists(`${directory()}/node_modules/${name}`));
  if (!missing) return;
  await Deno.mkdir(directory(), { recursive: true });
  const wanted = Object.entries(packages).map(([name, version]) => `${name}@${version}`);
  console.error(`Installing ${wanted.join(" and ")} in ${directory()}`);
  await outputOf("npm", ["install", "--no-fund", "--no-audit", "--prefix", directory(), ...wanted]);
}

/** A directory for just these versions. */
function directory(): string {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  return `${cache}/hookmq-bench/aedes-${packages.aedes}`;
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
