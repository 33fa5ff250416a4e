import { TlsContext } from "../../broker/listeners/tls_context.ts";
import { parsePasswordFile, readPasswordFile } from "../../hooks/auth/password_file.ts";
import type { Problem } from "./problem.ts";
import type { Config } from "./schema.ts";

/** What is wrong with the files that a configuration names: certificates, their keys, and the password file. */
export async function faultsOfFiles({ listeners, hooks }: Config): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const [index, listener] of listeners.entries()) {
    if (listener.transport !== "tls" && listener.transport !== "wss") continue;
    await TlsContext.load(listener).catch(({ message }) => problems.push({ path: ["listeners", index], message }));
  }
  const passwordFile = hooks.auth?.passwordFile;
  if (passwordFile === undefined) return problems;
  try {
    parsePasswordFile(await readPasswordFile(passwordFile), passwordFile);
  } catch (error) {
    problems.push({ path: ["hooks", "auth", "passwordFile"], message: (error as Error).message });
  }
  return problems;
}
