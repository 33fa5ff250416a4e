/**
 * Looks at a file at intervals, and calls back when it has changed and has then rested for one interval, so that nobody
 * reads what is only half written. Unlike the system's notifications this works on every file system, and through the
 * symbolic links with which containers are given their files.
 */
export class FileWatcher {
  readonly #path: string | URL;
  readonly #interval: number;
  readonly #changed: () => Promise<unknown>;
  /** What the file looked like when it was last taken up, and when it was last looked at. */
  #taken = "";
  #seen = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #looking: Promise<void> | undefined;
  #stopped = false;

  /** @param interval In milliseconds. */
  constructor(path: string | URL, interval: number, changed: () => Promise<unknown>) {
    this.#path = path;
    this.#interval = interval;
    this.#changed = changed;
  }

  /** Changes from now on are noticed. */
  async start(): Promise<void> {
    this.#taken = this.#seen = await appearance(this.#path);
    this.#lookLater();
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  #lookLater(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.look().then(() => this.#lookLater());
    }, this.#interval);
    // It is not a reason for the process to go on.
    Deno.unrefTimer(this.#timer as unknown as number);
  }

  /** Looks at the file now; otherwise this is done at intervals. */
  async look(): Promise<void> {
    const seen = await appearance(this.#path);
    if (seen === this.#seen && seen !== this.#taken) {
      this.#taken = seen;
      await this.#changed();
    }
    this.#seen = seen;
  }
}

/** Something that differs after every change to a file. */
async function appearance(path: string | URL): Promise<string> {
  try {
    const { ino, size, mtime, ctime } = await Deno.stat(path);
    return [ino, size, mtime?.getTime(), ctime?.getTime()].join();
  } catch (error) {
    return (error as Error).name;
  }
}
