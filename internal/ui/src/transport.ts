// The two ways to talk to a session: straight to its agent over the Agent
// Client Protocol, for a session that this page has opened, and through the
// sessions of the server, for every other one.

import { Problem, call, follow, send } from "./api";
import { type Choice, Conversation, faultText, type Frame, type Json, type Question } from "./conversation";
import { Value } from "./value";

export abstract class Transport {
  readonly talk = new Conversation();
  readonly frames: Frame[] = [];
  /** Changes when something arrived, at most once a picture. */
  readonly news = new Value(0);
  readonly fault = new Value("");
  abstract readonly id: string;
  abstract readonly label: string;
  protected abort?: AbortController;
  private due = false;

  protected take(frame: Frame) {
    this.frames.push(frame);
    try {
      this.talk.add(frame);
    } catch (fault) {
      this.talk.odd(frame, fault);
    }
    if (this.due) return;
    this.due = true;
    const tell = () => {
      this.due = false;
      this.news.set(this.news.get() + 1);
    };
    // A hidden page paints nothing, but its title tells of questions.
    if (document.hidden) setTimeout(tell, 100);
    else requestAnimationFrame(tell);
  }

  protected run(stream: (signal: AbortSignal) => Promise<void>) {
    if (this.abort) return;
    const abort = (this.abort = new AbortController());
    stream(abort.signal).catch((fault) => this.fault.set(String(fault.message)));
  }

  /** Stops following; what was seen stays. */
  leave() {
    this.abort?.abort();
    this.abort = undefined;
  }

  /** Starts following, or goes on. */
  abstract enter(): void;
  abstract prompt(text: string): Promise<void>;
  abstract cancel(): Promise<void>;
  abstract answer(q: Question, optionId: string): Promise<void>;
  abstract choose(c: Choice, value: string): Promise<void>;
}

/** A connection of this page to an agent of its own. */
export class AgentTransport extends Transport {
  id = "";
  readonly label: string;
  private readonly connection = `inspector-${crypto.randomUUID()}`;
  private lastCall = 0;
  private cursor = "0";
  private turn?: { wait: AbortController; from: number; id: number };

  private readonly agent: string;
  readonly cwd: string;

  constructor(agent: string, cwd: string) {
    super();
    this.agent = agent;
    this.cwd = cwd;
    this.label = agent;
  }

