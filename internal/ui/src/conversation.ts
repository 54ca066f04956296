// What a person sees of a session, made from its frames one by one.

import { type Json, number, object, objects, text } from "./shape";

export type { Json };

/** One JSON-RPC frame of a session. */
export type Frame = { seq: number; at: number; sender: "client" | "agent" | "server"; connection: string; payload: Json };

export type Diff = { path: string; oldText: string | null; newText: string };

export type Question = {
  seq: number;
  rpcID: Json;
  connection: string;
  toolCall: Json;
  options: { optionId: string; name: string; kind: string }[];
  answer?: string;
};

/** What was said or done. An item is changed in place; rev counts the changes. */
export type Item = { key: number; rev?: number } & (
  | { kind: "user" | "agent" | "thought" | "note" | "error"; text: string }
  | { kind: "plan"; entries: { content: string; status: string }[] }
  | { kind: "tool"; call: Json; question?: Question }
  | { kind: "end"; reason: string; tokens?: number; ms: number }
);

export type Choice = { id: string; name: string; value: string; values: { value: string; name: string; title?: string }[]; via: "option" | "mode" | "model" };

export class Conversation {
  items: Item[] = [];
  running = false;
  /** The agent is gone, and with it the connection that was made to it. */
  exited = false;
  title = "";
  context?: { used: number; size: number };
  options: Json[] = [];
  private modes?: Json;
  private models?: Json;
  /** The message that the agent speaks, until it says or does something else. */
  private speaking?: { kind: string; id: string };
  private calls = new Map<string, { method: string; at: number; replay: boolean }>();

  /** The questions nobody has answered, the oldest first. */
  get questions(): Question[] {
    return this.items.flatMap((i) => (i.kind === "tool" && i.question && i.question.answer === undefined ? [i.question] : []));
  }

  add(f: Frame) {
    const p = object(f.payload);
    if (p.method !== undefined) {
      if (p.id !== undefined && f.sender === "client") this.request(f);
      else if (p.method === "session/request_permission") this.asked(f);
      else if (p.method === "session/update") this.update(f, object(p.params?.update));
      else this.notice(f);
    } else if (f.sender === "agent") {
      this.response(f);
    } else {
      const q = this.questions.find((q) => q.connection === f.connection && q.rpcID === p.id);
      if (q) q.answer = text(p.result?.outcome?.optionId) || "cancelled";
    }
  }

  private request(f: Frame) {
    const { id, method, params } = f.payload;
    const replay = method === "session/load" && this.items.length > 0;
    this.calls.set(`${f.connection} ${id}`, { method, at: f.at, replay });
    if (method === "session/prompt") {
      this.running = true;
      this.items.push({ kind: "user", key: f.seq, text: objects(params?.prompt).map(blockText).join("\n") });
    }
  }

  private response(f: Frame) {
    const key = `${f.connection} ${f.payload.id}`;
    const call = this.calls.get(key);
    if (!call) return;
    this.calls.delete(key);
    const { result, error } = f.payload;
    if (call.method === "session/prompt") {
      this.running = false;
      this.abandon();
      if (error) this.items.push({ kind: "error", key: f.seq, text: faultText(error) });
      else this.items.push({ kind: "end", key: f.seq, reason: text(result?.stopReason), tokens: number(result?.usage?.totalTokens), ms: f.at - call.at });
    } else if (error) {
      this.items.push({ kind: "error", key: f.seq, text: `${call.method}: ${faultText(error)}` });
    } else if (result) {
      if (result.configOptions) this.options = objects(result.configOptions);
      if (result.modes) this.modes = object(result.modes);
      if (result.models) this.models = object(result.models);
    }
  }

