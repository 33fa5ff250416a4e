import { BrowserTab } from "../support/browser_tab.ts";

/** How a page's script shows something; what goes wrong in it is shown as well. */
const show = `
  function show(text) {
    document.body.append(Object.assign(document.createElement("p"), { textContent: text }));
  }
  addEventListener("error", ({ message }) => show(message));
  addEventListener("unhandledrejection", ({ reason }) => show(reason));
`;

/** What a page is made of. */
export interface PageOptions {
  /** The page's script, a module. What it shows is what `show(text)` is called with, a paragraph each. */
  script: string;
  /** Scripts of others that are loaded first. */
  libraries?: string[];
  /** Under which name of this machine the page is found. Default `"127.0.0.1"`. */
  host?: string;
}

/** A page in Chromium, served from a port of this machine; both end at the end of an `await using` block. */
export class Page implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #tab: BrowserTab;

  private constructor(server: Deno.HttpServer<Deno.NetAddr>, tab: BrowserTab) {
    this.#server = server;
    this.#tab = tab;
  }

  /** Opens a page. */
  static async open({ script, libraries = [], host = "127.0.0.1" }: PageOptions): Promise<Page> {
    const server = servePage(script, libraries);
    try {
      return new Page(server, await BrowserTab.open(`http://${host}:${server.addr.port}/`));
    } catch (error) {
      await server.shutdown();
      throw error;
    }
  }

  /** Resolves with the match as soon as the page's text matches. */
  shows(pattern: RegExp): Promise<RegExpMatchArray> {
    return this.#tab.shows(pattern);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tab[Symbol.asyncDispose]();
    await this.#server.shutdown();
  }
}

function servePage(script: string, libraries: string[]): Deno.HttpServer<Deno.NetAddr> {
  const loaded = libraries.map((_, index) => `<script src="/library-${index}.js"></script>`).join("");
  const html = `<!doctype html><meta charset="utf-8"><title>A page for tests</title><body>
    <script>${show}</script>${loaded}<script type="module">${script}</script>`;
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { pathname } = new URL(request.url);
    const library = /^\/library-(\d+)\.js$/.exec(pathname);
    if (pathname === "/") return new Response(html, { headers: { "content-type": "text/html" } });
    if (library === null) return new Response(null, { status: 404 });
    return new Response(libraries[Number(library[1])], { headers: { "content-type": "text/javascript" } });
  });
}
