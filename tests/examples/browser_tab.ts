import { type Program, startReady, withDeadline } from "../interop/programs.ts";

/** Keeps the browser to this machine and to this test. */
const options = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--no-proxy-server",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  "--remote-debugging-port=0",
];

/** A message of the browser's, in the Chrome DevTools Protocol. */
interface Answer {
  id?: number;
  method?: string;
  error?: { message: string };
  result?: { exceptionDetails?: { text: string } };
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
    const args = [...options, `--user-data-dir=${profile}`, "about:blank"];
    const browser = await startReady(/DevTools listening on/, "chromium", args, { env: { TMPDIR: profile } });
    const [, host] = await browser.printed(/DevTools listening on ws:\/\/([^/]+)/);
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

  /** Carries out a script in the page, and resolves when what it comes to does. */
  async evaluate(expression: string): Promise<void> {
    await this.#call("Runtime.evaluate", { expression, awaitPromise: true });
  }

  /** Resolves as soon as the page's text matches. */
  shows(pattern: RegExp): Promise<void> {
    return this.evaluate(`new Promise((resolve) => {
      const look = () => ${pattern}.test(document.body.innerText) && resolve();
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
      look();
    })`);
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

  async #call(method: string, params: Record<string, unknown> = {}): Promise<void> {
    const id = ++this.#calls;
    const answer = this.#next(id, `${method} ${JSON.stringify(params)}`);
    this.#tools.send(JSON.stringify({ id, method, params }));
    const { error, result } = await answer;
    const problem = error?.message ?? result?.exceptionDetails?.text;
    if (problem !== undefined) throw new Error(`${method} ${JSON.stringify(params)}: ${problem}`);
  }

  /** The next event of this name, or the answer to the call of this number. */
  #next(key: number | string, what = key): Promise<Answer> {
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#awaited.set(key, resolve);
    return withDeadline(promise, () => `the browser's answer to ${what}`);
  }
}
