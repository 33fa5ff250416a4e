import { type AuthPacket, type ConnackPacket, ReasonCode } from "../../codec/mod.ts";
import { type ConnectOptions, connectPacket, type RawClient } from "../support/raw_client.ts";
import type { ConformanceBroker } from "./conformance.ts";

/** A broker with an authentication method that asks "who?" and lets in who answers "me". */
export const challenging = { script: "obliging_broker.ts" };
export const METHOD = "CHALLENGE";

/** An AUTH with this text as its data, of {@linkcode METHOD} unless told otherwise. */
export function authPacket(reasonCode: number, data?: string, authenticationMethod = METHOD): AuthPacket {
  const authenticationData = data === undefined ? {} : { authenticationData: new TextEncoder().encode(data) };
  return { type: "auth", reasonCode, properties: { authenticationMethod, ...authenticationData } };
}

/** A connection that has sent a CONNECT with an authentication method. */
export async function begin(
  broker: ConformanceBroker,
  authenticationMethod: string,
  options: ConnectOptions = {},
): Promise<RawClient> {
  const client = await broker.open();
  const properties = { ...options.properties, authenticationMethod };
  await client.send(connectPacket({ clientId: broker.unique("c"), ...options, properties }));
  return client;
}

/** A client that has answered the challenge, and the packet that let it in. */
export async function authenticate(broker: ConformanceBroker): Promise<[RawClient, ConnackPacket]> {
  const client = await begin(broker, METHOD);
  await client.expect("auth");
  await client.send(authPacket(ReasonCode.ContinueAuthentication, "me"));
  return [client, await client.expect("connack")];
}
