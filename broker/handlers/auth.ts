import type { AuthPacket, AuthProperties } from "../../codec/auth.ts";
import type { ConnectPacket } from "../../codec/connect.ts";
import { protocolError, ReasonCodeError } from "../../codec/errors.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import type { Client } from "../client.ts";
import type { AuthExchange, AuthStep, HookWith } from "../hooks.ts";
import { isPromise, type MaybePromise, then } from "../maybe_promise.ts";
import { admit } from "./connect.ts";

/** A CONNECT has named an authentication method: its first step. Source: MQTT 5.0 section 4.12. */
export function beginAuthentication(client: Client, connect: ConnectPacket, method: string): MaybePromise<void> {
  client.authentication = { method, step: 0, connect };
  return takeStep(client, connect.properties?.authenticationData);
}

/** AUTH: the next step, or the first one of a re-authentication. Source: MQTT 5.0 sections 3.15 and 4.12.1. */
export function handleAuth(client: Client, packet: AuthPacket): MaybePromise<void> {
  const { authenticationMethod: method, authenticationData } = packet.properties ?? {};
  if (method === undefined) throw protocolError("AUTH without an authentication method");
  if (packet.reasonCode === ReasonCode.Reauthenticate) {
    if (client.state !== "connected" || client.authentication !== undefined) {
      throw protocolError("re-authentication before authentication is complete");
    }
    // [MQTT-4.12.1-1], and [MQTT-4.12.0-7] if there was none
    if (method !== client.authenticationMethod) {
      throw protocolError(`authentication method ${JSON.stringify(method)} is not the one of the CONNECT`);
    }
    client.authentication = { method, step: 0, connect: undefined };
    return takeStep(client, authenticationData);
  }
  if (client.authentication === undefined) throw protocolError("AUTH without an authentication under way");
  if (packet.reasonCode !== ReasonCode.ContinueAuthentication) {
    throw protocolError("AUTH from a client cannot say success"); // [MQTT-4.12.0-3]
  }
  if (method !== client.authentication.method) {
    throw protocolError(`authentication method ${JSON.stringify(method)} is not the one of the CONNECT`);
  }
  client.authentication.step += 1;
  return takeStep(client, authenticationData);
}

function takeStep(client: Client, data: Uint8Array | undefined): MaybePromise<void> {
  const { method, step, connect } = client.authentication!;
  const exchange: AuthExchange = { method, data, step, reauthentication: connect === undefined };
  return then(askHooks(client, exchange), (answer) => {
    if (client.state === "closed") return;
    if (answer === undefined) {
      throw new ReasonCodeError(
        ReasonCode.BadAuthenticationMethod,
        `authentication method ${JSON.stringify(method)} is not supported`,
      );
    }
    const properties: AuthProperties = { authenticationMethod: method };
    if (answer.data !== undefined) properties.authenticationData = answer.data;
    if (!answer.done) {
      return client.send({ type: "auth", reasonCode: ReasonCode.ContinueAuthentication, properties });
    }
    client.authentication = undefined;
    if (answer.username !== undefined) client.info = Object.assign(client.info, { username: answer.username });
    if (connect !== undefined) return admit(client, connect, answer);
    client.send({ type: "auth", reasonCode: ReasonCode.Success, properties });
  });
}

/** The answer of the first hook that knows the method. */
function askHooks(
  client: Client,
  exchange: AuthExchange,
  hooks: readonly HookWith<"onAuthenticate">[] = client.context.hooks.on.onAuthenticate,
  from = 0,
): MaybePromise<AuthStep | undefined> {
  for (let index = from; index < hooks.length; index++) {
    const answer = hooks[index].onAuthenticate(client.info, exchange);
    if (isPromise(answer)) return answer.then((step) => step ?? askHooks(client, exchange, hooks, index + 1));
    if (answer !== undefined) return answer;
  }
  return undefined;
}
