import { withDeadline } from "../interop/programs.ts";

/** What a peer sends, as text, until it ends the connection, in whatever manner. */
export function readToEnd(conn: Deno.Conn): Promise<string> {
  return withDeadline(read(conn), () => "the end of the connection");
}

async function read(conn: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(4096);
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (let length; (length = await conn.read(buffer)) !== null;) {
      text += decoder.decode(buffer.subarray(0, length), { stream: true });
    }
  } catch {
    // A reset is an end as well.
  }
  return text;
}
