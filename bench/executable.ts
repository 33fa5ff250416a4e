/** Where servers are installed that a user's PATH does not have. */
const systemFolders = ["/usr/local/sbin", "/usr/sbin", "/opt/homebrew/sbin"];

/** The path of an installed program; undefined where there is none. */
export function executable(name: string): string | undefined {
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), ...systemFolders];
  return folders.map((folder) => `${folder}/${name}`).find(isFile);
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}
