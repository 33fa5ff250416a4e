/// <reference lib="deno.worker" />
import { Database } from "./database.ts";
import type { LoadedChunk, Request, Response } from "./operations.ts";

// One writer of its own, so that no wait for the disk holds up the broker's event loop. It answers every request once.

let database: Database | undefined;
let loading: Iterator<LoadedChunk> | undefined;

function answer(request: Request): Response {
  switch (request.type) {
    case "open":
      database = new Database(request.path, request.maximumSize);
      return { type: "open", lastBatch: database.lastBatch() };
    case "load":
      loading ??= database!.load(request.now);
      return { type: "chunk", chunk: loading.next().value! };
    case "apply":
      database!.apply(request.number, request.operations, request.bytes);
      return { type: "done" };
    case "probe":
      database!.probe(request.size);
      return { type: "done" };
    case "close":
      database?.close();
      return { type: "done" };
  }
}

self.onmessage = ({ data }: MessageEvent<Request>) => {
  let response: Response;
  try {
    response = answer(data);
  } catch (error) {
    response = { type: "failed", message: (error as Error).message };
  }
  self.postMessage(response, response.type === "chunk" ? [response.chunk.bytes.buffer] : []);
};
