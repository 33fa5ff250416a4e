/** Names that are longer, in UTF-16 code units, are not looked at: it would take its time, and none is near. */
const LONGEST_NAME = 100;

/** The name that was probably meant: one that differs only a little, or that is cut short; `undefined` if there is none. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  if (name.length > LONGEST_NAME) return undefined;
  const wanted = plain(name);
  let best: string | undefined;
  let least = Infinity;
  for (const candidate of names) {
    const distance = distanceOf(wanted, plain(candidate));
    if (distance < least) [best, least] = [candidate, distance];
  }
  return least <= Math.max(1, Math.min(3, Math.floor(wanted.length / 3))) ? best : undefined;
}

/** Without what people write in different ways: `max_qos`, `max-qos` and `maxQos` are the same. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[-_ ]/g, "");
}

/** How many letters must be put in, left out, replaced or swapped with their neighbour to make one word of the other. */
function distanceOf(from: string, to: string): number {
  if (from.length >= 3 && to.startsWith(from)) return from.length === to.length ? 0 : 1;
  const rows = Array.from({ length: from.length + 1 }, (_, row) => [row]);
  for (let column = 1; column <= to.length; column++) rows[0][column] = column;
  for (let row = 1; row <= from.length; row++) {
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1];
      rows[row][column] = Math.min(
        rows[row - 1][column] + 1,
        rows[row][column - 1] + 1,
        rows[row - 1][column - 1] + (same ? 0 : 1),
      );
      const swapped = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      if (swapped) rows[row][column] = Math.min(rows[row][column], rows[row - 2][column - 2] + 1);
    }
  }
  return rows[from.length][to.length];
}
