/** What an operator can do about an error of SQLite, told by its text: not every error has a code in this runtime. */
export function explanation(message: string): string {
  if (message === "database is locked") {
    return "another process is using it (another broker? give each its own with --data)";
  }
  if (message.startsWith("unable to open database file")) {
    return "it cannot be opened: it must be a file, in a directory that exists, which this user may read and write";
  }
  if (message === "attempt to write a readonly database") return "this user may not write it";
  if (/file is not a .*database|malformed/.test(message)) {
    return `not a HookMQ database, or damaged (${message}): restore a backup, or move it away to start afresh`;
  }
  return message;
}
