import type { Transport } from "../cli/bench/socket.ts";

/** Who logs in where a broker is secured. */
export const user = { username: "bench", password: "secret" };

/** How a broker is set up. */
export interface Setup {
  /** What clients connect over. */
  transport: Transport;
  /** Whether only {@linkcode user} gets in, and rules decide on every topic; all others are turned away. */
  secured: boolean;
  /** For TLS. */
  certificate?: Certificate;
  /** Ports on which it listens besides. */
  morePorts: number[];
}

/** Files with a certificate and its key, as PEM. */
export interface Certificate {
  certificateFile: string;
  keyFile: string;
}

/** A broker as simple as it can be: TCP, and everybody gets in. */
export const plainSetup: Setup = { transport: "tcp", secured: false, morePorts: [] };
