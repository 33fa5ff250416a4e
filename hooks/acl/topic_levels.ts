/**
 * A set of topics: a topic filter's levels, in the form that {@linkcode levelsOf} gives them. A topic name is one as well,
 * of just that topic.
 */
export type TopicLevels = readonly string[];

/** All topics, also those that begin with `$`; no filter of MQTT's has this meaning. */
export const everyTopic: TopicLevels = ["#"];

/** The topics that a filter matches; the filter is well-formed, and not one of a shared subscription. */
export function levelsOf(topicFilter: string): TopicLevels {
  // "#" includes the parent level, but there is no topic without a level, and none of a single empty one.
  if (topicFilter === "#") return ["+", "#"];
  if (topicFilter === "/#") return ["", "+", "#"];
  return topicFilter.split("/");
}

/** Whether all topics of `inner` are topics of `outer`. */
export function covers(outer: TopicLevels, inner: TopicLevels): boolean {
  for (let depth = 0; depth < outer.length; depth++) {
    const level = outer[depth];
    // "a/#" includes "a", the parent level.
    if (level === "#") return true;
    if (depth === inner.length || inner[depth] === "#") return false;
    if (level === "+" ? isHidden(inner, depth) : level !== inner[depth]) return false;
  }
  return outer.length === inner.length;
}

/** Whether a topic can be in both. */
export function overlaps(first: TopicLevels, second: TopicLevels): boolean {
  for (let depth = 0;; depth++) {
    if (first[depth] === "#" || second[depth] === "#") return true;
    if (depth === first.length || depth === second.length) return first.length === second.length;
    if (first[depth] === second[depth]) continue;
    if (first[depth] === "+" ? isHidden(second, depth) : second[depth] !== "+" || isHidden(first, depth)) return false;
  }
}

/** Wildcards at the first level do not match topics that begin with `$` [MQTT-4.7.2-1]. */
function isHidden(levels: TopicLevels, depth: number): boolean {
  return depth === 0 && levels[0].startsWith("$");
}