  private update(f: Frame, u: Json) {
    for (const call of this.calls.values()) if (call.replay) return;
    switch (u.sessionUpdate) {
      case "agent_message_chunk":
        return this.say("agent", f.seq, u);
      case "agent_thought_chunk":
        return this.say("thought", f.seq, u);
      case "user_message_chunk":
        return this.say("user", f.seq, u);
      case "plan": {
        this.speaking = undefined;
        const old = this.thisTurn().find((i) => i.kind === "plan");
        const entries = objects(u.entries).map((e) => ({ content: text(e.content), status: text(e.status) || "pending" }));
        if (old?.kind === "plan") {
          old.entries = entries;
          touch(old);
        }
        else this.items.push({ kind: "plan", key: f.seq, entries });
        return;
      }
      case "tool_call":
        this.speaking = undefined;
      // falls through
      case "tool_call_update": {
        const item = this.tool(f.seq, u);
        const q = item.question;
        if (q && q.answer === undefined && item.call.status !== "pending") q.answer = "elsewhere";
        return;
      }
      case "config_option_update":
        if (u.configOptions) this.options = objects(u.configOptions);
        return;
      case "current_mode_update":
        if (this.modes) this.modes.currentModeId = u.currentModeId;
        return;
      case "usage_update":
        this.context = { used: number(u.used), size: number(u.size) };
        return;
      case "session_info_update":
        this.title = text(u.title) || this.title;
        return;
    }
  }

  private notice(f: Frame) {
    const { method, params } = f.payload;
    if (method === "_session/permission_resolved") return;
    const ends: Record<string, string> = {
      "_session/turn_ended": "The turn ended without an answer of the agent.",
      "_session/stopped": "The agent of this session has stopped. The next prompt starts it again.",
      "_session/destroyed": "The session was ended.",
      "_adapter/agent_exited": "The agent has exited.",
    };
    if (ends[method]) {
      if (method === "_adapter/agent_exited") this.exited = true;
      this.running = false;
      this.abandon();
      const why = text(params?.error ?? params?.reason ?? params?.message ?? params?.stderr);
      this.items.push({ kind: "note", key: f.seq, text: ends[method] + (why ? `\n${why}` : "") });
    } else if (method === "_session/restored") {
      this.items.push({ kind: "note", key: f.seq, text: `The session came back to an agent (${text(params?.how)}).` });
    } else if (method === "_session/prompt_resent") {
      this.calls.set(`${f.connection} ${params?.request}`, { method: "session/prompt", at: f.at, replay: false });
      this.running = true;
      this.items.push({ kind: "note", key: f.seq, text: "The prompt goes to the new agent, as the one before had not read it." });
    }
  }

  private asked(f: Frame) {
    const params = object(f.payload.params);
    const toolCall = object(params.toolCall);
    const options = objects(params.options).map((o) => ({ optionId: text(o.optionId), name: text(o.name) || text(o.optionId), kind: text(o.kind) }));
    const item = this.tool(f.seq, toolCall);
    item.question = { seq: f.seq, rpcID: f.payload.id, connection: f.connection, toolCall, options };
  }

  /** Questions die with their turn. */
  private abandon() {
    for (const q of this.questions) q.answer = "cancelled";
  }

  private thisTurn(): Item[] {
    const start = this.items.findLastIndex((i) => i.kind === "user");
    return this.items.slice(Math.max(start, 0));
  }

  private tool(seq: number, call: Json) {
    const id = text(call.toolCallId);
    const known = id === "" ? undefined : this.items.findLast((i) => i.kind === "tool" && i.call.toolCallId === id);
    if (known?.kind === "tool") {
      const given = Object.fromEntries(Object.entries(call).filter(([, v]) => v !== null && v !== undefined && v !== ""));
      known.call = { ...known.call, ...given };
      touch(known);
      return known;
    }
    const item: Item & { kind: "tool" } = { kind: "tool", key: seq, call: { status: "pending", ...call, toolCallId: id } };
    this.items.push(item);
    return item;
  }

