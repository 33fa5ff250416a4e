/**
 * A broker whose hooks do what its clients ask for: what `hookmq serve` never does, or only after much ado, for the tests
 * of how it is told to a client. It listens where the environment says, as `hookmq serve` does.
 *
 * - A CONNECT with the user name `refuse 0x88`, and a message or subscription on `refuse/0x88`, is refused with that
 *   code.
 * - A message on `disconnect/0x98` has the operator disconnect its client with that code, one on `terminate` the broker
 *   end.
 * - The authentication method CHALLENGE asks "who?", and lets in who answers "me"; the method TRUST lets in everybody.
 * - Response information is `responses/` and the client id.
 */

import { loadConfig } from "../../cli/config.ts";
import { configureLogging } from "../../cli/serve/logging.ts";
import { type AuthExchange, type AuthStep, Broker, type Hook, ReasonCode, ReasonCodeError } from "../../mod.ts";

const elsewhere = "other.example:1883";

const refuser: Hook = {
  id: "refuser",
  onConnect: (_client, { username = "" }) => refuseIfAsked(username),
  onPublish: (_client, { topic }) => refuseIfAsked(topic),
  onSubscribe(_client, subscriptions) {
    for (const { topicFilter } of subscriptions) refuseIfAsked(topicFilter);
    return subscriptions;
  },
};

const operator: Hook = {
  id: "operator",
  onPublish({ clientId }, { topic }) {
    if (topic === "terminate") Deno.kill(Deno.pid, "SIGTERM");
    const reasonCode = codeIn(topic, "disconnect");
    if (reasonCode !== undefined) broker.disconnect(clientId, reasonCode, "as asked for", elsewhere);
  },
};

const authenticator: Hook = { id: "authenticator", onAuthenticate: (_client, exchange) => authenticate(exchange) };

function authenticate({ method, step, data }: AuthExchange): AuthStep | undefined {
  if (method === "TRUST") return { done: true };
  if (method !== "CHALLENGE") return undefined;
  if (step === 0) return { done: false, data: bytes("who?") };
  if (new TextDecoder().decode(data) === "me") return { done: true, data: bytes("welcome") };
  throw new ReasonCodeError(ReasonCode.NotAuthorized, "wrong answer");
}

function refuseIfAsked(text: string): void {
  const reasonCode = codeIn(text, "refuse");
  if (reasonCode === undefined) return;
  throw new ReasonCodeError(reasonCode, "as asked for", { serverReference: elsewhere });
}

/** The code of `refuse 0x88` or `refuse/0x88`. */
function codeIn(text: string, verb: string): ReasonCode | undefined {
  const [said, code] = text.split(/[ /]/);
  return said === verb ? Number(code) as ReasonCode : undefined;
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

const config = await loadConfig({ environment: Deno.env.toObject() });
configureLogging(config.log);
const broker = new Broker({ ...config, responseInformation: ({ clientId }) => `responses/${clientId}` });
for (const hook of [refuser, operator, authenticator]) await broker.use(hook);
for (const options of config.listeners) console.log(`listens on ${(await broker.listen(options)).url}`);
await new Promise<void>((resolve) => Deno.addSignalListener("SIGTERM", resolve));
await broker.close();
Deno.exit();
