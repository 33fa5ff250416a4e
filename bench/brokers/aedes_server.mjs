/**
 * Aedes as a program of its own: `node aedes_server.mjs <configuration.json>` runs until SIGTERM. The configuration is a
 * `Setup` with the ports, and the directory in which the packages are installed.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer as createTcpServer } from "node:net";
import { createServer as createHttpServer } from "node:http";
import process from "node:process";
import { createServer as createTlsServer } from "node:tls";
import { pathToFileURL } from "node:url";

const { ports, transport, secured, certificate, modules } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const require = createRequire(`${modules}/`);
const { Aedes } = await import(pathToFileURL(require.resolve("aedes")).href);

const allowed = (topic) => topic.startsWith("bench/");
const security = secured
  ? {
    authenticate: (_client, username, password, done) =>
      done(null, username === "bench" && password?.toString() === "secret"),
    authorizePublish: (_client, packet, done) => done(allowed(packet.topic) ? null : new Error("not allowed")),
    authorizeSubscribe: (_client, subscription, done) => done(null, allowed(subscription.topic) ? subscription : null),
    authorizeForward: (_client, packet) => (allowed(packet.topic) ? packet : null),
  }
  : {};
const broker = await Aedes.createBroker(security);

for (const port of ports) createServer().listen(port, "127.0.0.1");
process.once("SIGTERM", () => process.exit(0));

function createServer() {
  switch (transport) {
    case "tls": {
      const { certificateFile, keyFile } = certificate;
      return createTlsServer({ cert: readFileSync(certificateFile), key: readFileSync(keyFile) }, broker.handle);
    }
    case "ws": {
      const { WebSocketServer, createWebSocketStream } = require("ws");
      const server = createHttpServer();
      const sockets = new WebSocketServer({ server, perMessageDeflate: false });
      sockets.on("connection", (socket, request) => broker.handle(createWebSocketStream(socket), request));
      return server;
    }
    default:
      return createTcpServer({ noDelay: true }, broker.handle);
  }
}
