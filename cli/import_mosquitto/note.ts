/** Where something stands in one of mosquitto's files. */
export interface Place {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
}

/** Something that is not the same after a translation, for whoever relies on it. */
export interface Note {
  readonly place: Place;
  /** What stood there, and what has become of it. */
  readonly message: string;
}

/** A note as one line, e.g. `mosquitto.conf:12: max_inflight_bytes 100: has no counterpart`. */
export function formatNote({ place, message }: Note): string {
  return `${formatPlace(place)}: ${message}`;
}

/** A place as errors name it. */
export function formatPlace({ file, line }: Place): string {
  return `${file}:${line}`;
}
