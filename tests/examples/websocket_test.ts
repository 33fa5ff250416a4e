import assert from "node:assert/strict";
import mqtt from "mqtt";
import { withDeadline } from "../interop/programs.ts";
import { BrowserTab } from "../support/browser_tab.ts";
import { startExample } from "./start_example.ts";

Deno.test("examples/websocket.ts: a page in a browser and another client chat with each other", async () => {
  await using example = await startExample("websocket.ts", { ports: 2 });
  const [broker, page] = example.urls;
  await using tab = await BrowserTab.open(page);
  await tab.shows(/^connected$/m);
  const client = await mqtt.connectAsync(broker, { protocolVersion: 5, reconnectPeriod: 0 });
  const heard = Promise.withResolvers<string>();
  client.once("message", (_topic, payload) => heard.resolve(`${payload}`));
  await client.subscribeAsync("chat", { qos: 1, nl: true });

  await client.publishAsync("chat", "<b>hello</b> page", { qos: 1 });
  await tab.shows(/^<b>hello<\/b> page$/m);
  await tab.evaluate(`text.value = "hello client"; document.forms[0].requestSubmit()`);
  assert.equal(await withDeadline(heard.promise, () => "what the page says"), "hello client");
  await tab.shows(/^hello client$/m);
  await client.endAsync();
});
