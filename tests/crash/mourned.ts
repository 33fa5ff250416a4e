import type { PersistentClient } from "./persistent_client.ts";
import type { WillRecord } from "./will_record.ts";

/** A client with a will, and what it knows of that. */
export class Mourned {
  readonly client: PersistentClient;
  /** Where it has connected to last. */
  port = 0;
  readonly #wills: WillRecord;
  #number = 0;
  /** The will of the connection that the broker has confirmed. */
  #current: string | undefined;
  /** The will that it has taken back by saying goodbye, and how many crashes there had been then. */
  #takenBack: { text: string; crashes: number } | undefined;

  constructor(client: PersistentClient, wills: WillRecord) {
    this.client = client;
    this.#wills = wills;
  }

  /** Connects with a new will; `crashes` is how many there have been. */
  async connect(port: number, crashes: number): Promise<void> {
    this.bereave();
    this.port = port;
    const text = `${this.client.clientId} ${++this.#number}`;
    this.#wills.set(text, "may");
    await this.client.connect(port, { topic: `w/${this.client.clientId}`, payload: text, qos: 2 });
    this.#current = text;
    this.#wills.set(text, "must not");
    // That the will was taken back is stored before what CONNACK has waited for.
    if (this.#takenBack?.crashes === crashes) this.#wills.set(this.#takenBack.text, "must not");
    this.#takenBack = undefined;
  }

  /** Ends the connection without a goodbye. */
  close(): void {
    this.bereave();
    this.client.close();
  }

  /** Takes the will back. */
  async disconnect(crashes: number): Promise<void> {
    if (this.#current !== undefined) {
      this.#wills.set(this.#current, "may");
      this.#takenBack = { text: this.#current, crashes };
      this.#current = undefined;
    }
    await this.client.disconnect();
  }

  /** The connection has ended without a goodbye, or is going to. */
  bereave(): void {
    if (this.#current !== undefined) this.#wills.set(this.#current, "must");
    this.#current = undefined;
  }
}
