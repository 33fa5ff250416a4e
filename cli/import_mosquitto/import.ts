import { Document, isMap, isSeq } from "yaml";
import { readMosquittoConf } from "./conf_file.ts";
import type { Draft } from "./draft.ts";
import { formatNote } from "./note.ts";
import { translate } from "./translate.ts";

/**
 * Translates a mosquitto.conf: the YAML, with what is not the same in comments at its end, and that in lines as well.
 *
 * @throws {Failure} If a file cannot be read, or is none that mosquitto would take.
 */
export async function importMosquitto(file: string): Promise<{ yaml: string; notes: string[] }> {
  const { draft, notes } = await translate(await readMosquittoConf(file));
  const lines = notes.map(formatNote);
  const remarks = lines.length === 0
    ? []
    : ["", "# What is not the same as it was:", "#", ...lines.map((line) => `# ${line}`)];
  const yaml = [`# From ${file}, translated by hookmq import-mosquitto`, "", toYaml(draft), ...remarks].join("\n");
  return { yaml, notes: lines };
}

/** With a line for each listener and each rule. */
function toYaml(draft: Draft): string {
  const document = new Document(draft);
  for (const path of [["listeners"], ["hooks", "acl", "rules"]]) {
    const list = document.getIn(path);
    if (!isSeq(list)) continue;
    for (const item of list.items) if (isMap(item)) item.flow = true;
  }
  return document.toString({ lineWidth: 0 }).trimEnd();
}
