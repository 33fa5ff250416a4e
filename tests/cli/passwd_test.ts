import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parsePasswordFile } from "../../hooks/auth/password_file.ts";
import { hasPassword } from "../../hooks/auth/password_hash.ts";
import { authHook } from "../../hooks/mod.ts";
import { type Outcome, run, runHookmq, type StartOptions } from "../interop/programs.ts";
import { startBroker } from "../support/start_broker.ts";

/** Written by mosquitto_passwd 2.0.11; the password is "secret". */
const alice =
  "alice:$7$101$M8eTqo1CVIJtl660$CeSwjOWY9Iz0HpwiErzBn8rG1PxVA7bbSyHBq3EqF1NeBBfKGKdYXo1iFGGXqGmyl6ZJmvgO1imOY/MGlLNYvA==";

/** A directory of its own, and in it a password file if there is a text for it. */
async function passwordFile(text?: string) {
  const directory = await Deno.makeTempDir();
  const file = `${directory}/users.txt`;
  if (text !== undefined) await Deno.writeTextFile(file, text);
  return {
    file,
    directory,
    text: () => Deno.readTextFile(file),
    /** Whether this is the user's password by the file. */
    async accepts(username: string, password: string): Promise<boolean> {
      const entry = parsePasswordFile(await Deno.readTextFile(file), file).get(username);
      return entry !== undefined && await hasPassword(entry.hash, new TextEncoder().encode(password));
    },
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

/** Runs `hookmq passwd` with hashes that cost little. */
function passwd(args: string[], options?: StartOptions): Promise<Outcome> {
  return runHookmq(["passwd", "--cost", "4", ...args], options);
}

const success: Outcome = { code: 0, stdout: "", stderr: "" };

Deno.test("hookmq passwd --help shows its options and examples", async () => {
  const { code, stdout } = await runHookmq(["passwd", "--help"]);
  assert.equal(code, 0);
  assert.match(stdout, /^Usage: hookmq passwd \[options\] <file> <user> \[password\]/);
  assert.match(stdout.replaceAll(/\s+/g, " "), /--batch .*others may see it in the list of processes/);
  assert.match(stdout, /^Examples:\n( {2}.*hookmq.*\n){3,}/m);
});

Deno.test("hookmq passwd -c makes a file that only its owner can read", async () => {
  await using users = await passwordFile();
  assert.deepEqual(await passwd(["-c", users.file, "alice"], { input: "secret\n" }), success);
  assert.match(await users.text(), /^alice:\$scrypt\$ln=4,r=8,p=1\$[^\n]+\n$/);
  assert.equal(await users.accepts("alice", "secret"), true);
  assert.equal((await Deno.stat(users.file)).mode! & 0o777, 0o600);
  assert.deepEqual(Array.from(Deno.readDirSync(users.directory), ({ name }) => name), ["users.txt"]);
});

Deno.test("hookmq passwd adds users, and changes their passwords where they stand", async () => {
  await using users = await passwordFile(`# staff\n${alice}\n\n# machines`);
  assert.deepEqual(await passwd([users.file, "bob"], { input: "first" }), success);
  assert.deepEqual(await passwd([users.file, "alice"], { input: "other\r\nignored\n" }), success);
  const lines = (await users.text()).split("\n");
  assert.deepEqual(lines.map((line) => line.replace(/\$.*/, "…")), [
    "# staff",
    "alice:…",
    "",
    "# machines",
    "bob:…",
    "",
  ]);
  assert.equal(await users.accepts("alice", "other"), true);
  assert.equal(await users.accepts("bob", "first"), true);
});

Deno.test("hookmq passwd -b takes the password from the command line", async () => {
  await using users = await passwordFile("");
  assert.deepEqual(await passwd(["-b", users.file, "alice", "pässword"]), success);
  assert.equal(await users.accepts("alice", "pässword"), true);
});

Deno.test("hookmq passwd --hash pbkdf2 writes the form of mosquitto_passwd", async () => {
  await using users = await passwordFile("");
  assert.deepEqual(await passwd(["--hash", "pbkdf2", "-b", users.file, "alice", "secret"]), success);
  assert.match(await users.text(), /^alice:\$7\$4\$/);
  assert.equal(await users.accepts("alice", "secret"), true);
});

Deno.test("hookmq passwd hashes so that a guess costs something, unless told otherwise", async () => {
  await using users = await passwordFile("");
  assert.deepEqual(await runHookmq(["passwd", "-b", users.file, "alice", "x"]), success);
  assert.deepEqual(await runHookmq(["passwd", "-b", "-H", "pbkdf2", users.file, "bob", "x"]), success);
  assert.match(await users.text(), /^alice:\$scrypt\$ln=15,r=8,p=1\$.*\nbob:\$7\$100000\$/);
});

Deno.test("hookmq passwd -D deletes a user and nothing else", async () => {
  await using users = await passwordFile(`# staff\n${alice}\n\n# machines\n`);
  assert.deepEqual(await runHookmq(["passwd", "-D", users.file, "alice"]), success);
  assert.equal(await users.text(), "# staff\n\n# machines\n");
});

Deno.test("hookmq passwd -c with -b makes a file whose users a broker lets in", async () => {
  await using users = await passwordFile();
  assert.deepEqual(await passwd(["-c", "-b", users.file, "alice", "secret"]), success);
  await using broker = await startBroker();
  await broker.use(authHook({ passwordFile: users.file }));
  const client = await broker.connect({ username: "alice", password: "secret" });
  await client.disconnect();
});

for (const [before, after] of [[0o600, 0o600], [0o640, 0o640], [0o644, 0o600], [0o666, 0o600]]) {
  Deno.test(`a file of mode ${before.toString(8)} has mode ${after.toString(8)} afterwards`, async () => {
    await using users = await passwordFile(`${alice}\n`);
    await Deno.chmod(users.file, before);
    assert.deepEqual(await passwd(["-b", users.file, "bob", "x"]), success);
    assert.equal((await Deno.stat(users.file)).mode! & 0o777, after);
  });
}

Deno.test("hookmq passwd changes the file that a link points to, and not the link", async () => {
  await using users = await passwordFile(`${alice}\n`);
  const link = `${users.directory}/link.txt`;
  await Deno.symlink("users.txt", link);
  assert.deepEqual(await passwd(["-b", link, "bob", "x"]), success);
  assert.equal(await Deno.readLink(link), "users.txt");
  assert.equal(await users.accepts("bob", "x"), true);
});

interface Mistake {
  what: string;
  before?: string;
  args: string[];
  input?: string;
  code: number;
  message: string;
}

const mistakes: Mistake[] = [
  {
    what: "-c with a file that exists",
    before: `${alice}\n`,
    args: ["-c", "FILE", "bob"],
    input: "x",
    code: 1,
    message: "FILE exists already; leave -c away to add a user to it",
  },
  {
    what: "a file that does not exist",
    args: ["FILE", "bob"],
    input: "x",
    code: 1,
    message: "cannot read FILE: there is no such file; hookmq passwd -c makes one",
  },
  {
    what: "a file that is no password file",
    before: `${alice}\nbob:plain text\n`,
    args: ["FILE", "carol"],
    input: "x",
    code: 1,
    message: "FILE:2: not a hash that begins with $scrypt$, $7$ or $6$",
  },
  {
    what: "a user to delete who is not there",
    before: `${alice}\n`,
    args: ["-D", "FILE", "bob"],
    code: 1,
    message: 'there is no user "bob" in FILE',
  },
  {
    what: "nothing on the standard input",
    before: "",
    args: ["FILE", "bob"],
    input: "",
    code: 1,
    message: "there is no password on the standard input",
  },
  {
    what: "an empty password",
    before: "",
    args: ["-b", "FILE", "bob", ""],
    code: 1,
    message: "the password is empty",
  },
  {
    what: "a password that MQTT cannot carry",
    before: "",
    args: ["FILE", "bob"],
    input: "x".repeat(65_536),
    code: 1,
    message: "the password has 65536 bytes; MQTT carries at most 65535",
  },
  {
    what: "-b without a password",
    before: "",
    args: ["-b", "FILE", "bob"],
    code: 2,
    message: "-b needs the password as the third argument",
  },
  {
    what: "a password without -b",
    before: "",
    args: ["FILE", "bob", "secret"],
    code: 2,
    message: "a password on the command line needs -b; without it, the password is asked for",
  },
  {
    what: "-D with something that adds",
    before: `${alice}\n`,
    args: ["-D", "-c", "FILE", "alice"],
    code: 2,
    message: "option '-D, --delete' cannot be used with option '-c, --create'",
  },
  {
    what: "a cost that scrypt cannot have",
    before: "",
    args: ["-b", "--cost", "21", "FILE", "bob", "x"],
    code: 2,
    message: "--cost 21: for scrypt it must be from 1 to 20",
  },
  ...[
    ["", "is empty"],
    ["a:b", "holds a colon, which ends the name in a password file"],
    ["#a", "begins with #, as comments do in a password file"],
    ["a\nb", "holds a control character"],
    [" a", "begins or ends with a space"],
  ].map(([username, problem]) => ({
    what: `the user name ${JSON.stringify(username)}`,
    before: "",
    args: ["-b", "FILE", username, "x"],
    code: 2,
    message: `user name ${JSON.stringify(username)}: it ${problem}`,
  })),
];

for (const { what, before, args, input, code, message } of mistakes) {
  Deno.test(`hookmq passwd answers ${what} with one line and exit code ${code}, and changes nothing`, async () => {
    await using users = await passwordFile(before);
    const words = args.map((word) => word === "FILE" ? users.file : word);
    assert.deepEqual(await runHookmq(["passwd", ...words], { input }), {
      code,
      stdout: "",
      stderr: `hookmq: ${message.replace("FILE", users.file)}\n`,
    });
    if (before !== undefined) assert.equal(await users.text(), before);
    const left = Array.from(Deno.readDirSync(users.directory), ({ name }) => name);
    assert.deepEqual(left, before === undefined ? [] : ["users.txt"]);
  });
}

Deno.test("hookmq passwd does not disturb another one that is at work", async () => {
  await using users = await passwordFile(`${alice}\n`);
  await Deno.writeTextFile(`${users.file}.new`, "half writ");
  const { code, stderr } = await passwd(["-b", users.file, "bob", "x"]);
  assert.deepEqual([code, await users.text()], [1, `${alice}\n`]);
  assert.equal(
    stderr,
    `hookmq: ${users.file}.new exists: another hookmq passwd is at work; if none is, delete it and try again\n`,
  );
  assert.equal(await Deno.readTextFile(`${users.file}.new`), "half writ");
});

Deno.test("of many hookmq passwd at the same time, each either adds its user or says that it did not", async () => {
  await using users = await passwordFile(`${alice}\n`);
  const names = ["u1", "u2", "u3", "u4"];
  const outcomes = await Promise.all(names.map((name) => passwd(["-b", users.file, name, "x"])));
  for (const [index, { code }] of outcomes.entries()) {
    assert.equal(await users.accepts(names[index], "x"), code === 0, names[index]);
  }
  assert.equal(await users.accepts("alice", "secret"), true);
});

const hookmq = [Deno.execPath(), "run", "-A", fileURLToPath(new URL("../../cli.ts", import.meta.url))];

/**
 * Runs a shell command on a terminal of its own (Python's pty), where each answer is typed when its question is there.
 * Returns what is to be seen on that terminal at the end.
 */
async function onTerminal(command: string, ...dialogue: [question: string, answer: string][]): Promise<Outcome> {
  const program = `
import json, os, pty, sys
command, dialogue = sys.argv[1], json.loads(sys.argv[2])
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", command])
seen = b""
def read():
    global seen
    try:
        chunk = os.read(terminal, 4096)
    except OSError:
        chunk = b""
    seen += chunk
    return chunk != b""
for question, answer in dialogue:
    before = len(seen)
    while question.encode() not in seen[before:] and read():
        pass
    os.write(terminal, answer.encode())
while read():
    pass
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;
  return await run("python3", ["-c", program, command, JSON.stringify(dialogue)]);
}

const quoted = (words: string[]) => words.map((word) => `'${word}'`).join(" ");

Deno.test("hookmq passwd asks on a terminal twice, shows nothing that is typed, and leaves the terminal as it was", async () => {
  await using users = await passwordFile("");
  const command = quoted([...hookmq, "passwd", "--cost", "4", users.file, "alice"]);
  const { code, stdout } = await onTerminal(
    `${command} && stty -a`,
    ["Password: ", "wrong\x15secxü\x7f\x7fret\r"],
    ["Password again: ", "secret\r"],
  );
  assert.equal(code, 0, stdout);
  assert.equal(await users.accepts("alice", "secret"), true);
  assert.match(stdout, /^Password: \r\nPassword again: \r\n/);
  assert.match(stdout, /[^-]icanon[^]*[^-]echo /);
});

Deno.test("hookmq passwd changes nothing when the two passwords differ", async () => {
  await using users = await passwordFile(`${alice}\n`);
  const command = quoted([...hookmq, "passwd", "--cost", "4", users.file, "alice"]);
  const { code, stdout } = await onTerminal(command, ["Password: ", "one\r"], ["Password again: ", "two\r"]);
  assert.equal(code, 1);
  assert.match(stdout, /hookmq: the two passwords are not the same; nothing is changed/);
  assert.equal(await users.text(), `${alice}\n`);
});

Deno.test("Ctrl+C ends hookmq passwd with 130 and changes nothing", async () => {
  await using users = await passwordFile(`${alice}\n`);
  const command = quoted([...hookmq, "passwd", "--cost", "4", users.file, "alice"]);
  const { code, stdout } = await onTerminal(`${command}; code=$?; stty -a; exit $code`, ["Password: ", "one\x03"]);
  assert.equal(code, 130);
  assert.match(stdout, /^Password: \r\n[^]*[^-]echo /);
  assert.equal(await users.text(), `${alice}\n`);
});
