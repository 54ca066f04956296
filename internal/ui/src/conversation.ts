// What a person sees of a session, made from its frames one by one.

export type Json = any;

/** One JSON-RPC frame of a session. */
export type Frame = { seq: number; at: number; sender: "client" | "agent"; connection: string; payload: Json };

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
  private calls = new Map<string, { method: string; at: number; replay: boolean }>();

  /** The questions nobody has answered, the oldest first. */
  get questions(): Question[] {
    return this.items.flatMap((i) => (i.kind === "tool" && i.question && i.question.answer === undefined ? [i.question] : []));
  }

  add(f: Frame) {
    const p = f.payload;
    if (p.method !== undefined) {
      if (p.id !== undefined && f.sender === "client") this.request(f);
      else if (p.method === "session/request_permission") this.asked(f);
      else if (p.method === "session/update") this.update(f, p.params?.update ?? {});
      else this.notice(f);
    } else if (f.sender === "agent") {
      this.response(f);
    } else {
      const q = this.questions.find((q) => q.connection === f.connection && q.rpcID === p.id);
      if (q) q.answer = p.result?.outcome?.optionId ?? "cancelled";
    }
  }

  private request(f: Frame) {
    const { id, method, params } = f.payload;
    const replay = method === "session/load" && this.items.length > 0;
    this.calls.set(`${f.connection} ${id}`, { method, at: f.at, replay });
    if (method === "session/prompt") {
      this.running = true;
      const text = (params?.prompt ?? []).map(blockText).join("\n");
      this.items.push({ kind: "user", key: f.seq, text });
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
      if (error) this.items.push({ kind: "error", key: f.seq, text: error.message ?? JSON.stringify(error) });
      else this.items.push({ kind: "end", key: f.seq, reason: result?.stopReason ?? "", tokens: result?.usage?.totalTokens, ms: f.at - call.at });
    } else if (error) {
      this.items.push({ kind: "error", key: f.seq, text: `${call.method}: ${error.message}` });
    } else if (result) {
      if (result.configOptions) this.options = result.configOptions;
      if (result.modes) this.modes = result.modes;
      if (result.models) this.models = result.models;
    }
  }

  private update(f: Frame, u: Json) {
    for (const call of this.calls.values()) if (call.replay) return;
    switch (u.sessionUpdate) {
      case "agent_message_chunk":
        return this.text("agent", f.seq, blockText(u.content));
      case "agent_thought_chunk":
        return this.text("thought", f.seq, blockText(u.content));
      case "user_message_chunk":
        return this.text("user", f.seq, blockText(u.content));
      case "plan": {
        const old = this.thisTurn().find((i) => i.kind === "plan");
        if (old?.kind === "plan") {
          old.entries = u.entries ?? [];
          touch(old);
        }
        else this.items.push({ kind: "plan", key: f.seq, entries: u.entries ?? [] });
        return;
      }
      case "tool_call":
      case "tool_call_update": {
        const item = this.tool(f.seq, u);
        const q = item.question;
        if (q && q.answer === undefined && item.call.status !== "pending") q.answer = "elsewhere";
        return;
      }
      case "config_option_update":
        if (u.configOptions) this.options = u.configOptions;
        return;
      case "current_mode_update":
        if (this.modes) this.modes.currentModeId = u.currentModeId;
        return;
      case "usage_update":
        this.context = { used: u.used, size: u.size };
        return;
      case "session_info_update":
        if (u.title) this.title = u.title;
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
      const why = params?.reason ?? params?.message ?? params?.stderr;
      this.items.push({ kind: "note", key: f.seq, text: ends[method] + (why ? `\n${why}` : "") });
    } else if (method === "_session/restored") {
      this.items.push({ kind: "note", key: f.seq, text: `The session came back to an agent (${params?.how}).` });
    } else if (method === "_session/prompt_resent") {
      this.calls.set(`${f.connection} ${params.request}`, { method: "session/prompt", at: f.at, replay: false });
      this.running = true;
      this.items.push({ kind: "note", key: f.seq, text: "The prompt goes to the new agent, as the one before had not read it." });
    }
  }

  private asked(f: Frame) {
    const { toolCall, options } = f.payload.params;
    const item = this.tool(f.seq, toolCall);
    item.question = { seq: f.seq, rpcID: f.payload.id, connection: f.connection, toolCall, options: options ?? [] };
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
    const known = this.items.findLast((i) => i.kind === "tool" && i.call.toolCallId === call.toolCallId);
    if (known?.kind === "tool") {
      const given = Object.fromEntries(Object.entries(call).filter(([, v]) => v !== null && v !== undefined && v !== ""));
      known.call = { ...known.call, ...given };
      touch(known);
      return known;
    }
    const item: Item & { kind: "tool" } = { kind: "tool", key: seq, call: { status: "pending", ...call } };
    this.items.push(item);
    return item;
  }

  private text(kind: "user" | "agent" | "thought", seq: number, text: string) {
    const last = this.items.at(-1);
    if (last?.kind === kind) {
      last.text += text;
      touch(last);
    } else this.items.push({ kind, key: seq, text });
  }

  /** What the agent lets one choose: its options, or the modes and models of
   * agents that have no options. */
  get choices(): Choice[] {
    const list: Choice[] = [];
    for (const o of this.options) {
      const values =
        o.type === "boolean"
          ? [{ value: "true", name: "on" }, { value: "false", name: "off" }]
          : flat(o.options ?? []).map((v) => ({ value: v.value, name: v.name ?? v.value, title: v.description }));
      if (values.length) list.push({ id: o.id, name: o.name ?? o.id, value: String(o.currentValue), values, via: "option" });
    }
    const has = (category: string) => this.options.some((o) => o.category === category);
    if (!has("model") && this.models?.availableModels?.length) {
      const values = this.models.availableModels.map((m: Json) => ({ value: m.modelId, name: m.name ?? m.modelId, title: m.description }));
      list.push({ id: "model", name: "Model", value: this.models.currentModelId, values, via: "model" });
    }
    if (!has("mode") && this.modes?.availableModes?.length) {
      const values = this.modes.availableModes.map((m: Json) => ({ value: m.id, name: m.name ?? m.id, title: m.description }));
      list.push({ id: "mode", name: "Mode", value: this.modes.currentModeId, values, via: "mode" });
    }
    return list;
  }
}

function touch(item: Item) {
  item.rev = (item.rev ?? 0) + 1;
}

function flat(values: Json[]): Json[] {
  return values.flatMap((v) => (v.options?.length ? flat(v.options) : [v]));
}

export function blockText(block: Json): string {
  switch (block?.type) {
    case "text":
      return block.text ?? "";
    case "image":
    case "audio":
      return `[${block.type}]`;
    case "resource":
      return block.resource?.text ?? `[${block.resource?.uri}]`;
    case "resource_link":
      return `[${block.name ?? block.uri}]`;
  }
  return typeof block === "string" ? block : "";
}
