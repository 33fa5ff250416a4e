import { type Program, startReady } from "../interop/programs.ts";
import { RawClient } from "../support/raw_client.ts";
import { type CodeBlock, inProject, readDocuments } from "./markdown.ts";

/** A program of the documents that runs. Its brokers listen on free ports. */
export interface DocumentedProgram extends Program {
  /** A connection to it that has sent nothing. Disposing the program closes it. */
  open(): Promise<RawClient>;
}

/** Where to run a program, and with which variables. */
export interface ProgramOptions {
  cwd?: string;
  env?: Record<string, string>;
}

/** The programs in the documents: what runs until it is ended is marked as `ts ignore`, since it is no test by itself. */
export async function documentedPrograms(): Promise<CodeBlock[]> {
  const documents = await readDocuments();
  return documents.flatMap(({ blocks }) => blocks).filter(({ language }) => language === "ts ignore");
}

/** Starts the one program of a document in which a text stands, and resolves when it listens. */
export async function startDocumented(
  path: string,
  text: string,
  options: ProgramOptions = {},
): Promise<DocumentedProgram> {
  const found = (await documentedPrograms()).filter((block) =>
    block.place.startsWith(`${path}:`) && block.text.includes(text)
  );
  if (found.length !== 1) throw new Error(`${path} has ${found.length} programs with ${JSON.stringify(text)}`);
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, found[0].text.replaceAll(/port: \d+/g, "port: 0"));
  const args = ["run", "-A", "--config", inProject("deno.json"), file];
  const listening = /^listening on mqtt:\/\/127\.0\.0\.1:(\d+)\n/m;
  const program = await startReady(listening, Deno.execPath(), args, options).finally(() => Deno.remove(file));
  const [, port] = await program.printed(listening);
  const opened: RawClient[] = [];
  return {
    ...program,
    async open() {
      const client = new RawClient(await Deno.connect({ hostname: "127.0.0.1", port: Number(port) }));
      opened.push(client);
      return client;
    },
    async [Symbol.asyncDispose]() {
      for (const client of opened) await client.close();
      await program[Symbol.asyncDispose]();
    },
  };
}
