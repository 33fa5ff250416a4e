import assert from "node:assert/strict";
import { runHookmq, startHookmq, startReady } from "../interop/programs.ts";
import { RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";

const listening = /^HookMQ listens on mqtt:\/\/127\.0\.0\.1:(\d+) /;

for (const command of [[], ["serve"]]) {
  Deno.test(`${["hookmq", ...command].join(" ")} serves clients and says where`, async () => {
    await using program = await startHookmq(listening, [...command, "--memory", "--port", 0]);
    const [, port] = await program.printed(listening);
    await using client = new RawClient(await Deno.connect({ port: Number(port) }));
    await client.connect();
    await client.disconnect();
  });
}

for (const [signal, name] of [["SIGINT", "Ctrl+C"], ["SIGTERM", "SIGTERM"]] as const) {
  Deno.test(`${name} shuts hookmq serve down in order, with exit code 0`, async () => {
    await using program = await startHookmq(listening, ["serve", "--memory", "--port", 0]);
    const [, port] = await program.printed(listening);
    await using client = new RawClient(await Deno.connect({ port: Number(port) }));
    await client.connect();
    program.kill(signal);
    assert.equal((await client.expect("disconnect")).reasonCode, 0x8b);
    await client.expectClosed();
    const { code, stderr } = await program.ended();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  });
}

Deno.test("hookmq serve at an address of IPv6 shows URLs that are ones", async () => {
  const args = ["serve", "--memory", "--host", "::1", "--port", 0, "--ws-port", 0];
  const pattern = /^HookMQ listens on (mqtt:\S+) [^]*\n +(ws:\S+)\n/;
  await using program = await startHookmq(pattern, args);
  const [, tcp, webSocket] = await program.printed(pattern);
  for (const url of [tcp, webSocket]) assert.equal((await runHookmq(["pub", "-L", url, "-t", "a", "-m", "x"])).code, 0);
});

Deno.test("hookmq serve shows lines to copy that reach it", async () => {
  await using program = await startHookmq(listening, ["serve", "--memory", "--port", 0]);
  const [, port, subscribe, publish] = await program.printed(
    /:(\d+) [^]*Try it: {2}deno run -A \S*cli\.ts (sub .*)\n +deno run -A \S*cli\.ts (pub .*)\n/,
  );
  const words = (line: string) => line.replaceAll("'", "").split(" ");
  assert.deepEqual(words(subscribe).slice(-2), ["-p", port]);
  await using subscriber = await startHookmq(/received SUBACK/, [...words(subscribe), "-C", 1, "-d"]);
  assert.equal((await runHookmq(words(publish))).code, 0);
  assert.equal((await subscriber.ended()).stdout, "demo/hello world\n");
});

Deno.test("hookmq serve says in one line when its port is in use", async () => {
  await using other = await startBroker();
  assert.deepEqual(await runHookmq(["serve", "--memory", "--port", other.port]), {
    code: 1,
    stdout: "",
    stderr: `hookmq: cannot listen on 127.0.0.1:${other.port}: address in use (another broker? try --port)\n`,
  });
});

for (const host of ["0.0.0.0", "::", "192.0.2.1", "broker.example"]) {
  Deno.test(`hookmq serve does not listen on ${host} without authentication`, async () => {
    const { code, stdout, stderr } = await runHookmq(["serve", "--memory", "--host", host, "--port", 0]);
    assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
    const refusal = `--host: "${host}": cannot listen beyond this machine without authentication: `;
    assert.match(stderr, new RegExp(`^${refusal}.*--user.*--anonymous.*\n$`));
  });
}

Deno.test("hookmq serve listens on any loopback address without --anonymous", async () => {
  await using program = await startHookmq(/mqtt:\/\/127\.0\.0\.2:\d+ /, [
    "serve",
    "--memory",
    "--host",
    "127.0.0.2",
    "--port",
    0,
  ]);
  program.kill("SIGTERM");
  assert.equal((await program.ended()).code, 0);
});

Deno.test("hookmq serve --anonymous listens beyond this machine, and warns of it", async () => {
  await using program = await startHookmq(/\[warning\] .*/, [
    "serve",
    "--memory",
    "--host",
    "0.0.0.0",
    "--port",
    0,
    "--anonymous",
  ]);
  await program.printed(/^HookMQ listens on mqtt:\/\/0\.0\.0\.0:\d+ /);
  await program.printed(/\[warning\] hookmq: anybody who reaches this machine can connect/);
});

Deno.test("hookmq serve logs as much as --log-level says, on stderr", async () => {
  const stderrOf = async (level: string) => {
    await using program = await startHookmq(listening, ["serve", "--memory", "--port", 0, "--log-level", level]);
    const [, port] = await program.printed(listening);
    await using client = new RawClient(await Deno.connect({ port: Number(port) }));
    await client.send({ type: "pingreq" });
    await client.expectClosed();
    program.kill("SIGTERM");
    return (await program.ended()).stderr;
  };
  assert.match(await stderrOf("debug"), /^\d{4}-\d\d-\d\dT.* \[debug\] hookmq: .*not a CONNECT/);
  assert.equal(await stderrOf("info"), "");
});

for (const fault of ["Promise.reject(new Error('oops'))", "setTimeout(() => { throw new Error('oops'); })"]) {
  Deno.test(`hookmq serve logs an error that nothing has caught, and goes on: ${fault}`, async () => {
    const script = `
      const { main } = await import(${JSON.stringify(new URL("../../cli.ts", import.meta.url).href)});
      const print = console.log;
      console.log = (greeting) => { print(greeting); ${fault} };
      Deno.exit(await main(["serve", "--memory", "--port", "0"]));`;
    const logged = /\[error\] hookmq: unexpected error: Error: oops/;
    await using program = await startReady(logged, Deno.execPath(), ["eval", script]);
    const [, port] = await program.printed(listening);
    await using client = new RawClient(await Deno.connect({ port: Number(port) }));
    await client.connect();
    await client.disconnect();
    program.kill("SIGTERM");
    assert.equal((await program.ended()).code, 0);
  });
}
