/** Ends a command with one line on stderr, `hookmq: {message}`, and an exit code; an empty message prints nothing. */
export class Failure extends Error {
  /** 1 for something that went wrong while running, 2 for a wrong use of the command line. */
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}