  /** A chunk without an id is of the same message as the one before it. */
  private say(kind: "user" | "agent" | "thought", seq: number, u: Json) {
    const words = blockText(u.content);
    if (words === "") return;
    const id = text(u.messageId);
    const last = this.items.at(-1);
    const same = this.speaking?.kind === kind && (id === "" || this.speaking.id === "" || this.speaking.id === id);
    this.speaking = { kind, id: (same && this.speaking?.id) || id };
    if (last?.kind === kind && same) {
      last.text += words;
      touch(last);
    } else this.items.push({ kind, key: seq, text: words });
  }

  /** Notes that a frame is not understood; it stands among the events. */
  odd(f: Frame, fault: unknown) {
    this.items.push({ kind: "note", key: f.seq, text: `Event ${f.seq} is not understood (${String(fault)}).` });
  }

  /** What the agent lets one choose: its options, or the modes and models of
   * agents that have no options. */
  get choices(): Choice[] {
    const list: Choice[] = [];
    for (const o of this.options) {
      const values =
        o.type === "boolean"
          ? [{ value: "true", name: "on" }, { value: "false", name: "off" }]
          : flat(objects(o.options)).map((v) => ({ value: text(v.value), name: text(v.name) || text(v.value), title: text(v.description) }));
      if (values.length) list.push({ id: text(o.id), name: text(o.name) || text(o.id), value: text(o.currentValue), values, via: "option" });
    }
    const has = (category: string) => this.options.some((o) => o.category === category);
    const models = objects(this.models?.availableModels);
    if (!has("model") && models.length) {
      const values = models.map((m) => ({ value: text(m.modelId), name: text(m.name) || text(m.modelId), title: text(m.description) }));
      list.push({ id: "model", name: "Model", value: text(this.models?.currentModelId), values, via: "model" });
    }
    const modes = objects(this.modes?.availableModes);
    if (!has("mode") && modes.length) {
      const values = modes.map((m) => ({ value: text(m.id), name: text(m.name) || text(m.id), title: text(m.description) }));
      list.push({ id: "mode", name: "Mode", value: text(this.modes?.currentModeId), values, via: "mode" });
    }
    return list;
  }
}

/** The members of an error's data that agents give the reason in, the more precise
 * ones first, as package acp of the server has them. */
const reasonKeys = ["message", "details", "detail", "reason", "errorMessage", "error_message", "error", "description", "cause", "data", "body", "response", "errors"];

/** The reason in the data of an error: a text, or a member of an object or of one in
 * a list, also in a text that is JSON itself. */
function reasonIn(data: unknown, depth = 0): string {
  if (depth > 6) return "";
  if (typeof data === "string") {
    if (!data.trim().startsWith("{")) return data;
    try {
      return reasonIn(JSON.parse(data), depth + 1) || data;
    } catch {
      return data;
    }
  }
  const inner = Array.isArray(data) ? objects(data) : reasonKeys.map((k) => object(data)[k]);
  for (const value of inner) {
    const reason = reasonIn(value, depth + 1);
    if (reason) return reason;
  }
  return "";
}

/** What an error of the protocol says, with the reason that many agents give in its
 * data alone. */
export function faultText(error: Json): string {
  const message = text(error?.message);
  const reason = reasonIn(error?.data).replace(/\s+/g, " ").trim().slice(0, 1000);
  if (!reason || message.includes(reason)) return message || JSON.stringify(error);
  return message ? `${message.replace(/\.$/, "")}: ${reason}` : reason;
}

function touch(item: Item) {
  item.rev = (item.rev ?? 0) + 1;
}

function flat(values: Json[]): Json[] {
  return values.flatMap((v) => (objects(v.options).length ? flat(objects(v.options)) : [v]));
}

export function blockText(block: Json): string {
  switch (block?.type) {
    case "text":
      return text(block.text);
    case "image":
    case "audio":
      return `[${block.type}]`;
    case "resource":
      return text(block.resource?.text) || `[${text(block.resource?.uri)}]`;
    case "resource_link":
      return `[${text(block.name) || text(block.uri)}]`;
  }
  return typeof block === "string" ? block : "";
}
