import assert from "node:assert/strict";
import { HookChain } from "../../broker/hooks.ts";
import { connectPacket } from "../support/raw_client.ts";
import { inProject, readDocuments } from "./markdown.ts";
import { documentedPrograms, startDocumented } from "./programs.ts";
import { runDeno } from "./run_deno.ts";

Deno.test("the pieces of programs in the documents are of the right types, and run", async () => {
  const paths = (await readDocuments()).filter(({ blocks }) => blocks.some(({ language }) => language === "ts"))
    .map(({ path }) => inProject(path));
  const args = ["test", "-A", "--doc", "--config", inProject("deno.json"), ...paths];
  const { code, stdout, stderr } = await runDeno(args);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /hooks\.md#.* ok /);
});

Deno.test("the programs in the documents are of the right types", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const programs = await documentedPrograms();
    assert(programs.length >= 5, `${programs.length} programs`);
    for (const { place, text } of programs) {
      await Deno.writeTextFile(`${directory}/${place.replaceAll(/\W/g, "_")}.ts`, text);
    }
    const args = ["check", "--config", inProject("deno.json"), directory];
    const { code, stderr } = await runDeno(args);
    assert.equal(code, 0, stderr);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("docs/hooks.md names every event of a hook", async () => {
  const [{ prose, blocks }] = (await readDocuments()).filter(({ path }) => path === "docs/hooks.md");
  const text = [prose, ...blocks.map(({ text }) => text)].join("\n");
  for (const event of Object.keys(new HookChain().on)) assert.match(text, new RegExp(`\\b${event}\\b`));
});

Deno.test("docs/hooks.md: a device has its own topics, and no others", async () => {
  await using broker = await startDocumented("docs/hooks.md", "ownTopicsHook");
  const [operator, device] = [await broker.open(), await broker.open()];
  await operator.connect({ username: "console", password: "top secret" });
  await operator.subscribe("devices/#");
  const login = { username: "device", password: "not so secret" };
  await device.connect({ ...login, clientId: "one" });
  assert.deepEqual((await device.subscribe(["devices/one/#", "devices/two/#", "#"])).reasonCodes, [0, 0x87, 0x87]);
  assert.equal(await device.publish({ topic: "devices/two/state", qos: 1 }), 0x87);
  await operator.publish({ topic: "devices/one/commands", payload: "on" });
  assert.equal((await device.expect("publish")).topic, "devices/one/commands");
  assert.equal((await operator.expect("publish")).topic, "devices/one/commands");
});

for (
  const [what, options, reasonCode] of [
    ["a client id that would break its rule", { clientId: "+" }, 0x85],
    ["a will on another device's topic", { clientId: "one", will: { topic: "devices/two/state" } }, 0x87],
  ] as const
) {
  Deno.test(`docs/hooks.md: a device with ${what} is refused`, async () => {
    await using broker = await startDocumented("docs/hooks.md", "ownTopicsHook");
    const device = await broker.open();
    await device.send(connectPacket({ ...options, username: "device", password: "not so secret" }));
    assert.equal((await device.expect("connack")).reasonCode, reasonCode);
  });
}

Deno.test("docs/hooks.md: a login service says who may connect, and nobody may without it", async () => {
  const service = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const { username, password } = await request.json();
    return new Response(null, { status: username === "alice" && password === "wonderland" ? 204 : 403 });
  });
  const LOGIN_URL = `http://127.0.0.1:${service.addr.port}/login`;
  await using broker = await startDocumented("docs/hooks.md", "loginServiceHook", { env: { LOGIN_URL } });
  const answerTo = async (password: string) => {
    const client = await broker.open();
    await client.send(connectPacket({ username: "alice", password }));
    return (await client.expect("connack")).reasonCode;
  };
  assert.equal(await answerTo("wonderland"), 0);
  assert.equal(await answerTo("wrong"), 0x86);
  await service.shutdown();
  assert.equal(await answerTo("wonderland"), 0x88);
});

Deno.test("docs/hooks.md: retained messages in files are there again after kill -9, replaced and removed ones not", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    {
      await using broker = await startDocumented("docs/hooks.md", "retainedFilesHook", { cwd });
      const publisher = await broker.open();
      await publisher.connect();
      for (const [topic, payload] of [["a/ü", "old"], ["a/ü", "new"], ["b", "old"], ["b", ""], ["..", "dots"]]) {
        await publisher.publish({ topic, payload, retain: true, qos: 1 });
      }
    }
    await using broker = await startDocumented("docs/hooks.md", "retainedFilesHook", { cwd });
    const subscriber = await broker.open();
    await subscriber.connect();
    await subscriber.subscribe("#");
    const messages = [await subscriber.expect("publish"), await subscriber.expect("publish")];
    const texts = messages.map(({ topic, payload }) => `${topic}: ${new TextDecoder().decode(payload)}`);
    assert.deepEqual(texts.sort(), ["..: dots", "a/ü: new"]);
    await subscriber.expectNothing();
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

Deno.test("docs/getting_started.md: the program publishes by itself, and keeps clients from publishing plans", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    await using broker = await startDocumented("docs/getting_started.md", "new Broker", { cwd });
    const [listener, sensor] = [await broker.open(), await broker.open()];
    await listener.connect();
    await listener.subscribe("alarms");
    await sensor.connect();
    assert.equal(await sensor.publish({ topic: "plans/a", qos: 1 }), 0x87);
    await sensor.publish({ topic: "sensors/oven/temperature", payload: "200" });
    const { payload } = await listener.expect("publish");
    assert.equal(new TextDecoder().decode(payload), "sensors/oven/temperature is 200");
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

Deno.test("docs/migrating.md: the program that Aedes' one becomes lets alice in, to her own topics", async () => {
  await using broker = await startDocumented("docs/migrating.md", "new Broker");
  const [alice, stranger] = [await broker.open(), await broker.open()];
  await stranger.send(connectPacket({ username: "alice", password: "guess" }));
  assert.equal((await stranger.expect("connack")).reasonCode, 0x86);
  const haunting = await broker.open();
  await haunting.send(connectPacket({ username: "alice", password: "wonderland", will: { topic: "users/bob/a" } }));
  assert.equal((await haunting.expect("connack")).reasonCode, 0x87);
  await alice.connect({ username: "alice", password: "wonderland" });
  assert.equal(await alice.publish({ topic: "users/alice/a", qos: 1 }), 0x10);
  assert.equal(await alice.publish({ topic: "users/bob/a", qos: 1 }), 0x87);
});
