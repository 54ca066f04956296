// Calls of the server: address, token, JSON requests and event streams.

import { Value } from "./value";

/** Where the API is: the folder above the one this page is in. */
export const base = new URL("..", document.baseURI).href;

const tokenKey = "sandbox-agent.token";
const headersKey = "sandbox-agent.headers";

/** How the server is reached at the moment. */
export type Connection = "connecting" | "live" | "offline" | "unauthorized";
export const connection = new Value<Connection>("connecting");

/** A problem document of the server, or a fault of the network (status 0). */
export class Problem extends Error {
  status: number;
  code: string;
  constructor(status: number, code: string, text: string) {
    super(text);
    this.status = status;
    this.code = code;
  }
}

/** Takes token and headers from the address into the session's storage, and out
 * of the address, where they would stay in the history. */
export function takeCredentials() {
  const url = new URL(location.href);
  const given = (name: string, key: string) => {
    const value = url.searchParams.get(name);
    if (value !== null) sessionStorage.setItem(key, value);
    url.searchParams.delete(name);
  };
  given("token", tokenKey);
  given("headers", headersKey);
  const home = new URL(document.baseURI);
  if (url.pathname !== home.pathname && url.hash === "") {
    url.hash = "#/" + url.pathname.slice(home.pathname.length);
  }
  url.pathname = home.pathname;
  if (url.href !== location.href) history.replaceState(null, "", url.href);
}

export function setToken(token: string) {
  sessionStorage.setItem(tokenKey, token);
}

export function hasToken(): boolean {
  return Boolean(sessionStorage.getItem(tokenKey));
}

function headers(more: Record<string, string>): Record<string, string> {
  let own = {};
  try {
    own = JSON.parse(sessionStorage.getItem(headersKey) ?? "{}");
  } catch {
    // What is no JSON is no header.
  }
  const token = sessionStorage.getItem(tokenKey);
  return { "X-Client-Name": "inspector", ...own, ...(token ? { Authorization: `Bearer ${token}` } : {}), ...more };
}

async function problem(response: Response): Promise<Problem> {
  const text = await response.text();
  try {
    const p = JSON.parse(text);
    return new Problem(response.status, p.code ?? "", p.detail ?? p.title ?? text);
  } catch {
    return new Problem(response.status, "", text || response.statusText);
  }
}

/** Sends a request to a path such as "v1/health" and returns the answer, whose
 * status is below 400. */
export async function send(method: string, path: string, options: { body?: unknown; headers?: Record<string, string>; signal?: AbortSignal } = {}): Promise<Response> {
  const json: Record<string, string> = options.body === undefined ? {} : { "Content-Type": "application/json" };
  let response: Response;
  try {
    response = await fetch(base + path, {
      method,
      headers: headers({ ...json, ...options.headers }),
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      signal: options.signal,
    });
  } catch (fault) {
    if (options.signal?.aborted) throw fault;
    connection.set("offline");
    throw new Problem(0, "offline", "The server does not answer.");
  }
  if (response.status === 401) connection.set("unauthorized");
  else connection.set("live");
  if (!response.ok) throw await problem(response);
  return response;
}

/** Sends a request and returns the JSON of its answer, undefined if it has none. */
export async function call<T>(method: string, path: string, body?: unknown, more?: Record<string, string>): Promise<T> {
  const response = await send(method, path, { body, headers: more });
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

export type StreamEvent = { event: string; id: string; data: string };

/** Reads server-sent events until the body ends. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamEvent> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  let event = { event: "message", id: "", data: [] as string[] };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop()!;
    for (let line of lines) {
      if (line.endsWith("\r")) line = line.slice(0, -1);
      if (line === "") {
        if (event.data.length) yield { ...event, data: event.data.join("\n") };
        event = { event: "message", id: "", data: [] };
        continue;
      }
      const colon = line.indexOf(":");
      const name = colon < 0 ? line : line.slice(0, colon);
      const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name === "data") event.data.push(text);
      else if (name === "event") event.event = text;
      else if (name === "id") event.id = text;
    }
  }
}

// A browser holds six connections to one server, for all of its pages together.
// So a page that nobody sees only looks at its streams for a moment, and away for
// some more, in milliseconds.
const glance = 1000;
const away = 5000;

/** A signal that ends with another one, and when the page has not been seen for a
 * moment; drop gives it back. */
function whileSeen(signal: AbortSignal): { signal: AbortSignal; drop: () => void } {
  const unseen = new AbortController();
  let timer = 0;
  const changed = () => {
    clearTimeout(timer);
    if (document.hidden) timer = window.setTimeout(() => unseen.abort(), glance);
  };
  changed();
  document.addEventListener("visibilitychange", changed);
  const drop = () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", changed);
  };
  return { signal: AbortSignal.any([signal, unseen.signal]), drop };
}

/** Waits some milliseconds, or until the page is seen again. */
function rest(ms: number): Promise<void> {
  return new Promise((done) => {
    const over = () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", over);
      done();
    };
    const timer = setTimeout(over, ms);
    document.addEventListener("visibilitychange", over);
  });
}

/** Follows a stream for good: after an interruption it goes on behind the last
 * event it had, so none is lost or seen twice. It ends when signal does, when
 * take returns false, or when the server refuses. */
export async function follow(path: string, after: string, take: (e: StreamEvent) => boolean | void, signal: AbortSignal): Promise<void> {
  let last = after;
  for (let wait = 250; !signal.aborted; wait = Math.min(wait * 2, 4000)) {
    const seen = whileSeen(signal);
    try {
      const response = await send("GET", path, {
        headers: { Accept: "text/event-stream", ...(last === "" ? {} : { "Last-Event-ID": last }) },
        signal: seen.signal,
      });
      for await (const e of events(response.body!)) {
        if (signal.aborted) return;
        if (e.id) last = e.id;
        wait = 250;
        if (take(e) === false) return;
      }
    } catch (fault) {
      if (signal.aborted) return;
      if (fault instanceof Problem && fault.status >= 400 && fault.status < 500) throw fault;
    } finally {
      seen.drop();
    }
    await rest(document.hidden ? away : wait);
  }
}
