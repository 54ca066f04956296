// One session: what was said and done, questions, and the box for prompts.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Choice, Item, Json, Question } from "./conversation";
import { type Problem, call } from "./api";
import { blockText } from "./conversation";
import { filesAt } from "./files";
import { Frames } from "./frames";
import { Guard } from "./guard";
import { alone, typing } from "./keys";
import { objects, text } from "./shape";
import { Markdown, DiffView, duration, size } from "./text";
import { AgentTransport, type Transport, forget, transport as transportOf } from "./transport";
import { useValue } from "./value";

export type SessionRecord = { id: string; agentSessionId: string; agent: string; title: string; cwd: string; status: string; reason?: string; updatedAt: number; pendingPermissions: number };

/** The permission request whose buttons are in sight, and the time, as events have
 * it, at which they came there: a key that was pressed earlier is no reply. */
type Visible = { question: Question; since: number };

export function Chat({ transport, record, tab, onChange }: { transport: Transport; record?: SessionRecord; tab: string; onChange: () => void }) {
  useValue(transport.news);
  const streamFault = useValue(transport.fault);
  const [fault, setFault] = useState("");
  const talk = transport.talk;
  const ask = talk.questions[0];

  useEffect(() => {
    transport.enter();
    return () => transport.leave();
  }, [transport]);

  // The server can bring a session back; this page's own connection cannot.
  const lost = (talk.exited || streamFault !== "") && transport instanceof AgentTransport && record !== undefined;
  useEffect(() => {
    if (!lost) return;
    forget(transport.id);
    onChange();
  }, [lost]);

  const attempt = (work: Promise<unknown>) => {
    setFault("");
    work.catch((f) => setFault(f.message));
  };
  // When the agent was gone before the prompt came, the server brings both together.
  const prompt = async (text: string) => {
    try {
      await transport.prompt(text);
    } catch (f) {
      const reached = !(transport instanceof AgentTransport) || (f as Problem).status < 400 || (await transport.delivered().catch(() => true));
      if (reached) throw f;
      forget(transport.id);
      onChange();
      await transportOf(transport.id).prompt(text);
    }
  };
  const answer = (q: Question, option: string) => attempt(transport.answer(q, option));

  const visible = useRef<Visible | undefined>(undefined);
  // A layout effect, so that no key is missed between the picture and its effects.
  useLayoutEffect(() => {
    const key = (e: KeyboardEvent) => {
      if (e.isComposing || e.ctrlKey || e.metaKey || e.altKey) return;
      if (e.key === "Escape" && talk.running) attempt(transport.cancel());
      if (typing(e)) return;
      const option = alone(e) ? ask?.options[Number(e.key) - 1] : undefined;
      if (option && visible.current?.question === ask && visible.current.since < e.timeStamp) {
        e.preventDefault();
        answer(ask, option.optionId);
      }
      if (e.key === "/") {
        e.preventDefault();
        document.getElementById("prompt")?.focus();
      }
    };
    document.addEventListener("keydown", key);
    return () => document.removeEventListener("keydown", key);
  }, [transport, ask, talk.running]);

  if (streamFault !== "" && transport.frames.length === 0) {
    return (
      <section class="session">
        <header class="bar"><h1>Session</h1></header>
        <p class="fault" role="alert">{streamFault}</p>
      </section>
    );
  }
  const title = record?.title || talk.title || "New session";
  const here = `#/sessions/${transport.id}`;
  return (
    <section class="session">
      <header class="bar">
        <div class="titles">
          <h1>{title}</h1>
          <span class="dim">{record?.agent ?? transport.label}{record && <> · <a href={filesAt(record.cwd)}>{record.cwd}</a></>}</span>
        </div>
        <nav class="tabs" aria-label="View">
          <a href={here} aria-current={tab === "" ? "page" : undefined}>Chat</a>
          <a href={`${here}/events`} aria-current={tab === "events" ? "page" : undefined}>
            Events <span class="count">{transport.frames.length}</span>
          </a>
        </nav>
        {record && record.status !== "destroyed" && <End end={() => attempt(call("DELETE", `v1/sessions/${encodeURIComponent(record.id)}`).then(onChange))} />}
      </header>
      {tab === "events" ? <Frames frames={transport.frames} /> : <Messages transport={transport} answer={answer} visible={visible} />}
      {(fault || streamFault) && <p class="fault" role="alert">{fault || streamFault}</p>}
      {tab === "" && <Composer transport={transport} prompt={prompt} attempt={attempt} status={record?.status} />}
    </section>
  );
}

/** Asks once more before it ends the session. */
function End({ end }: { end: () => void }) {
  const [sure, setSure] = useState(false);
  if (!sure) return <button type="button" onClick={() => setSure(true)}>End…</button>;
  return (
    <button type="button" class="danger" autoFocus onBlur={() => setSure(false)} onClick={() => { setSure(false); end(); }}>End for good</button>
  );
}

