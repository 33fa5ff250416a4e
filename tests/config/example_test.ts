import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "yaml";
import { loadConfig } from "../../cli/config.ts";
import { exampleConfig } from "../../cli/config/example.ts";
import { configOption, isGroup, type Option } from "../../cli/config/option.ts";

const file = fileURLToPath(new URL("../../hookmq.yaml", import.meta.url));

Deno.test("hookmq.yaml is up to date: deno run -A cli.ts check --example > hookmq.yaml", async () => {
  assert.equal(await Deno.readTextFile(file), exampleConfig());
});

Deno.test("hookmq.yaml is valid, and says what holds without it", async () => {
  const { listeners: [{ transport, ...listener }, ...others], ...config } = await loadConfig({ file, environment: {} });
  const { listeners, ...defaults } = await loadConfig({ environment: {} });
  assert.deepEqual({ transport, others }, { transport: "tcp", others: [] });
  assert.deepEqual(config, defaults);
  assert.deepEqual([listener], listeners);
});

Deno.test("hookmq.yaml lists every option with its default, and is valid with all of them set but one store", async () => {
  const text = (await Deno.readTextFile(file)).replaceAll(/^( *)#(?=\S)/gm, "$1");
  const directory = await Deno.makeTempDir();
  const { hooks: { sqlite: _sqlite, redis: _redis, cluster, ...hooks }, ...others } = parse(text);
  // Either a single server, or a Redis Cluster.
  delete cluster.addrs;
  await Deno.writeTextFile(`${directory}/hookmq.yaml`, stringify({ ...others, hooks: { ...hooks, cluster } }));
  await loadConfig({ file: `${directory}/hookmq.yaml`, environment: {}, readFiles: false });
  await Deno.remove(directory, { recursive: true });

  const seen: string[] = [];
  compare(configOption(), parse(text), "");
  assert(seen.includes("hooks.acl.rules.0.topicFilter") && seen.length > 100, `${seen.length} options`);

  /** Looks for every option in the example, however deep it is. */
  function compare(option: Option, value: unknown, path: string): void {
    assert.notEqual(value, undefined, `${path} is missing`);
    seen.push(path);
    const below = (name: string | number) => path === "" ? `${name}` : `${path}.${name}`;
    if (option.properties !== undefined) {
      assert(isGroup(value), `${path} is no group`);
      assert.deepEqual(Object.keys(value), Object.keys(option.properties), `the options of ${path}`);
      for (const [name, part] of Object.entries(option.properties)) compare(part, value[name], below(name));
      return;
    }
    if (option.items?.properties !== undefined || option.items?.oneOf !== undefined) {
      assert(Array.isArray(value), `${path} is no list`);
      const variants = option.items.oneOf ?? [option.items];
      assert.equal(value.length, variants.length, `the entries of ${path}`);
      for (const [index, variant] of variants.entries()) compare(variant, value[index], below(index));
      return;
    }
    assert.equal(typeof option.description, "string", `${path} is not described`);
    const fixed = option.default ?? option.const;
    if (fixed !== undefined) assert.deepEqual(value, fixed, path);
  }
});
