import { join } from "node:path";
import { readTextFile } from "../config/text_file.ts";
import { Failure } from "../failure.ts";
import { formatPlace, type Place } from "./note.ts";

/** An option as it is written in mosquitto.conf. */
export interface Statement {
  readonly place: Place;
  readonly name: string;
  /** All that stands behind the name; empty if nothing does. */
  readonly value: string;
}

/** Where mosquitto listens, with the options of that listener. */
export interface Section {
  /** The line that opens it; `undefined` for the listener that needs none. */
  readonly listener: Statement | undefined;
  readonly statements: Statement[];
}

/** What a configuration of mosquitto says, with all files that it includes. */
export interface MosquittoConf {
  /** The options of the broker as a whole. */
  readonly global: Statement[];
  /** The first one is the listener that no line opens; mosquitto has it only if there are options of it, or no others. */
  readonly sections: Section[];
  /** The lines that begin a bridge, and how many options follow each. */
  readonly bridges: Map<Statement, number>;
}

/** Options of one listener. */
const listenerOptions = new Set([
  ..."bind_address bind_interface cafile capath certfile ciphers ciphers_tls1.3 crlfile dhparamfile http_dir".split(
    " ",
  ),
  ..."keyfile max_connections max_qos max_topic_alias mount_point port protocol psk_hint require_certificate".split(
    " ",
  ),
  ..."socket_domain tls_engine tls_engine_kpass_sha1 tls_keyform tls_version use_identity_as_username".split(" "),
  ..."use_subject_as_username use_username_as_clientid".split(" "),
]);

/** Options that are a listener's own with `per_listener_settings true`, and the broker's otherwise. */
const securityOptions = new Set(
  "acl_file allow_anonymous allow_zero_length_clientid auth_plugin auto_id_prefix password_file plugin psk_file"
    .split(" "),
);

/** Options of a bridge that do not begin with `bridge_`, `local_`, `remote_` or `notification`. */
const bridgeOptions = new Set(
  ("address addresses cleansession clientid idle_timeout keepalive_interval password restart_timeout round_robin " +
    "start_type threshold topic try_private username").split(" "),
);

/**
 * Reads a mosquitto.conf and what it includes.
 *
 * @throws {Failure} If a file cannot be read.
 */
export async function readMosquittoConf(file: string): Promise<MosquittoConf> {
  const conf: MosquittoConf = {
    global: [],
    sections: [{ listener: undefined, statements: [] }],
    bridges: new Map(),
  };
  const files: Statement[][] = [];
  const main = await readStatements(file);
  files.push(main);
  for (const { name, value } of main) {
    if (name !== "include_dir") continue;
    for (const included of await filesIn(value)) files.push(await readStatements(included));
  }
  const perListener = files.flat().some(({ name, value }) =>
    name === "per_listener_settings" && boolean(value) === true
  );
  for (const statements of files) sort(statements, conf, perListener);
  return conf;
}

/** Puts the options of one file where they belong. */
function sort(statements: readonly Statement[], conf: MosquittoConf, perListener: boolean): void {
  // In each file those before its first listener are options of the one that no line opens.
  let [section] = conf.sections;
  let bridge: Statement | undefined;
  for (const statement of statements) {
    const { name } = statement;
    if (name === "listener") conf.sections.push(section = { listener: statement, statements: [] });
    else if (name === "connection") conf.bridges.set(bridge = statement, 0);
    else if (isBridgeOption(name)) {
      if (bridge !== undefined) conf.bridges.set(bridge, conf.bridges.get(bridge)! + 1);
    } else if (listenerOptions.has(name) || (perListener && securityOptions.has(name))) {
      section.statements.push(statement);
    } else if (name !== "include_dir" && name !== "per_listener_settings") {
      conf.global.push(statement);
    }
  }
}

function isBridgeOption(name: string): boolean {
  return bridgeOptions.has(name) || /^(bridge_|local_|remote_|notification)/.test(name);
}

async function readStatements(file: string): Promise<Statement[]> {
  const lines = (await readFileOrFail(file)).split("\n");
  return lines.flatMap((text, index) => {
    // Only a line that begins with "#" is a comment.
    if (text.startsWith("#") || text.trim() === "") return [];
    const [, name, value] = text.match(/^\s*(\S+)\s*(.*?)\s*$/)!;
    return [{ place: { file, line: index + 1 }, name, value }];
  });
}

/** Reads one of mosquitto's files. @throws {Failure} If it cannot be read; the message names it. */
export async function readFileOrFail(file: string): Promise<string> {
  try {
    return await readTextFile(file);
  } catch (error) {
    throw new Failure((error as Error).message);
  }
}

/** The configurations in a directory, in mosquitto's order: `A.conf` before `a.conf`, and that before `B.conf`. */
async function filesIn(directory: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(directory)) {
      if (name.endsWith(".conf") && !isDirectory) names.push(name);
    }
  } catch (error) {
    throw new Failure(`cannot read the directory ${directory}: ${(error as Error).message}`);
  }
  const key = (name: string) => [...name].map((letter) => letter.toUpperCase() + letter).join("");
  return names.sort((one, other) => key(one) < key(other) ? -1 : 1).map((name) => join(directory, name));
}

/** The last statement of a name, which is the one that counts. */
export function lastOf(statements: readonly Statement[], name: string): Statement | undefined {
  return statements.findLast((statement) => statement.name === name);
}

/** Whether a statement is there and says true. @throws {Failure} If it says neither true nor false. */
export function isTrue(statement: Statement | undefined, otherwise = false): boolean {
  if (statement === undefined) return otherwise;
  return boolean(statement.value) ?? fail(statement, "must be true or false");
}

/** What a statement says, as a whole number. @throws {Failure} If it says something else. */
export function numberOf(statement: Statement): number {
  return /^-?\d+$/.test(statement.value) ? Number(statement.value) : fail(statement, "must be a whole number");
}

/** Ends the command over a statement that mosquitto would not take either. */
export function fail({ place, name, value }: Statement, message: string): never {
  throw new Failure(`${formatPlace(place)}: ${`${name} ${value}`.trim()}: ${message}`);
}

function boolean(value: string): boolean | undefined {
  if (["true", "1"].includes(value)) return true;
  return ["false", "0"].includes(value) ? false : undefined;
}
