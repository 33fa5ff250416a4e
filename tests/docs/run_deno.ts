import type { Outcome } from "../interop/programs.ts";
import { inProject } from "./markdown.ts";

/** Runs Deno in the project's directory to its end, however long the check of types takes. */
export async function runDeno(args: string[], env: Record<string, string> = {}): Promise<Outcome> {
  const command = new Deno.Command(Deno.execPath(), { args, cwd: inProject(""), env: { NO_COLOR: "1", ...env } });
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
