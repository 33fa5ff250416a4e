import { isGroup, type Path } from "../config/option.ts";

/** The options in which two configurations differ. What only one of them has is one difference, however much it is. */
export function changesOf(before: unknown, after: unknown, path: Path = []): Path[] {
  if (isGroup(before) && isGroup(after)) {
    const names = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...names].flatMap((name) => changesOf(before[name], after[name], [...path, name]));
  }
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length) {
    return before.flatMap((entry, index) => changesOf(entry, after[index], [...path, index]));
  }
  return before === after ? [] : [path];
}