type Asking = { answer: (q: Question, option: string) => void; visible: { current?: Visible } };

function Messages({ transport, answer, visible }: { transport: Transport } & Asking) {
  const { items, running, questions } = transport.talk;
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const ids = useRef(transport.id);
  if (ids.current !== transport.id) {
    ids.current = transport.id;
    atEnd.current = true;
  }
  useLayoutEffect(() => {
    if (atEnd.current) box.current!.scrollTop = box.current!.scrollHeight;
  });
  useEffect(() => {
    const element = box.current!;
    const resized = new ResizeObserver(() => {
      if (atEnd.current) element.scrollTop = element.scrollHeight;
    });
    resized.observe(element);
    return () => resized.disconnect();
  }, []);
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current!;
    atEnd.current = scrollHeight - scrollTop - clientHeight < 60;
  };
  const live = running && questions.length === 0;
  return (
    <div class="messages" ref={box} onScroll={scrolled} role="log" aria-live="polite" tabIndex={0} aria-label="Conversation">
      <div class="column">
        {items.length === 0 && <Welcome />}
        {items.map((item, i) => (
          <Guard key={item.key} what={`What came with event ${item.key}`} version={item.rev}>
            <Entry item={item} last={live && i === items.length - 1} first={questions[0]} answer={answer} visible={visible} />
          </Guard>
        ))}
        {live && <p class="working"><span class="spinner" aria-hidden="true" /> working…</p>}
      </div>
    </div>
  );
}

function Welcome() {
  return (
    <div class="empty">
      <h2>Give the agent a task</h2>
      <p class="dim">It works in the session's folder, shows each step here, and asks before it changes something.</p>
    </div>
  );
}

type EntryProps = { item: Item; last: boolean; first?: Question } & Asking;

/** A message that is rendered again only when it has changed, for long
 * sessions. */
function Entry(props: EntryProps) {
  const { item, last, first } = props;
  const asked = item.kind === "tool" && item.question;
  return useMemo(() => <Message {...props} />, [item, item.rev, last, asked && asked === first, asked && asked.answer]);
}

function Message({ item, last, first, answer, visible }: EntryProps) {
  switch (item.kind) {
    case "user":
      return <div class="user">{item.text}</div>;
    case "agent":
      return <Markdown text={item.text} />;
    case "thought":
      return (
        <details class="thought" open={last}>
          <summary>Thought <span class="first-line">{item.text.split("\n")[0].slice(0, 200)}</span></summary>
          <Markdown text={item.text} />
        </details>
      );
    case "plan":
      return (
        <div class="plan">
          <h3>Plan</h3>
          <ul>{item.entries.map((e) => <li class={e.status}><span aria-label={e.status.replace("_", " ")} class="check" />{e.content}</li>)}</ul>
        </div>
      );
    case "tool":
      return <Tool call={item.call} question={item.question} current={item.question === first} answer={answer} visible={visible} />;
    case "end":
      return <p class="end">{[item.reason === "end_turn" ? "done" : item.reason.replace("_", " "), duration(item.ms), item.tokens && `${item.tokens.toLocaleString()} tokens`].filter(Boolean).join(" · ")}</p>;
    case "error":
      return <p class="fault">{item.text}</p>;
    case "note":
      return <p class="note">{item.text}</p>;
  }
}

const states: Record<string, string> = { pending: "waiting", in_progress: "running", completed: "done", failed: "failed" };

function Tool({ call, question, current, answer, visible }: { call: Json; question?: Question; current: boolean } & Asking) {
  const content: Json[] = objects(call.content ?? question?.toolCall.content);
  const asking = question !== undefined && question.answer === undefined;
  const command = typeof call.rawInput?.command === "string" ? call.rawInput.command : "";
  const [title, status] = [text(call.title), text(call.status)];
  const bare = content.length === 0 && !command;
  return (
    <div class={`tool ${asking ? "asking" : ""}`}>
      <div class="tool-head">
        <span class={`state ${asking ? "asked" : status}`} />
        <span class="tool-kind">{text(call.kind) || "tool"}</span>
        <span class="tool-title">{title || text(call.toolCallId) || "Call without a name"}</span>
        <span class="dim">{states[status] ?? status}</span>
      </div>
      {command && !title.includes(command) && <pre class="command">$ {command}</pre>}
      {content.map((c) => <ToolContent content={c} />)}
      {bare && call.rawInput && (
        <details><summary>Input</summary><pre>{JSON.stringify(call.rawInput, null, 2)}</pre></details>
      )}
      {asking && <Ask title={title} question={question} current={current} answer={answer} visible={visible} />}
      {question && !asking && <p class="answered">{answered(question)}</p>}
    </div>
  );
}

