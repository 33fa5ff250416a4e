/** What was done for each second on a core, from what was done each second; undefined where the CPU is not known. */
export function perCpuSecond(perSecond: number, cpuPercent: number | undefined): number | undefined {
  return cpuPercent ? perSecond / cpuPercent * 100 : undefined;
}
