import type { Registry } from "prom-client";
import type { Health, HealthSummary } from "./health.ts";

/** Answers a request for `/metrics`, `/healthz` or `/healthz/ready`. */
export async function answer(request: Request, registry: Registry, health: Health): Promise<Response> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return new Response("only GET and HEAD are allowed\n", { status: 405, headers: { allow: "GET, HEAD" } });
  }
  switch (new URL(request.url).pathname) {
    case "/metrics":
      return new Response(await registry.metrics(), { headers: { "content-type": registry.contentType } });
    case "/healthz":
      return healthPage(health.summary, 200);
    case "/healthz/ready": {
      const { summary } = health;
      return healthPage(summary, summary.ready ? 200 : 503);
    }
    default:
      return new Response("there are /metrics, /healthz and /healthz/ready\n", { status: 404 });
  }
}

function healthPage(summary: HealthSummary, status: number): Response {
  return Response.json(summary, { status, headers: { "cache-control": "no-store" } });
}
