/**
 * Makes sure that the programs which tests run are there: for `tests/interop/` `mosquitto_pub` and `mosquitto_sub`
 * (Debian package mosquitto-clients) and paho-mqtt for Python 3 (in `tests/.tools/python`), for `tests/listeners/`
 * `chromium` and `openssl`, for `tests/cluster/` `redis-server` and `redis-cli`, for `tests/docs/` `systemd-analyze`.
 * `deno task test` runs it first. It does nothing when all of them are there, and exits with 1 when one of them cannot be
 * installed: a test is never skipped because a program is missing.
 */

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const pythonDirectory = fileURLToPath(new URL(".tools/python", import.meta.url));

/** Where Debian's python3-paho-mqtt lies. */
const debianPaho = "/usr/lib/python3/dist-packages/paho";

let packageListsUpdated = false;

try {
  if (!isProgram("mosquitto_pub") || !isProgram("mosquitto_sub")) await installDebianPackage("mosquitto-clients");
  if (!isProgram("python3")) await installDebianPackage("python3");
  if (!existsSync(`${pythonDirectory}/paho/mqtt/client.py`)) await installPaho();
  for (const name of ["chromium", "openssl"]) if (!isProgram(name)) await installDebianPackage(name);
  // It brings redis-cli along.
  if (!isProgram("redis-server") || !isProgram("redis-cli")) await installDebianPackage("redis-server");
  if (!isProgram("systemd-analyze")) await installDebianPackage("systemd");
} catch (error) {
  console.error(`tests/setup.ts: ${(error as Error).message}`);
  Deno.exit(1);
}

function isProgram(name: string): boolean {
  return Deno.env.get("PATH")!.split(":").some((directory) => existsSync(`${directory}/${name}`));
}

async function installPaho(): Promise<void> {
  const target = ["install", "--quiet", "--upgrade", "--target", pythonDirectory, "paho-mqtt"];
  const pip = await run("python3", ["-m", "pip", ...target]);
  if (pip.success) return;
  try {
    await installDebianPackage("python3-paho-mqtt");
  } catch (error) {
    throw new Error(`cannot install paho-mqtt with pip (${pip.problem}), nor from Debian: ${(error as Error).message}`);
  }
  // The python3 on PATH need not be Debian's own: it finds the package here in either case.
  await Deno.mkdir(pythonDirectory, { recursive: true });
  await Deno.symlink(debianPaho, `${pythonDirectory}/paho`);
}

async function installDebianPackage(name: string): Promise<void> {
  if (!isProgram("apt-get")) {
    throw new Error(`cannot install ${name}: there is no apt-get here; install it with this system's package manager`);
  }
  let result = await runAsRoot("apt-get", ["install", "-qq", "-y", name]);
  if (!result.success && !packageListsUpdated) {
    await runAsRoot("apt-get", ["update", "-qq"]);
    packageListsUpdated = true;
    result = await runAsRoot("apt-get", ["install", "-qq", "-y", name]);
  }
  if (!result.success) throw new Error(`cannot install ${name}: ${result.problem}`);
}

function runAsRoot(program: string, args: string[]): Promise<Result> {
  return Deno.uid() === 0 ? run(program, args) : run("sudo", ["-n", program, ...args]);
}

interface Result {
  success: boolean;
  /** What failed, with the program's own last line about it. */
  problem: string;
}

async function run(program: string, args: string[]): Promise<Result> {
  try {
    const output = await new Deno.Command(program, {
      args,
      env: { DEBIAN_FRONTEND: "noninteractive" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    const lastLine = new TextDecoder().decode(output.stderr).trim().split("\n").at(-1);
    return { success: output.success, problem: `${program} exited with ${output.code}: ${lastLine}` };
  } catch (error) {
    return { success: false, problem: `${program} does not run: ${(error as Error).message}` };
  }
}
