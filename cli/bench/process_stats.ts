/** What a process has used so far. */
export interface ProcessStats {
  /** Time on a core, in user and kernel mode, of all its threads. */
  cpuSeconds: number;
  /** Resident memory (RSS). */
  residentBytes: number;
}

/** The kernel counts CPU time in these; it is 100 on every Linux that Deno runs on. */
const clockTicksPerSecond = 100;

/**
 * Reads the figures of a running process from `/proc`; undefined where there are none (not Linux, or no such process), and
 * where this one may not look: without all permissions.
 */
export function readProcessStats(pid: number): ProcessStats | undefined {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    const status = Deno.readTextFileSync(`/proc/${pid}/status`);
    // The second field is the name in parentheses, and may hold spaces; those after it are counted from field 3.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const userTicks = Number(fields[14 - 3]);
    const systemTicks = Number(fields[15 - 3]);
    const residentKilobytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
    return { cpuSeconds: (userTicks + systemTicks) / clockTicksPerSecond, residentBytes: residentKilobytes * 1024 };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}
