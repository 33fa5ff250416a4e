import type { ProtocolLevel } from "../../mod.ts";

/** A version of the protocol, as the names of tests and the table of statements write it. */
export type Version = "5.0" | "3.1.1" | "3.1";

/** The protocol level that a CONNECT of each version names. */
export const levels: Readonly<Record<Version, ProtocolLevel>> = { "5.0": 5, "3.1.1": 4, "3.1": 3 };

/** What one bracket of a test's name says is proved. */
export interface Proof {
  version: Version;
  /** The statements of this version, by id; none where a test is about what no statement has a number for. */
  ids: string[];
}

const bracket = /^\[(5\.0|3\.1\.1|3\.1)((?: MQTT-[\d.]+-\d+)*)\] /;

/**
 * Takes a test's name apart: `[5.0 MQTT-3.1.4-3] [3.1.1 MQTT-3.1.4-2] a second CONNECT …`.
 *
 * @throws {SyntaxError} If it does not begin with such a bracket, or has no sentence behind the last one.
 */
export function parseTestName(name: string): { proofs: Proof[]; sentence: string } {
  const proofs: Proof[] = [];
  let sentence = name;
  for (let match; (match = sentence.match(bracket)) !== null; sentence = sentence.slice(match[0].length)) {
    const [, version, ids] = match;
    proofs.push({ version: version as Version, ids: ids.split(" ").slice(1) });
  }
  if (proofs.length === 0 || !/^[^\s[]/.test(sentence)) {
    throw new SyntaxError(
      `"${name}": must be named "[version id …] sentence", such as "[5.0 MQTT-3.1.4-3] [3.1.1 MQTT-3.1.4-2] a second …"`,
    );
  }
  return { proofs, sentence };
}

/** The name that a test has with one of its brackets. */
export function testName({ version, ids }: Proof, sentence: string): string {
  return `[${[version, ...ids].join(" ")}] ${sentence}`;
}
