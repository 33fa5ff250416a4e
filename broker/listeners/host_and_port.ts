/** A host and a port as URLs have them, e.g. `127.0.0.1:1883` or `[::1]:1883`. */
export function hostAndPort(hostname: string, port: number): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}
