import { type Program, startReady, withDeadline } from "../interop/programs.ts";

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
  "--remote-debugging-port=0",
];

/** A message of the browser's, in the Chrome DevTools Protocol. */
interface Answer {
  id?: number;
  method?: string;
  error?: { message: string };
  result?: { exceptionDetails?: { text: string }; result?: { value?: unknown } };
}

/** A tab of Chromium, which is operated from outside; both end at the end of an `await using` block. */
export class BrowserTab implements AsyncDisposable {
  readonly #browser: Program;
  readonly #profile: string;
  readonly #tools: WebSocket;
  readonly #awaited = new Map<number | string, (answer: Answer) => void>();
  #calls = 0;

  private constructor(browser: Program, profile: string, tools: WebSocket) {
    this.#browser = browser;
    this.#profile = profile;
    this.#tools = tools;
    tools.onmessage = ({ data }) => {
      const answer: Answer = JSON.parse(data);
      this.#awaited.get((answer.id ?? answer.method)!)?.(answer);
    };
  }

  /** Opens a page, and resolves when it is loaded. */
  static async open(url: string): Promise<BrowserTab> {
    const profile = await Deno.makeTempDir();
    const [browser, host] = await startBrowser(profile);
    const targets: { type: string; webSocketDebuggerUrl: string }[] = await (await fetch(`http://${host}/json/list`))
      .json();
    const tools = new WebSocket(targets.find(({ type }) => type === "page")!.webSocketDebuggerUrl);
    const opened = Promise.withResolvers<unknown>();
    tools.onopen = opened.resolve;
    tools.onerror = opened.reject;
    await withDeadline(opened.promise, () => "the browser to be operated");
    const tab = new BrowserTab(browser, profile, tools);
    await tab.#call("Page.enable");
    const loaded = tab.#next("Page.loadEventFired");
    await tab.#call("Page.navigate", { url });
    await loaded;
    return tab;
  }

  /** Carries out a script in the page, and resolves with what it comes to when that is there. */
  evaluate(expression: string): Promise<unknown> {
    return this.#call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  }

  /** Resolves with the match as soon as the page's text matches. */
  async shows(pattern: RegExp): Promise<RegExpMatchArray> {
    const text = await this.evaluate(`new Promise((resolve) => {
      const look = () => ${pattern}.test(document.body.innerText) && resolve(document.body.innerText);
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
      look();
    })`).catch(async (error) => {
      throw new Error(`awaited ${pattern}; the page shows: ${await this.evaluate("document.body.innerText")}`, {
        cause: error,
      });
    });
    return `${text}`.match(pattern)!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#tools.close();
    {
      await using browser = this.#browser;
      // Asked to, it ends its own processes, too.
      browser.kill("SIGTERM");
      await browser.ended();
    }
    await Deno.remove(this.#profile, { recursive: true });
  }

  async #call(method: string, params: Record<string, unknown> = {}): Promise<unknown> {
    const id = ++this.#calls;
    const answer = this.#next(id, `${method} ${JSON.stringify(params)}`);
    this.#tools.send(JSON.stringify({ id, method, params }));
    const { error, result } = await answer;
    const problem = error?.message ?? result?.exceptionDetails?.text;
    if (problem !== undefined) throw new Error(`${method} ${JSON.stringify(params)}: ${problem}`);
    return result?.result?.value;
  }

  /** The next event of this name, or the answer to the call of this number. */
  #next(key: number | string, what = key): Promise<Answer> {
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#awaited.set(key, resolve);
    return withDeadline(promise, () => `the browser's answer to ${what}`);
  }
}

/** Starts the browser with this profile; returns it with the host and port at which it is operated. */
async function startBrowser(profile: string): Promise<[browser: Program, host: string]> {
  const args = [...options, `--user-data-dir=${profile}`, "about:blank"];
  const isReady = /DevTools listening on ws:\/\/([^/]+)/;
  try {
    const browser = await startReady(isReady, "chromium", args, { env: { TMPDIR: profile } });
    return [browser, (await browser.printed(isReady))[1]];
  } catch (error) {
    await Deno.remove(profile, { recursive: true });
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error("there is no chromium on this machine: run deno run -A tests/setup.ts", { cause: error });
  }
}
