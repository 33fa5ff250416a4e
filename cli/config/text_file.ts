/**
 * Reads a text file.
 *
 * @throws {Error} If it cannot be read, or is no UTF-8 text; the message names it.
 */
export async function readTextFile(path: string): Promise<string> {
  const bytes = await Deno.readFile(path).catch((error) => {
    throw new Error(`cannot read ${path}: ${reasonOf(error)}`);
  });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error(`cannot read ${path}: it is no UTF-8 text`);
  }
}

/** Reads a file that holds one value, which a line break may follow. @throws {Error} As `readTextFile` does. */
export async function readValueFile(path: string): Promise<string> {
  return (await readTextFile(path)).replace(/\r?\n$/, "");
}

/** Whether an option that takes a file or the PEM text itself has got the text. */
export function isPem(given: string): boolean {
  return given.startsWith("-----BEGIN ");
}

function reasonOf(error: Error): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  if (error instanceof Deno.errors.IsADirectory) return "it is a directory";
  return error.message;
}
