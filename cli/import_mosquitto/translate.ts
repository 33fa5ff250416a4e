import { isExposed } from "../config/exposure.ts";
import type { MosquittoConf, Section } from "./conf_file.ts";
import type { Draft, Say } from "./draft.ts";
import { translateGlobal } from "./global_options.ts";
import { limitsOf, listenerOf } from "./listener_options.ts";
import type { Note } from "./note.ts";
import { translateSecurity } from "./security.ts";

/** Options that say nothing about where to listen: with these alone mosquitto does not open its own listener. */
const opensNothing = ["acl_file", "allow_anonymous", "auto_id_prefix", "max_topic_alias"];

/**
 * What a configuration of mosquitto is in ours, and a note for everything that is not the same.
 *
 * @throws {Failure} If an ACL file cannot be read, or mosquitto would not take the configuration either.
 */
export async function translate(conf: MosquittoConf): Promise<{ draft: Draft; notes: Note[] }> {
  const notes: Note[] = [];
  const say: Say = ({ place, name, value }, message) =>
    notes.push({ place, message: `${`${name} ${value}`.trim()}: ${message}` });
  const { sections, isLocal } = openSections(conf);
  const listeners = sections.flatMap((section) => listenerOf(section, isLocal, say) ?? []);
  const security = await translateSecurity(conf.global, sections, isLocal, say);
  const { hooks, limits, ...options } = translateGlobal(conf.global, say);
  const { maximumQos, ...limitsOfListeners } = limitsOf(sections, say);
  for (const [bridge, count] of conf.bridges) {
    say(bridge, `is left out with its ${count} options: HookMQ does not connect to other brokers`);
  }

  const isOpen = security.hooks.auth === undefined && listeners.some((listener) => isExposed(listener));
  const allLimits = { ...limits, ...limitsOfListeners };
  return {
    draft: {
      ...listeners.length > 0 && { listeners },
      ...isOpen && { anonymous: true },
      ...Object.keys(allLimits).length > 0 && { limits: allLimits },
      ...maximumQos !== undefined && { maximumQos },
      ...options,
      hooks: { ...security.hooks, ...hooks },
    },
    notes: [...notes, ...security.notes].sort(byPlace),
  };
}

/** The listeners that mosquitto opens; if it is told of none, it is there for its own machine only. */
function openSections({ sections }: MosquittoConf): { sections: Section[]; isLocal: boolean } {
  const [implicit, ...explicit] = sections;
  const names = implicit.statements.map(({ name }) => name);
  const isOpened = explicit.length === 0 || names.some((name) => !opensNothing.includes(name));
  return {
    sections: isOpened ? sections : explicit,
    isLocal: explicit.length === 0 && !names.includes("port") && !names.includes("bind_address"),
  };
}

function byPlace({ place: one }: Note, { place: other }: Note): number {
  return one.file === other.file ? one.line - other.line : 0;
}
