import { leadsTo, type Path } from "./option.ts";
import type { Override } from "./override.ts";
import { formatPath, type Problem } from "./problem.ts";
import type { Position, YamlFile } from "./yaml_file.ts";

/** Where a problem stands: in the file, or in an environment variable or an option of the command line. */
interface Place {
  readonly name: string;
  readonly position?: Position;
  /** The option that the place is for, if it is for just one. */
  readonly path?: Path;
}

/**
 * Problems as lines: the place, the option unless the place says it, and what is wrong. Those of the file come first and in
 * its order.
 */
export function linesOf(
  problems: readonly Problem[],
  file: YamlFile | undefined,
  overrides: readonly Override[],
): string[] {
  return problems.map(({ path, message, place = path }) => ({ path, message, place: placeOf(place, file, overrides) }))
    .sort((one, other) => order(one.place, other.place))
    .map(({ path, message, place }) => {
      const option = formatPath(path);
      const isSaid = place?.path !== undefined && formatPath(place.path) === option;
      return [place && formatPlace(place), isSaid ? "" : option, message].filter(Boolean).join(": ");
    });
}

function placeOf(path: Path, file: YamlFile | undefined, overrides: readonly Override[]): Place | undefined {
  const own = overrides.findLast((override) => leadsTo(override.path, path));
  if (own !== undefined) return { name: own.origin, path: own.path };
  if (file?.positionOf(path) !== undefined) return { name: file.name, position: file.positionOf(path) };
  // What is missing is missed by what stands beside it.
  const inside = overrides.findLast((override) => leadsTo(path, override.path));
  if (inside !== undefined) return { name: inside.origin };
  if (path.length > 0) return placeOf(path.slice(0, -1), file, overrides);
  return file && { name: file.name };
}

function order({ position: one }: Place = { name: "" }, { position: other }: Place = { name: "" }): number {
  if (one === undefined || other === undefined) return Number(one === undefined) - Number(other === undefined);
  return one.line - other.line || one.column - other.column;
}

function formatPlace({ name, position }: Place): string {
  return position === undefined ? name : `${name}:${position.line}:${position.column}`;
}