/** The part of the buttons that is to be seen. */
const inSight = 0.9;

/** The buttons of a permission request. Those of the current one have keys as soon
 * as they are in sight. */
function Ask({ title, question, current, answer, visible }: { title?: string; question: Question; current: boolean } & Asking) {
  const row = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!current) return;
    const seen = (entries: IntersectionObserverEntry[]) => {
      const { intersectionRatio, time } = entries.at(-1)!;
      visible.current = intersectionRatio >= inSight ? { question, since: time } : undefined;
    };
    const sight = new IntersectionObserver(seen, { threshold: inSight });
    sight.observe(row.current!);
    return () => {
      sight.disconnect();
      visible.current = undefined;
    };
  }, [question, current]);
  return (
    <div class="ask" role="group" aria-label={`Permission: ${title}`} ref={row}>
      <span>Allow this?</span>
      {question.options.map((o, i) => (
        <button type="button" class={o.kind.startsWith("allow") ? (i === 0 ? "primary" : "") : "danger"} aria-keyshortcuts={current ? `${i + 1}` : undefined} onClick={() => answer(question, o.optionId)}>
          {o.name}{current && <kbd aria-hidden="true">{i + 1}</kbd>}
        </button>
      ))}
    </div>
  );
}

function answered(q: Question): string {
  const option = q.options.find((o) => o.optionId === q.answer);
  if (option) return `Answered: ${option.name}`;
  return q.answer === "elsewhere" ? "Answered by another client" : "Not answered: the turn ended";
}

function ToolContent({ content }: { content: Json }) {
  if (content.type === "diff") return <DiffView path={text(content.path)} oldText={content.oldText == null ? null : text(content.oldText)} newText={text(content.newText)} />;
  if (content.type === "content" && content.content?.type === "text") return <pre class="output">{blockText(content.content).replace(/^```\w*\n|\n```\s*$/g, "")}</pre>;
  if (content.type === "terminal") return <p class="dim">terminal {text(content.terminalId)}</p>;
  return <pre class="output">{blockText(content.content) || JSON.stringify(content, null, 2)}</pre>;
}

function Composer({ transport, prompt, attempt, status }: { transport: Transport; prompt: (text: string) => Promise<void>; attempt: (work: Promise<unknown>) => void; status?: string }) {
  const [text, setText] = useState("");
  const box = useRef<HTMLTextAreaElement>(null);
  const { running, choices, context } = transport.talk;
  const over = status === "destroyed";

  useEffect(() => box.current?.focus(), [transport]);
  useLayoutEffect(() => {
    box.current!.style.height = "auto";
    box.current!.style.height = `${Math.min(box.current!.scrollHeight, 240)}px`;
  }, [text]);

  const submit = (e: Event) => {
    e.preventDefault();
    if (text.trim() === "" || running || over) return;
    setText("");
    const back = (fault: unknown) => {
      setText((since) => since || text);
      throw fault;
    };
    attempt(prompt(text).catch(back));
  };
  const key = (e: KeyboardEvent) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) submit(e);
  };
  return (
    <form class="composer" onSubmit={submit}>
      <div class="column">
        <textarea id="prompt" ref={box} rows={1} value={text} disabled={over} aria-label="Prompt" placeholder={over ? "This session has ended" : "What should the agent do?"} onInput={(e) => setText(e.currentTarget.value)} onKeyDown={key} />
        <div class="row">
          {choices.map((c) => <Pick key={c.id} choice={c} disabled={over} onPick={(v) => attempt(transport.choose(c, v))} />)}
          {context && context.size > 0 && <span class="dim small context" title="Tokens in the agent's context">{Math.round((100 * context.used) / context.size)} % of {size(context.size).replace(".0", "").replace(" kB", "k").replace(" MB", "M")}</span>}
          <span class="grow" />
          {running ? (
            <button type="button" class="danger" onClick={() => attempt(transport.cancel())}>Stop <kbd aria-hidden="true">Esc</kbd></button>
          ) : (
            <button type="submit" class="primary" disabled={text.trim() === "" || over}>Send <kbd aria-hidden="true">Enter</kbd></button>
          )}
        </div>
      </div>
    </form>
  );
}

function Pick({ choice, disabled, onPick }: { choice: Choice; disabled: boolean; onPick: (value: string) => void }) {
  return (
    <label class="pick">
      <span>{choice.name}</span>
      <select aria-label={choice.name} value={choice.value} disabled={disabled} onChange={(e) => onPick(e.currentTarget.value)}>
        {choice.values.map((v) => <option value={v.value} title={v.title} selected={v.value === choice.value}>{v.name}</option>)}
      </select>
    </label>
  );
}
