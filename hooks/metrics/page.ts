import type { Registry } from "prom-client";
import type { Health } from "./health.ts";

/** Answers a request for `/metrics`, `/healthz` or `/healthz/ready`. */
export async function answer(request: Request, registry: Registry, health: Health): Promise<Response> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return new Response("only GET and HEAD are allowed\n", { status: 405, headers: { allow: "GET, HEAD" } });
  }
  switch (new URL(request.url).pathname) {
    case "/metrics":
      return new Response(await registry.metrics(), { headers: { "content-type": registry.contentType } });
    case "/healthz":
      return healthPage(health, 200);
    case "/healthz/ready":
      return healthPage(health, health.summary.ready ? 200 : 503);
    default:
      return new Response("there are /metrics, /healthz and /healthz/ready\n", { status: 404 });
  }
}

function healthPage(health: Health, status: number): Response {
  return Response.json(health.summary, { status, headers: { "cache-control": "no-store" } });
}
