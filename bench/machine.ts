import { canPin } from "./pinning.ts";

/** What the bench ran on. */
export interface Machine {
  processor: string;
  cores: number;
  memoryGigabytes: number;
  system: string;
  /** Whether broker and load generator had a core each. */
  pinned: boolean;
}

/** Describes this machine; what cannot be read is "unknown". */
export function describeMachine(): Machine {
  return {
    processor: /^model name\s*: (.+)$/m.exec(read("/proc/cpuinfo"))?.[1] ?? "unknown",
    cores: navigator.hardwareConcurrency,
    memoryGigabytes: Math.round(Deno.systemMemoryInfo().total / 2 ** 30),
    system: `${/^PRETTY_NAME="(.+)"$/m.exec(read("/etc/os-release"))?.[1] ?? Deno.build.os}, ${Deno.osRelease()}`,
    pinned: canPin,
  };
}

function read(file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
