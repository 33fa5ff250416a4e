/** A test for names against a pattern in which each `*` stands for any characters, also for none. */
export function namePattern(pattern: string): (name: string) => boolean {
  const [first, ...middle] = pattern.split("*");
  const last = middle.pop();
  if (last === undefined) return (name) => name === pattern;
  // Not a regular expression: names come from clients, and one of 64 KiB could keep it busy with backtracking.
  return (name) => {
    if (!name.startsWith(first)) return false;
    let from = first.length;
    for (const part of middle) {
      const at = name.indexOf(part, from);
      if (at === -1) return false;
      from = at + part.length;
    }
    return name.length - last.length >= from && name.endsWith(last);
  };
}
