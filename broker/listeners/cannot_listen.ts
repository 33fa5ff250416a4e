import { hostAndPort } from "./host_and_port.ts";

/** An error of the system, which has a code, or of the runtime, which may have none. */
type SystemError = Error & { code?: string };

const unknownHost = "unknown host (try --host)";

/** Why a port cannot be had, and what to do, by the codes of the system. */
const reasonsOfPorts: Readonly<Record<string, string>> = {
  EADDRINUSE: "address in use (another broker? try --port)",
  EADDRNOTAVAIL: "this machine has no such address (try --host)",
  EACCES: "permission denied (ports below 1024 belong to the administrator; try --port)",
  ENOTFOUND: unknownHost,
  EAI_AGAIN: unknownHost,
};

/** The same for a Unix socket. */
const reasonsOfPaths: Readonly<Record<string, string>> = {
  ENOENT: "its directory is not there (make it, or try another path)",
  EACCES:
    "permission denied (this user may not write in its directory, or use the socket that is there; try another path)",
  EINVAL: "the path is too long for a socket (try another path)",
};

/** An error for whoever wanted to listen on a port: where, why not, and what to do. */
export function cannotListenOnPort(hostname: string, port: number, error: SystemError): Error {
  // The runtime has no code for that.
  const isUnknown = error.message.startsWith("failed to lookup address information");
  return cannotListen(hostAndPort(hostname, port), error, isUnknown ? unknownHost : reasonsOfPorts[error.code ?? ""]);
}

/** The same for a Unix socket. */
export function cannotListenOnPath(path: string, error: SystemError): Error {
  return cannotListen(path, error, reasonsOfPaths[error.code ?? ""]);
}

function cannotListen(where: string, cause: SystemError, reason = cause.message): Error {
  return new Error(`cannot listen on ${where}: ${reason}`, { cause });
}
