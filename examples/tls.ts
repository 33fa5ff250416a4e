// MQTT over TLS, with the certificate server.pem and its key server.key from the directory that it is started in:
//
//   openssl req -x509 -newkey rsa:2048 -noenc -keyout server.key -out server.pem -days 30 -subj /CN=localhost \
//     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE
//   deno run --allow-net=127.0.0.1 --allow-read=server.pem,server.key examples/tls.ts
//
// Try it:
//
//   deno run -A cli.ts sub -h localhost --cafile server.pem -t '#' -v
import { Broker } from "@hookmq/broker";

const broker = new Broker();
// With a `clientCertificateAuthority`, only clients that have a certificate from it are let in.
const listener = await broker.listen({
  transport: "tls",
  port: Number(Deno.args[0] ?? 8883),
  certificate: "server.pem",
  key: "server.key",
});

// A renewed certificate is taken up without a restart.
Deno.addSignalListener("SIGHUP", () => listener.reload().catch((error) => console.error(error.message)));

console.log(`listening on ${listener.url}`);
