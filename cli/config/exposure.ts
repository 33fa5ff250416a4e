/** What of a listener's options decides who can reach it. */
interface Exposed {
  transport?: string;
  hostname?: string;
  clientCertificateAuthority?: string;
}

/** Whether peers beyond this machine reach a listener, and need no certificate for it. */
export function isExposed({ transport, hostname = "", clientCertificateAuthority }: Exposed): boolean {
  return transport !== "unix" && !isLoopback(hostname) && clientCertificateAuthority === undefined;
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "::1" || /^127(\.\d{1,3}){3}$/.test(hostname);
}
