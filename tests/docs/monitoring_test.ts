import assert from "node:assert/strict";
import { metricsHook, sysHook } from "../../hooks/mod.ts";
import { startBroker } from "../support/start_broker.ts";
import { readDocuments } from "./markdown.ts";

/** What matches in the documents, each once. */
async function namedInDocuments(pattern: RegExp): Promise<Set<string>> {
  const texts = (await readDocuments()).flatMap(({ prose, blocks }) => [prose, ...blocks.map(({ text }) => text)]);
  return new Set(texts.flatMap((text) => [...text.matchAll(pattern)].map(([name]) => name)));
}

Deno.test("every metric that the documents name is served", async () => {
  await using broker = await startBroker();
  const metrics = metricsHook({ port: 0 });
  await broker.use(metrics);
  const page = await (await fetch(`http://127.0.0.1:${metrics.address!.port}/metrics`)).text();
  const served = new Set([...page.matchAll(/^(?:# TYPE )?(hookmq_\w+)/gm)].map(([, name]) => name));
  const named = await namedInDocuments(/\bhookmq_[a-z_]+\b/g);
  assert(named.size >= 5, `${named.size} metrics`);
  for (const name of named) assert(served.has(name), name);
});

Deno.test("every topic below $SYS that the documents name is published", async () => {
  await using broker = await startBroker();
  await broker.use(sysHook());
  const published = new Set<string>();
  using _subscription = await broker.subscribe("$SYS/#", ({ topic }) => void published.add(topic));
  const named = await namedInDocuments(/\$SYS\/broker\/\w[\w/]*/g);
  assert(named.size >= 1);
  for (const topic of named) assert(published.has(topic), topic);
});
