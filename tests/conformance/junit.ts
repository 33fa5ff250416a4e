import type { Result } from "./coverage.ts";

/** How each test ended, by its name, from a report that `deno test --junit-path` wrote. */
export function parseJunit(xml: string): Map<string, Result> {
  const results = new Map<string, Result>();
  for (const [, name, content] of xml.matchAll(/<testcase name="([^"]*)"[^>]*>([^]*?)<\/testcase>/g)) {
    results.set(unescape(name), resultOf(content));
  }
  return results;
}

function resultOf(content: string): Result {
  if (/<(failure|error)\b/.test(content)) return "failed";
  return content.includes("<skipped") ? undefined : "passed";
}

function unescape(text: string): string {
  const characters: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
  return text.replace(/&(amp|lt|gt|quot|apos);/g, (_, name: string) => characters[name]);
}
