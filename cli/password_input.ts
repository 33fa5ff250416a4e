import { Buffer } from "node:buffer";
import { Failure } from "./failure.ts";
import { readLines } from "./lines.ts";

const longestPassword = 65_535;
const interruptedByUser = 130;
const controlD = 0x04;

/** @throws {Failure} If no client could log in with the password. */
export function assertUsable(password: Uint8Array): void {
  if (password.length === 0) throw new Failure("the password is empty");
  if (password.length > longestPassword) {
    throw new Failure(`the password has ${password.length} bytes; MQTT carries at most ${longestPassword}`);
  }
}

/**
 * Asks for a password twice, without showing what is typed; where the standard input is no terminal, its first line is
 * the password.
 *
 * @throws {Failure} If there is none, the two differ, or Ctrl+C is typed (exit code 130).
 */
export async function readPassword(): Promise<Uint8Array> {
  if (Deno.stdin.isTerminal()) return await askTwice();
  for await (const line of readLines(Deno.stdin.readable)) {
    return line.at(-1) === 0x0d ? line.subarray(0, -1) : line;
  }
  throw new Failure("there is no password on the standard input");
}

async function askTwice(): Promise<Uint8Array> {
  Deno.stdin.setRaw(true);
  try {
    const keys = typedBytes();
    const password = await ask("Password: ", keys);
    assertUsable(password);
    const again = await ask("Password again: ", keys);
    if (Buffer.compare(password, again) !== 0) {
      throw new Failure("the two passwords are not the same; nothing is changed");
    }
    return password;
  } finally {
    Deno.stdin.setRaw(false);
  }
}

async function* typedBytes(): AsyncGenerator<number> {
  const buffer = new Uint8Array(256);
  for (;;) {
    const length = await Deno.stdin.read(buffer);
    if (length === null) return;
    yield* buffer.slice(0, length);
  }
}

/** Asks for a line that is not shown. The terminal is in raw mode: nobody but us understands the keys. */
async function ask(question: string, keys: AsyncGenerator<number>): Promise<Uint8Array> {
  await print(question);
  const typed: number[] = [];
  for (;;) {
    const { value: key, done } = await keys.next();
    switch (done ? controlD : key) {
      case 0x03: // Ctrl+C
        await print("\n");
        throw new Failure("", interruptedByUser);
      case controlD:
      case 0x0a:
      case 0x0d: // Enter
        await print("\n");
        return Uint8Array.from(typed);
      case 0x08:
      case 0x7f: // Backspace
        // The bytes of a character, from its last one to its first.
        while ((typed.pop()! & 0xc0) === 0x80);
        break;
      case 0x15: // Ctrl+U
        typed.length = 0;
        break;
      default:
        typed.push(key);
    }
  }
}

async function print(text: string): Promise<void> {
  await Deno.stderr.write(new TextEncoder().encode(text));
}
