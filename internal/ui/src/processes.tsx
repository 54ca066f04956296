// The processes of the server and what they print.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { call, follow } from "./api";
import { ago, duration } from "./text";
import { usePoll } from "./value";

type Process = { id: string; command: string; args: string[]; cwd?: string; tty: boolean; status: string; pid?: number; exitCode?: number; exitSignal?: string; createdAtMs: number; exitedAtMs?: number };

const shell = "/bin/sh";

function line(p: Process): string {
  return p.command === shell && p.args[0] === "-c" ? p.args[1] : [p.command, ...p.args].join(" ");
}

function outcome(p: Process): string {
  if (p.status === "running") return `running · pid ${p.pid}`;
  return p.exitSignal ? `ended by ${p.exitSignal}` : `exit code ${p.exitCode}`;
}

export function Processes({ id }: { id: string }) {
  const [list, setList] = useState<Process[]>();
  const [command, setCommand] = useState("");
  const [cwd, setCwd] = useState("");
  const [fault, setFault] = useState("");
  const load = async () => setList((await call<{ processes: Process[] }>("GET", "v1/processes")).processes.toReversed());
  usePoll(load, 2000, []);

  const attempt = async (work: Promise<unknown>) => {
    setFault("");
    await work.catch((f) => setFault(f.message));
    await load().catch(() => undefined);
  };
  const start = async (e: Event) => {
    e.preventDefault();
    if (command.trim() === "") return;
    await attempt(
      call<Process>("POST", "v1/processes", { command: shell, args: ["-c", command], ...(cwd ? { cwd } : {}) }).then((p) => {
        setCommand("");
        location.hash = `#/processes/${p.id}`;
      }),
    );
  };
  const chosen = list?.find((p) => p.id === id);
  const verb = (p: Process, name: string) => attempt(call("POST", `v1/processes/${p.id}/${name}`));
  return (
    <section class="page">
      <header class="bar"><h1>Processes</h1></header>
      <form class="row form" onSubmit={start}>
        <input class="grow mono" aria-label="Command" placeholder="Command for the shell, such as: ls -la" value={command} onInput={(e) => setCommand(e.currentTarget.value)} />
        <input class="mono" aria-label="Folder" placeholder="Folder (home)" value={cwd} onInput={(e) => setCwd(e.currentTarget.value)} />
        <button type="submit" class="primary" disabled={command.trim() === ""}>Run</button>
      </form>
      {fault && <p class="fault" role="alert">{fault}</p>}
      <div class="split">
        <ul class="list" aria-label="Processes">
          {list?.length === 0 && <li class="empty dim">Nothing has been run.</li>}
          {list?.map((p) => (
            <li key={p.id}>
              <a href={`#/processes/${p.id}`} aria-current={p.id === id ? "page" : undefined}>
                <span class={`state ${p.status === "running" ? "in_progress" : p.exitCode === 0 ? "completed" : "failed"}`} />
                <span class="name mono">{line(p)}</span>
                <span class="dim">{ago(p.createdAtMs)}</span>
              </a>
            </li>
          ))}
        </ul>
        {chosen ? (
          <div class="detail">
            <div class="row detail-head">
              <span class="dim grow">{chosen.id} · {outcome(chosen)}{chosen.exitedAtMs ? ` · ${duration(chosen.exitedAtMs - chosen.createdAtMs)}` : ""}</span>
              {chosen.status === "running" ? (
                <>
                  <button type="button" onClick={() => verb(chosen, "stop")}>Stop</button>
                  <button type="button" class="danger" onClick={() => verb(chosen, "kill")}>Kill</button>
                </>
              ) : (
                <button type="button" onClick={() => attempt(call("DELETE", `v1/processes/${chosen.id}`).then(() => (location.hash = "#/processes")))}>Delete</button>
              )}
            </div>
            <Log key={chosen.id} id={chosen.id} running={chosen.status === "running"} onExit={load} />
          </div>
        ) : (
          <p class="detail empty dim">Choose a process to see what it prints.</p>
        )}
      </div>
    </section>
  );
}

type Piece = { key: number; stream: string; text: string };

const keptPieces = 5000;

// What terminals take as commands: colours, titles, moves of the cursor.
const escapes = /\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])/g;
// The beginning of one at the end of a piece.
const begun = /\x1b(\[[0-?]*[ -/]*|\][^\x07\x1b]*)?$/;

function Log({ id, running, onExit }: { id: string; running: boolean; onExit: () => void }) {
  const [, again] = useState(0);
  const pieces = useRef<Piece[]>([]);
  const [fault, setFault] = useState("");
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    const abort = new AbortController();
    const decoders: Record<string, TextDecoder> = {};
    const held: Record<string, string> = {};
    let due = 0;
    const add = (piece: Piece) => {
      pieces.current.push(piece);
      if (pieces.current.length > keptPieces) pieces.current.splice(0, keptPieces / 10);
      due ||= window.setTimeout(() => {
        due = 0;
        again((n) => n + 1);
      }, 30);
    };
    follow(`v1/processes/${id}/logs?follow=true`, "", (e) => {
      const data = JSON.parse(e.data);
      if (e.event === "exit") {
        onExit();
        return false;
      }
      if (e.event === "gap") add({ key: data.to, stream: "gap", text: `… pieces ${data.from} to ${data.to} are no longer kept …\n` });
      if (e.event !== "log") return true;
      const bytes = Uint8Array.from(atob(data.data), (c) => c.charCodeAt(0));
      const decoder = (decoders[data.stream] ??= new TextDecoder());
      const text = (held[data.stream] ?? "") + decoder.decode(bytes, { stream: true });
      held[data.stream] = begun.exec(text)?.[0] ?? "";
      const whole = text.slice(0, text.length - held[data.stream].length);
      add({ key: data.sequence, stream: data.stream, text: whole.replace(escapes, "").replace(/\r\n/g, "\n") });
      return true;
    }, abort.signal).catch((f) => setFault(f.message));
    return () => {
      abort.abort();
      clearTimeout(due);
    };
  }, [id]);
  useLayoutEffect(() => {
    if (atEnd.current) box.current!.scrollTop = box.current!.scrollHeight;
  });
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current!;
    atEnd.current = scrollHeight - scrollTop - clientHeight < 40;
  };
  return (
    <>
      {fault && <p class="fault" role="alert">{fault}</p>}
      <pre class="log" ref={box} onScroll={scrolled} tabIndex={0} role="log" aria-label="Output">
        {pieces.current.length === 0 && <span class="dim">{running ? "No output so far." : "No output."}</span>}
        {pieces.current.map((p) => <span key={`${p.stream} ${p.key}`} class={p.stream}>{p.text}</span>)}
      </pre>
    </>
  );
}
