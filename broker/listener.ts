/** Something that accepts connections for a broker. */
export interface Listener {
  /** Where it listens; the port is the real one, also if 0 was asked for. */
  readonly address: Deno.NetAddr;
  /** Accepts no more connections; those that exist go on. */
  close(): void;
}
