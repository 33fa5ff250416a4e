import type { Version } from "./test_name.ts";

/** A normative statement of one version of the specification. */
export interface Statement {
  version: Version;
  /** As the specification writes it, e.g. `MQTT-3.1.4-3`. */
  id: string;
  /** Whom it binds. */
  appliesTo: "Server" | "Client" | "Both";
  /** Its words. */
  text: string;
  /** Why nobody can see from outside whether a broker keeps to it; `undefined` where it can be seen. */
  unobservable?: string;
}

/** What binds a server and has no test, with the reason. */
const unobservable: Readonly<Record<string, string>> = {
  "3.1.1 MQTT-7.0.0-1": "it is about servers that connect to other servers, and this one accepts connections only",
};

/** Every statement, in the order of the specifications. */
export const statements: readonly Statement[] = Deno
  .readTextFileSync(new URL("statements.tsv", import.meta.url))
  .trimEnd().split("\n").slice(1).map((line) => line.split("\t"))
  .map(([version, id, appliesTo, text]) => ({
    version: version as Version,
    id,
    appliesTo: appliesTo as Statement["appliesTo"],
    text,
    unobservable: unobservable[`${version} ${id}`],
  }));

/** Every statement that binds a server, alone or like a client. */
export const serverStatements: readonly Statement[] = statements.filter(({ appliesTo }) => appliesTo !== "Client");
