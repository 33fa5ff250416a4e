/**
 * Runs a program to its end and returns what it has printed.
 *
 * @throws {Error} If it fails, with the last line that it had to say.
 */
export async function outputOf(program: string, args: string[]): Promise<string> {
  const { success, code, stdout, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
  if (success) return new TextDecoder().decode(stdout);
  const lastLine = new TextDecoder().decode(stderr).trim().split("\n").at(-1);
  throw new Error(`${program} ${args[0]} exited with ${code}: ${lastLine}`);
}
