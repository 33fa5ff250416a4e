import assert from "node:assert/strict";
import { parsePasswordFile } from "../../hooks/auth/password_file.ts";
import { hashInMemory, hasPassword, type PasswordHash } from "../../hooks/auth/password_hash.ts";
import { Users } from "../../hooks/auth/users.ts";

const alice = "alice:$7$1$AAAA$" + "A".repeat(86) + "==";
const bob = "bob:$scrypt$ln=1,r=8,p=1$BBBB$" + "A".repeat(22);

Deno.test("the lines of a password file are users; comments and empty lines are none", () => {
  const text = `# the staff\n\n${alice}\r\n   \n#carol:$6$\n${bob}`;
  const entries = parsePasswordFile(text, "users.txt");
  assert.deepEqual(
    Array.from(entries, ([username, { line, hash }]) => [username, line, hash.form]),
    [["alice", 3, "pbkdf2"], ["bob", 6, "scrypt"]],
  );
});

Deno.test("an empty password file has no users", () => {
  assert.equal(parsePasswordFile("", "users.txt").size, 0);
});

const faults = [
  { text: "secret of alice", message: "users.txt:1: there is no colon; a line is written as user:hash" },
  { text: `${alice}\n:${bob}`, message: "users.txt:2: there is no user name before the colon" },
  { text: `${alice}\n#\nbob:secret`, message: "users.txt:3: not a hash that begins with $scrypt$, $7$ or $6$" },
  { text: `${alice}\n\n${alice}\n`, message: "users.txt:3: this user is in line 1 already" },
  {
    text: "alice:$7$secret",
    message: "users.txt:1: a hash with this beginning is written as $7$<iterations>$<salt>$<hash>",
  },
  { text: "alice:", message: "users.txt:1: not a hash that begins with $scrypt$, $7$ or $6$" },
];

for (const { text, message } of faults) {
  Deno.test(`a malformed password file is an error that names the line: ${message}`, () => {
    assert.throws(() => parsePasswordFile(text, "users.txt"), { message });
  });
}

function usersOfFile(...lines: string[]): Users {
  const users = new Users();
  users.replaceFile(parsePasswordFile(lines.join("\n"), "users.txt"));
  return users;
}

Deno.test("what the program says of a user comes before what the file says", () => {
  const users = usersOfFile(alice, bob);
  const hash = hashInMemory("x");
  users.set("alice", hash);
  assert.equal(users.find("alice"), hash);
  users.replaceFile(parsePasswordFile(alice, "users.txt"));
  assert.equal(users.find("alice"), hash);
  assert.equal(users.find("bob"), undefined);
});

Deno.test("a user of the file that the program has removed does not come back with the file", () => {
  const users = usersOfFile(alice, bob);
  assert.deepEqual([users.remove("alice"), users.remove("alice"), users.remove("carol")], [true, false, false]);
  users.replaceFile(parsePasswordFile(alice, "users.txt"));
  assert.equal(users.find("alice"), undefined);
  const hash = hashInMemory("x");
  users.set("alice", hash);
  assert.equal(users.find("alice"), hash);
});

Deno.test("a hash that is the same in the new file is the same object", () => {
  const users = usersOfFile(alice, bob);
  const before = users.find("alice");
  users.replaceFile(parsePasswordFile(`# new\n${alice}\n${bob.replace("BBBB", "CCCC")}`, "users.txt"));
  assert.equal(users.find("alice"), before);
  assert.deepEqual([...users.find("bob")!.salt], [8, 32, 130]);
});

Deno.test("names like those of an object's own properties are users like others", () => {
  const users = usersOfFile(alice.replace("alice", "__proto__"), bob.replace("bob", "constructor"));
  assert.equal(users.find("__proto__")!.form, "pbkdf2");
  assert.equal(users.find("toString"), undefined);
});

Deno.test("where there are no users, there is nothing that an unknown one could cost", () => {
  const users = usersOfFile(alice);
  users.remove("alice");
  assert.equal(users.decoy("alice"), undefined);
  assert.equal(new Users().decoy("alice"), undefined);
});

Deno.test("an unknown user costs as much as one of the users, always the same one for the same name", () => {
  const cost = (hash: PasswordHash) => hash.form === "pbkdf2" ? `pbkdf2 ${hash.iterations}` : hash.form;
  const users = usersOfFile(alice, bob, alice.replace("alice:$7$1$", "carol:$7$2$"));
  users.set("dave", hashInMemory("x"));
  const costs = new Map<string, string>();
  for (let number = 0; number < 200; number++) costs.set(`user ${number}`, cost(users.decoy(`user ${number}`)!));
  assert.deepEqual([...new Set(costs.values())].sort(), ["pbkdf2 1", "pbkdf2 2", "scrypt", "sha512"]);
  for (const [username, expected] of costs) assert.equal(cost(users.decoy(username)!), expected);
});

Deno.test("nobody has the password of a decoy", async () => {
  const users = new Users();
  users.set("alice", hashInMemory("secret"));
  assert.equal(await hasPassword(users.find("alice")!, new TextEncoder().encode("secret")), true);
  assert.equal(await hasPassword(users.decoy("bob")!, new TextEncoder().encode("secret")), false);
});
