import assert from "node:assert/strict";
import mqttJs from "mqtt/dist/mqtt.min" with { type: "text" };
import { receive } from "../broker/receive.ts";
import { startBroker } from "../support/start_broker.ts";
import { createAuthority, issueCertificate } from "./certificates.ts";
import { Page } from "./page.ts";

const server = await issueCertificate(await createAuthority(), "server");

/** A page that says hello to whoever is there, and shows what comes. */
function chat(url: string): string {
  return `
    const client = mqtt.connect("${url}", { protocolVersion: 5, clientId: "page", reconnectPeriod: 0 });
    client.on("message", (topic, payload, { qos }) => show(topic + ": " + payload + " at QoS " + qos));
    client.on("error", (error) => show("error: " + error.message));
    client.on("close", () => show("closed"));
    const { reasonCode } = await new Promise((resolve) => client.once("connect", resolve));
    show("connected with " + reasonCode);
    await client.subscribeAsync("to/page/#", { qos: 2 });
    await client.publishAsync("from/page", "hello", { qos: 2 });
    show("published");
  `;
}

for (const transport of ["ws", "wss"] as const) {
  Deno.test(`a page in Chromium subscribes and publishes with MQTT.js over ${transport}`, async () => {
    await using broker = await startBroker();
    const { url } = await broker.listen({ transport, port: 0, path: "/mqtt", ...server });
    const client = await broker.connect();
    await client.subscribe("from/page", { qos: 2 });
    await using page = await Page.open({ libraries: [mqttJs], script: chat(url) });
    assert.equal((await receive(client)).text, "hello");
    await page.shows(/^connected with 0$/m);
    await page.shows(/^published$/m);
    for (const qos of [0, 1, 2] as const) {
      await client.publish({ topic: `to/page/${qos}`, payload: `grüße ${qos}`, qos });
      await page.shows(new RegExp(`^to/page/${qos}: grüße ${qos} at QoS ${qos}$`, "m"));
    }
    assert(broker.disconnect("page"));
    await page.shows(/^closed$/m);
  });
}

Deno.test("a browser's own WebSocket sees the subprotocol, binary frames, and why it is closed", async () => {
  await using broker = await startBroker();
  const { url } = await broker.listen({ transport: "ws", port: 0 });
  await using page = await Page.open({
    script: `
      const socket = new WebSocket("${url}", ["mqttv3.1", "mqtt"]);
      socket.binaryType = "arraybuffer";
      socket.onopen = () => {
        show("speaks " + socket.protocol);
        const connect = [0x10, 0x0d, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 1, 0x61];
        socket.send(new Uint8Array(connect.slice(0, 5)));
        socket.send(new Uint8Array(connect.slice(5)));
      };
      socket.onmessage = ({ data }) => {
        show("got " + new Uint8Array(data).join(" "));
        socket.send("text");
      };
      socket.onclose = ({ code, reason }) => show("closed with " + code + ": " + reason);
    `,
  });
  await page.shows(/^speaks mqtt$/m);
  await page.shows(/^got 32 2 0 0$/m);
  await page.shows(/^closed with 1003: MQTT needs binary frames$/m);
});

/** A page that shows whether it may connect. */
function knock(url: string): string {
  return `
    const socket = new WebSocket("${url}", "mqtt");
    socket.onopen = () => show("open");
    socket.onclose = ({ code }) => show("closed with " + code);
    show("I am " + location.origin);
  `;
}

Deno.test("a page of another host may not connect, unless its origin is listed", async () => {
  await using broker = await startBroker();
  const { url: open } = await broker.listen({ transport: "ws", port: 0, origins: ["*"] });
  const { url: closed } = await broker.listen({ transport: "ws", port: 0, origins: ["https://dashboard.example.org"] });
  await using page = await Page.open({ host: "localhost", script: knock(closed) });
  const [, origin] = await page.shows(/^I am (.*)$/m);
  assert.match(origin, /^http:\/\/localhost:\d+$/);
  await page.shows(/^closed with 1006$/m);
  assert.equal(broker.stats().connectionsAccepted, 0);
  await using other = await Page.open({ host: "localhost", script: knock(open) });
  await other.shows(/^open$/m);
});
