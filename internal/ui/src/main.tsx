// The page: connecting, the frame around the views, and which view is shown.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Agents } from "./agents";
import { type Connection, Problem, call, connection, hasToken, setToken, takeCredentials } from "./api";
import { Chat, type SessionRecord } from "./chat";
import { Files } from "./files";
import { Guard } from "./guard";
import { NewSession } from "./new";
import { Processes } from "./processes";
import { ago } from "./text";
import { transport } from "./transport";
import { usePoll, useValue } from "./value";

/** The part of the address behind the hash, such as #/sessions/ID/events. */
function useRoute(): { parts: string[]; params: URLSearchParams } {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    changed(); // it may have changed before anybody listened
    return () => removeEventListener("hashchange", changed);
  }, []);
  const [path, search] = hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decodeURIComponent), params: new URLSearchParams(search) };
}

/** Calls health every few seconds, which also keeps the sign of the connection
 * true while nothing else is asked. */
function useServer(): string {
  const [version, setVersion] = useState("");
  usePoll(async () => {
    await call("GET", "v1/health");
    if (version === "") setVersion((await call<{ version: string }>("GET", "v1/version")).version);
  }, 5000, [version]);
  return version;
}

/** The sessions of the server; undefined while unknown, null on a server that
 * keeps none. */
function useSessions(): [SessionRecord[] | null | undefined, () => Promise<void>] {
  const [sessions, setSessions] = useState<SessionRecord[] | null>();
  const load = async () => {
    try {
      setSessions((await call<{ sessions: SessionRecord[] }>("GET", "v1/sessions?limit=200")).sessions);
    } catch (f) {
      if (f instanceof Problem && f.status === 404) setSessions(null);
    }
  };
  usePoll(load, 2000, []);
  return [sessions, load];
}

function App() {
  const state = useValue(connection);
  const version = useServer();
  return (
    <>
      {state === "unauthorized" ? <Connect /> : state === "connecting" ? null : <Main state={state} version={version} />}
    </>
  );
}

function Connect() {
  const [token, set] = useState("");
  const connect = (e: Event) => {
    e.preventDefault();
    setToken(token.trim());
    connection.set("connecting");
    call("GET", "v1/health").catch(() => undefined);
  };
  return (
    <form class="connect card" onSubmit={connect}>
      <h1>Sandbox Agent</h1>
      <p class={hasToken() ? "fault" : "dim"} role="status">{hasToken() ? "The server does not accept this token." : "This server asks for a token. It was chosen when the server was started."}</p>
      <label>
        Token
        <input type="password" autoComplete="off" autoFocus value={token} onInput={(e) => set(e.currentTarget.value)} />
      </label>
      <button type="submit" class="primary" disabled={token.trim() === ""}>Connect</button>
    </form>
  );
}

const states: Record<Connection, string> = { connecting: "connecting", live: "live", offline: "offline, trying again", unauthorized: "no access" };

function Main({ state, version }: { state: Connection; version: string }) {
  const { parts, params } = useRoute();
  const [sessions, reload] = useSessions();
  const [noun = "new", id = "", tab = ""] = parts;
  const record = noun === "sessions" ? sessions?.find((s) => s.id === id || s.agentSessionId === id) : undefined;
  const waiting = sessions?.filter((s) => s.status === "waiting").length ?? 0;
  useEffect(() => {
    document.title = (waiting ? `(${waiting}) ` : "") + "Sandbox Agent";
  }, [waiting]);
  useEffect(() => {
    const key = (e: KeyboardEvent) => {
      if (!e.altKey || e.ctrlKey || e.metaKey) return;
      const to = { n: "new", a: "agents", p: "processes", f: "files" }[e.key];
      if (!to) return;
      e.preventDefault();
      location.hash = `#/${to}`;
    };
    document.addEventListener("keydown", key);
    return () => document.removeEventListener("keydown", key);
  }, []);

  const current = (name: string) => (noun === name ? "page" : undefined);
  return (
    <div class="frame-all">
      <aside class="side">
        <div class="brand">
          <strong>Sandbox Agent</strong>
          <span class="dim">{version}</span>
          <span class={`pill ${state}`} role="status" title={states[state]}>{states[state]}</span>
        </div>
        <a class="button primary new" href="#/new" aria-current={current("new")} title="Alt+N">New session</a>
        {sessions && <SessionList sessions={sessions} id={record?.id ?? ""} />}
        <nav class="nouns" aria-label="Machine">
          <a href="#/agents" aria-current={current("agents")} title="Alt+A">Agents</a>
          <a href="#/processes" aria-current={current("processes")} title="Alt+P">Processes</a>
          <a href="#/files" aria-current={current("files")} title="Alt+F">Files</a>
        </nav>
      </aside>
      <main>
        <Guard key={`${noun}/${id}`} what="This page" version={tab}>
        {noun === "agents" && <Agents onUse={(agent) => (location.hash = `#/new?agent=${encodeURIComponent(agent)}`)} />}
        {noun === "processes" && <Processes id={id} />}
        {noun === "files" && <Files path={params.get("path") ?? "."} />}
        {noun === "sessions" && id !== "" && (
          <Chat key={id} transport={transport(id)} record={record} tab={tab} onChange={reload} />
        )}
        {(noun === "new" || (noun === "sessions" && id === "")) && <NewSession agent={params.get("agent") ?? ""} cwd={params.get("cwd") ?? ""} onOpen={reload} />}
        </Guard>
      </main>
    </div>
  );
}

function SessionList({ sessions, id }: { sessions: SessionRecord[]; id: string }) {
  const [filter, setFilter] = useState("");
  const shown = sessions.filter((s) => `${s.title} ${s.agent} ${s.cwd} ${s.id}`.toLowerCase().includes(filter.toLowerCase()));
  return (
    <nav class="sessions" aria-label="Sessions">
      {sessions.length > 6 && <input type="search" placeholder="Find a session" aria-label="Find a session" value={filter} onInput={(e) => setFilter(e.currentTarget.value)} />}
      <ul>
        {shown.map((s) => (
          <li key={s.id}>
            <Guard what="A session" version={s}><a href={`#/sessions/${encodeURIComponent(s.id)}`} aria-current={s.id === id ? "page" : undefined} title={`${s.status}${s.reason ? `: ${s.reason}` : ""}\n${s.cwd}`}>
              <span class={`dot ${s.status}`}><span class="hidden">{s.status}</span></span>
              <span class="name">{s.title || "Untitled"}</span>
              <span class="dim meta">{s.status === "waiting" ? <b>waits for you</b> : `${s.agent} · ${ago(s.updatedAt)}`}</span>
            </a></Guard>
          </li>
        ))}
        {sessions.length === 0 && <li class="dim small none">No sessions so far.</li>}
      </ul>
    </nav>
  );
}

takeCredentials();
render(<App />, document.getElementById("app")!);
