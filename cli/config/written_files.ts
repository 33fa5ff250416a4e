import { dirname } from "node:path";
import type { Path } from "./option.ts";
import type { Problem } from "./problem.ts";
import type { Config } from "./schema.ts";

/** A file that a broker makes, or writes to if it is there. */
interface WrittenFile {
  /** The option that names it. */
  option: Path;
  file: string;
  kind: "database" | "log" | "socket";
}

/**
 * What stands in the way of the files that a broker with this configuration writes. It is tried, as far as this process may;
 * nothing is left behind.
 *
 * A process whose broker runs must not do this: when it closes the database, the system takes all of its locks away.
 */
export async function faultsOfWrittenFiles(config: Config): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const written of writtenFiles(config)) {
    try {
      await tryFile(written);
    } catch (error) {
      const message = `cannot write ${written.file}: ${(error as Error).message}`;
      problems.push({ path: written.option, message });
    }
  }
  return problems;
}

function writtenFiles({ listeners, hooks: { sqlite }, log }: Config): WrittenFile[] {
  const files: WrittenFile[] = [];
  for (const [index, listener] of listeners.entries()) {
    if (listener.transport !== "unix") continue;
    files.push({ option: ["listeners", index, "path"], file: listener.path, kind: "socket" });
  }
  if (sqlite !== undefined) files.push({ option: ["hooks", "sqlite", "path"], file: sqlite.path, kind: "database" });
  if (log.file !== undefined) files.push({ option: ["log", "file"], file: log.file, kind: "log" });
  return files;
}

async function tryFile({ file, kind }: WrittenFile): Promise<void> {
  const found = await mayUse("read", file) ? await Deno.stat(file).catch(() => undefined) : undefined;
  if (found?.isDirectory) throw new Error("it is a directory");
  if (kind === "socket" && found?.isSocket === false) throw new Error("there is a file that is no socket");
  if (found?.isFile) await tryToOpen(file, kind === "log" ? { append: true } : { read: true, write: true });
  // A database has its log beside it, and a socket is made anew.
  if (found === undefined || kind !== "log") await tryDirectory(dirname(found ? await Deno.realPath(file) : file));
}

async function tryToOpen(file: string, options: Deno.OpenOptions): Promise<void> {
  if (!await mayUse("write", file)) return;
  try {
    (await Deno.open(file, options)).close();
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) throw new Error("permission denied: this user may not write it");
    throw error;
  }
}

async function tryDirectory(directory: string): Promise<void> {
  if (!await mayUse("write", directory)) return;
  try {
    await Deno.remove(await Deno.makeTempFile({ dir: directory, prefix: ".hookmq-" }));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new Error(`there is no directory ${directory}; make it (mkdir -p ${directory}), or name another`);
    }
    if (error instanceof Deno.errors.NotADirectory) throw new Error(`${directory} is no directory`);
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new Error(`this user may not make files in ${directory}; permit it, or name another directory`);
    }
    throw new Error(`no files can be made in ${directory}: ${(error as Error).message}`);
  }
}

/** Whether Deno permits it, without a question to whoever sits in front of it. */
async function mayUse(name: "read" | "write", path: string): Promise<boolean> {
  return (await Deno.permissions.query({ name, path })).state === "granted";
}
