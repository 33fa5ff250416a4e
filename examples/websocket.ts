// MQTT for browsers: a page to chat with whoever else has it open. Page and broker are on ports of their own.
//
//   deno run --allow-net=127.0.0.1 --ignore-env examples/websocket.ts
//
// Try it: open http://127.0.0.1:8080/ in two windows. The page is websocket.html; its client is MQTT.js.
import { Broker } from "@hookmq/broker";
import mqttJs from "mqtt/dist/mqtt.min" with { type: "text" };
import page from "./websocket.html" with { type: "text" };

const [pagePort = 8080, port = 8083] = Deno.args.map(Number);

const broker = new Broker();
// Pages of the same host may connect; `origins` lets in those of others.
const { url } = await broker.listen({ transport: "ws", port, path: "/mqtt" });

const pages = Deno.serve({ hostname: "127.0.0.1", port: pagePort, onListen() {} }, (request) => {
  switch (new URL(request.url).pathname) {
    case "/":
      return new Response(page.replace("ws://127.0.0.1:8083/mqtt", url), { headers: { "content-type": "text/html" } });
    case "/mqtt.js":
      return new Response(mqttJs, { headers: { "content-type": "text/javascript" } });
    default:
      return new Response("There is nothing at this path.\n", { status: 404 });
  }
});
console.log(`listening on ${url}, page on http://127.0.0.1:${pages.addr.port}/`);
