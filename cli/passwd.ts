import { type Command, Option } from "commander";
import { parsePasswordFile, readPasswordFile } from "../hooks/auth/password_file.ts";
import { costs, hashPassword } from "../hooks/auth/password_hash.ts";
import { Failure } from "./failure.ts";
import { integer } from "./option_values.ts";
import { assertUsable, readPassword } from "./password_input.ts";

interface PasswdOptions {
  create?: true;
  delete?: true;
  batch?: true;
  hash: "scrypt" | "pbkdf2";
  cost?: number;
}

const ownerOnly = 0o600;
const permissionsOfOthers = 0o007;

/** Adds the command `passwd`, which manages the file of `authHook`'s `passwordFile`. */
export function addPasswdCommand(program: Command): void {
  program.command("passwd")
    .description("Add a user to a password file, change a user's password, or delete a user.")
    .argument("<file>", "the password file")
    .argument("<user>", "the user's name")
    .argument("[password]", "the password, with -b only")
    .option("-c, --create", "make a new file; one that exists is left as it is")
    .addOption(
      new Option("-D, --delete", "delete the user").conflicts(["create", "batch", "hash", "cost"]),
    )
    .option(
      "-b, --batch",
      "take the password from the command line: others may see it in the list of processes and in the shell's history",
    )
    .addOption(
      new Option("-H, --hash <form>", "how the password is hashed; mosquitto reads pbkdf2, too")
        .choices(["scrypt", "pbkdf2"]).default("scrypt"),
    )
    .addOption(
      new Option(
        "--cost <number>",
        "how much work a login, and a guess, is: " +
          `for scrypt log2 of N, ${costs.scrypt.least} to ${costs.scrypt.most} (default: ${costs.scrypt.usual}), ` +
          `for pbkdf2 the iterations (default: ${costs.pbkdf2.usual})`,
      ).argParser(integer(1, costs.pbkdf2.most)),
    )
    .helpOption("--help", "show this help")
    .addHelpText(
      "after",
      `
The password is asked for twice, and not shown. If the standard input is no terminal, its first line is the password.

Files of mosquitto_passwd are read as well. Other users' lines and comments stay as they are. The file is replaced as a
whole, so that nobody reads half of it; only its owner can read and write it, unless it was shared with its group and
nobody else before. A running broker takes the change up by itself.

A login costs about 0.1 s of one processor, or far less with a lower --cost, which is enough for random passwords.

Examples:
  hookmq passwd -c users.txt alice
  hookmq passwd users.txt alice < password.txt
  hookmq passwd --hash pbkdf2 users.txt bob
  hookmq passwd -D users.txt alice`,
    )
    .action(passwd);
}

async function passwd(
  file: string,
  username: string,
  argument: string | undefined,
  options: PasswdOptions,
): Promise<void> {
  assertConsistent(username, argument, options);
  if (options.delete) {
    return await updateFile(file, false, (text) => withoutUser(text, file, username));
  }
  // What is wrong with the file is said before somebody has typed a password.
  if (options.create) await assertMissing(file);
  else parsePasswordFile(await readPasswordFile(file), file);
  const password = argument === undefined ? await readPassword() : new TextEncoder().encode(argument);
  assertUsable(password);
  const hash = await hashPassword(password, { form: options.hash, cost: options.cost });
  await updateFile(file, options.create === true, (text) => withUser(text, file, username, hash));
}

function assertConsistent(username: string, argument: string | undefined, options: PasswdOptions): void {
  if (options.batch && argument === undefined) throw new Failure("-b needs the password as the third argument", 2);
  if (!options.batch && argument !== undefined) {
    throw new Failure("a password on the command line needs -b; without it, the password is asked for", 2);
  }
  const { least, most } = costs[options.hash];
  if (options.cost !== undefined && (options.cost < least || options.cost > most)) {
    throw new Failure(`--cost ${options.cost}: for ${options.hash} it must be from ${least} to ${most}`, 2);
  }
  const problem = problemOfName(username);
  if (problem !== undefined) throw new Failure(`user name ${JSON.stringify(username)}: it ${problem}`, 2);
}

function problemOfName(username: string): string | undefined {
  if (username === "") return "is empty";
  if (username.includes(":")) return "holds a colon, which ends the name in a password file";
  if (username.startsWith("#")) return "begins with #, as comments do in a password file";
  if (/\p{Cc}/u.test(username)) return "holds a control character";
  if (username.trim() !== username) return "begins or ends with a space";
  return undefined;
}

function withUser(text: string, file: string, username: string, hash: string): string {
  const line = `${username}:${hash}`;
  const entry = parsePasswordFile(text, file).get(username);
  if (entry === undefined) return `${text}${text === "" || text.endsWith("\n") ? "" : "\n"}${line}\n`;
  return text.split("\n").with(entry.line - 1, line).join("\n");
}

function withoutUser(text: string, file: string, username: string): string {
  const entry = parsePasswordFile(text, file).get(username);
  if (entry === undefined) throw new Failure(`there is no user ${JSON.stringify(username)} in ${file}`);
  return text.split("\n").toSpliced(entry.line - 1, 1).join("\n");
}

async function assertMissing(file: string): Promise<void> {
  const exists = await Deno.lstat(file).then(() => true, () => false);
  if (exists) throw new Failure(`${file} exists already; leave -c away to add a user to it`);
}

/** Replaces a file, or makes it, in one step: whoever reads it finds either the old text or the new one. */
async function updateFile(file: string, create: boolean, change: (text: string) => string): Promise<void> {
  const target = create ? file : await realPath(file);
  const temporary = `${target}.new`;
  // There is only one of that name, so two of these commands cannot lose each other's change.
  const output = await Deno.open(temporary, { write: true, createNew: true, mode: ownerOnly }).catch((error) => {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw new Failure(cannotWrite(file, error));
    throw new Failure(`${temporary} exists: another hookmq passwd is at work; if none is, delete it and try again`);
  });
  try {
    if (create) await assertMissing(file);
    const changed = change(create ? "" : await readPasswordFile(target));
    try {
      await writeAll(output, changed);
      if (!create) await keepOwner(temporary, target);
      await output.sync();
      await Deno.rename(temporary, target);
    } catch (error) {
      throw new Failure(cannotWrite(file, error as Error));
    }
  } catch (error) {
    await Deno.remove(temporary);
    throw error;
  } finally {
    output.close();
  }
}

async function writeAll(output: Deno.FsFile, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let written = 0; written < bytes.length;) written += await output.write(bytes.subarray(written));
}

/** The file itself, where `file` is a link to it. */
async function realPath(file: string): Promise<string> {
  // Says in its own words why it cannot be read.
  await readPasswordFile(file);
  return await Deno.realPath(file);
}

/** Whoever could read the old file shall read the new one, but for those who should not have been able to. */
async function keepOwner(temporary: string, target: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  const [old, { uid, gid }] = await Promise.all([Deno.stat(target), Deno.stat(temporary)]);
  if (old.uid !== uid || old.gid !== gid) await Deno.chown(temporary, old.uid, old.gid);
  if ((old.mode! & permissionsOfOthers) === 0) await Deno.chmod(temporary, old.mode! & 0o777);
}

function cannotWrite(file: string, error: Error): string {
  return `cannot write ${file}: ${error instanceof Deno.errors.PermissionDenied ? "permission denied" : error.message}`;
}
