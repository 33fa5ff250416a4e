import { type Program, start, withDeadline } from "../interop/programs.ts";

/** Keeps the browser to this machine and to this test. */
const options = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-extensions",
  "--no-proxy-server",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
  // Certificates are made for each run, by an authority that no browser knows.
  "--ignore-certificate-errors",
];

/** What the page shows is sent to the test whenever it has changed. */
const show = `
  function show(text) {
    document.body.append(Object.assign(document.createElement("p"), { textContent: text }));
    fetch("/shown", { method: "POST", body: document.body.innerText });
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
  readonly #server: Deno.HttpServer;
  readonly #profile: string;
  #browser: Program | undefined;
  #shown = "";
  #changed = Promise.withResolvers<void>();

  private constructor({ script, libraries = [] }: PageOptions) {
    const loaded = libraries.map((_, index) => `<script src="/library-${index}.js"></script>`).join("");
    const html = `<!doctype html><meta charset="utf-8"><title>A page for tests</title><body>
      <script>${show}</script>${loaded}<script type="module">${script}</script>`;
    this.#profile = Deno.makeTempDirSync();
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
      const { pathname } = new URL(request.url);
      const library = /^\/library-(\d+)\.js$/.exec(pathname);
      if (pathname === "/") return new Response(html, { headers: { "content-type": "text/html" } });
      if (library !== null) {
        return new Response(libraries[Number(library[1])], { headers: { "content-type": "text/javascript" } });
      }
      if (pathname !== "/shown") return new Response(null, { status: 404 });
      this.#shown = await request.text();
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
      return new Response(null, { status: 204 });
    });
  }

  /** Opens a page. */
  static async open(pageOptions: PageOptions): Promise<Page> {
    const page = new Page(pageOptions);
    const { host = "127.0.0.1" } = pageOptions;
    const url = `http://${host}:${(page.#server.addr as Deno.NetAddr).port}/`;
    try {
      const profile = page.#profile;
      page.#browser = start("chromium", [...options, `--user-data-dir=${profile}`, url], { env: { TMPDIR: profile } });
      return page;
    } catch (error) {
      await page[Symbol.asyncDispose]();
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Error("there is no chromium on this machine: run deno run -A tests/setup.ts", { cause: error });
    }
  }

  /** Resolves with the match as soon as the page's text matches. */
  async shows(pattern: RegExp): Promise<RegExpMatchArray> {
    for (;;) {
      const match = this.#shown.match(pattern);
      if (match !== null) return match;
      await withDeadline(this.#changed.promise, () => `the page to show ${pattern}; it shows:\n${this.#shown}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#browser !== undefined) {
      await using browser = this.#browser;
      // Asked to, it ends its own processes, too.
      browser.kill("SIGTERM");
      await browser.ended();
    }
    await this.#server.shutdown();
    await Deno.remove(this.#profile, { recursive: true });
  }
}
