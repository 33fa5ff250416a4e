import { ReasonCode } from "./reason_code.ts";

/** How much of a text an error message quotes, in UTF-16 code units. */
const QUOTED = 64;

/**
 * What a refusal tells the client besides its reason code; MQTT 5 only.
 *
 * @example
 * ```ts
 * import { ReasonCode, ReasonCodeError, type ReasonCodeErrorOptions } from "@hookmq/broker/codec";
 *
 * const elsewhere: ReasonCodeErrorOptions = { serverReference: "broker2.example.org:1883" };
 * const refusal = new ReasonCodeError(ReasonCode.UseAnotherServer, "this broker is full", elsewhere);
 * console.log(refusal.serverReference); // broker2.example.org:1883
 * ```
 */
export interface ReasonCodeErrorOptions extends ErrorOptions {
  /** Where the client should go instead, with `UseAnotherServer` or `ServerMoved`, e.g. `"broker2.example.org:1883"`. */
  serverReference?: string;
}

/**
 * An error that knows how to answer the client: thrown by a hook to refuse what a client asked for.
 *
 * The message is sent to MQTT 5 clients as the reason string, so it holds nothing that the client should not see.
 *
 * @example
 * ```ts
 * import { Broker, ReasonCode, ReasonCodeError } from "@hookmq/broker";
 *
 * const broker = new Broker();
 * await broker.use({
 *   id: "read-only",
 *   onPublish() {
 *     throw new ReasonCodeError(ReasonCode.NotAuthorized, "this broker is read-only");
 *   },
 * });
 * await broker.close();
 * ```
 */
export class ReasonCodeError extends Error {
  /** What the client is told; see {@linkcode ReasonCode}. */
  readonly reasonCode: ReasonCode;
  /** Where the client should go instead, if that was given. */
  readonly serverReference: string | undefined;

  /** An error with the reason code to answer with and the words that say why. */
  constructor(reasonCode: ReasonCode, message: string, options?: ReasonCodeErrorOptions) {
    super(message, options);
    this.name = "ReasonCodeError";
    this.reasonCode = reasonCode;
    this.serverReference = options?.serverReference;
  }
}

/**
 * Bytes that are no MQTT packet, or a packet that says what it may not say. Ends the connection that sent it.
 *
 * @example
 * ```ts
 * import { decode, PacketError, reasonName } from "@hookmq/broker/codec";
 *
 * try {
 *   decode(Uint8Array.of(0, 0), 5);
 * } catch (error) {
 *   if (error instanceof PacketError) console.log(reasonName(error.reasonCode)); // malformed packet
 * }
 * ```
 */
export class PacketError extends ReasonCodeError {
  /** An error with the reason code that the specification names for the fault, and the value that was wrong. */
  constructor(reasonCode: ReasonCode, message: string) {
    super(reasonCode, message);
    this.name = "PacketError";
  }
}

/**
 * A text in quotes, of which only the beginning is shown: what a client sends can be long, and the message goes back to
 * it as a reason string.
 */
export function quote(text: string): string {
  return JSON.stringify(text.length > QUOTED ? `${text.slice(0, QUOTED)}…` : text);
}

/** Bytes that cannot be parsed according to the specification: reason code 0x81. */
export function malformed(message: string): PacketError {
  return new PacketError(ReasonCode.MalformedPacket, message);
}

/** A packet that parses, but holds data that the protocol does not allow: reason code 0x82. */
export function protocolError(message: string): PacketError {
  return new PacketError(ReasonCode.ProtocolError, message);
}