  /** Starts the agent and opens a session in the folder. */
  async open(): Promise<void> {
    const client = { name: "sandbox-agent-inspector", version: "1" };
    await this.request("initialize", { protocolVersion: 1, clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false }, clientInfo: client });
    this.enter();
    const session = await this.request("session/new", { cwd: this.cwd, mcpServers: [] });
    this.id = session.sessionId;
  }

  enter() {
    this.run((signal) =>
      follow(this.path, this.cursor, (e) => {
        this.cursor = e.id || this.cursor;
        if (e.event === "message") this.note("agent", JSON.parse(e.data));
        this.letGo();
      }, signal),
    );
  }

  async prompt(text: string) {
    this.turn = { wait: new AbortController(), from: this.frames.length + 1, id: this.lastCall + 1 };
    await this.request("session/prompt", { sessionId: this.id, prompt: [{ type: "text", text }] }, this.turn.wait.signal);
  }

  /** Whether the newest prompt has come to the agent, as the server tells it. */
  async delivered(): Promise<boolean> {
    const session = `v1/sessions/${encodeURIComponent(this.id)}`;
    const { lastEvent } = await call<{ lastEvent: number }>("GET", session);
    const { events } = await call<Json>("GET", `${session}/events?after=${Math.max(0, lastEvent - 50)}&limit=50`);
    return events.some((e: Json) => e.connectionId === this.connection && e.payload.method === "session/prompt" && e.payload.id === this.turn?.id);
  }

  // A prompt is answered at the end of its turn, and a browser holds only a few
  // requests to one server. Once the agent is at work the stream tells its end.
  private letGo() {
    if (this.turn && this.frames.length > this.turn.from) this.turn.wait.abort();
  }

  async cancel() {
    await this.post({ jsonrpc: "2.0", method: "session/cancel", params: { sessionId: this.id } });
  }

  async answer(q: Question, optionId: string) {
    await this.post({ jsonrpc: "2.0", id: q.rpcID, result: { outcome: { outcome: "selected", optionId } } });
  }

  async choose(c: Choice, value: string) {
    const sessionId = this.id;
    if (c.via === "mode") await this.request("session/set_mode", { sessionId, modeId: value });
    else if (c.via === "model") await this.request("session/set_model", { sessionId, modelId: value });
    else await this.request("session/set_config_option", { sessionId, configId: c.id, value });
  }

  close(): Promise<unknown> {
    this.leave();
    return call("DELETE", this.path);
  }

  private get path() {
    return `v1/acp/${this.connection}`;
  }

  private note(sender: Frame["sender"], payload: Json) {
    this.take({ seq: this.frames.length + 1, at: Date.now(), sender, connection: this.connection, payload });
  }

  /** Sends a request and returns its result. Faults of a prompt are seen in the
   * stream; other callers get them thrown. */
  private async request(method: string, params: Json, signal?: AbortSignal): Promise<Json> {
    const id = ++this.lastCall;
    const reply = await this.post({ jsonrpc: "2.0", id, method, params }, signal).catch((fault) => {
      // A turn that is under way survives its request.
      const working = this.turn !== undefined && this.frames.length > this.turn.from;
      if (method === "session/prompt" && (signal?.aborted || (fault.status === 0 && working))) return undefined;
      // The agent will not answer, so the turn ends here.
      this.note("agent", { jsonrpc: "2.0", id, error: { code: 0, message: fault.message, data: { source: "inspector" } } });
      throw fault;
    });
    if (reply?.error && method !== "session/prompt") throw new Problem(0, String(reply.error.code), faultText(reply.error));
    return reply?.result;
  }

  private async post(frame: Json, signal?: AbortSignal): Promise<Json> {
    this.note("client", frame);
    // Later frames must not start another agent, which would not know the session.
    const start = frame.method === "initialize" ? `?agent=${encodeURIComponent(this.agent)}` : "";
    const response = await send("POST", this.path + start, { body: frame, signal });
    const text = await response.text();
    return text === "" ? undefined : JSON.parse(text);
  }
}

/** A session of the server, whoever opened it. */
export class SessionTransport extends Transport {
  readonly id: string;
  readonly label = "";
  private cursor = "0";

  constructor(id: string) {
    super();
    this.id = id;
  }

  enter() {
    this.run((signal) =>
      follow(`${this.path}/events/stream?after=0`, this.cursor, (e) => {
        this.cursor = e.id || this.cursor;
        if (e.event !== "message") return;
        const { eventIndex, createdAt, sender, connectionId, payload } = JSON.parse(e.data);
        this.take({ seq: eventIndex, at: createdAt, sender, connection: connectionId, payload });
      }, signal),
    );
  }

  async prompt(text: string) {
    await call("POST", `${this.path}/prompt`, { prompt: text }, { Prefer: "respond-async" });
  }

  async cancel() {
    await call("POST", `${this.path}/cancel`);
  }

  async answer(q: Question, optionId: string) {
    const { permissions } = await call<Json>("GET", `${this.path}/permissions`);
    const asked = permissions.find((p: Json) => p.event === q.seq);
    if (!asked) throw new Problem(0, "", "This question was answered elsewhere.");
    await call("POST", `${this.path}/permissions/${asked.id}`, { optionId });
  }

  async choose(c: Choice, value: string) {
    if (c.via === "mode") await call("POST", `${this.path}/mode`, { mode: value });
    else if (c.via === "model") await call("POST", `${this.path}/model`, { model: value });
    else await call("POST", `${this.path}/config-options`, { configId: c.id, value });
  }

  private get path() {
    return `v1/sessions/${encodeURIComponent(this.id)}`;
  }
}

/** Sessions that were looked at, by id, so that going back to one is quick. */
const open = new Map<string, Transport>();

export function keep(t: Transport) {
  open.set(t.id, t);
}

export function transport(id: string): Transport {
  let t = open.get(id);
  if (!t) keep((t = new SessionTransport(id)));
  return t;
}

export function forget(id: string) {
  open.get(id)?.leave();
  open.delete(id);
}
