// Opening a session: which agent, in which folder.

import { useEffect, useState } from "preact/hooks";
import { type Agent, Install } from "./agents";
import { Problem, call } from "./api";
import { AgentTransport, keep } from "./transport";

const lastKey = "sandbox-agent.last";

function last(): { agent?: string; cwd?: string } {
  try {
    return JSON.parse(localStorage.getItem(lastKey) ?? "{}");
  } catch {
    return {};
  }
}

const able = (a: Agent) => a.installed && a.credentialsAvailable;

export function NewSession(props: { agent: string; cwd: string; onOpen: () => Promise<void> }) {
  const [agents, setAgents] = useState<Agent[]>([]);
  const [chosen, setChosen] = useState(props.agent);
  const [cwd, setCwd] = useState(props.cwd || last().cwd || "");
  const [first, setFirst] = useState("");
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const [missing, setMissing] = useState("");

  const load = async () => setAgents((await call<{ agents: Agent[] }>("GET", "v1/agents")).agents);
  useEffect(() => {
    load().catch((f) => setFault(f.message));
    if (cwd === "") call<{ path: string }>("GET", "v1/fs/stat?path=.").then((s) => setCwd((c) => c || s.path), () => undefined);
  }, []);
  useEffect(() => setChosen(props.agent), [props.agent]);

  const agent = agents.find((a) => a.id === (chosen || last().agent)) ?? agents.find(able);
  const ready = agents.filter(able);
  const others = agents.filter((a) => !able(a));

  const open = async (e: Event, create = false) => {
    e.preventDefault();
    if (!agent || busy) return;
    setBusy(true);
    setFault("");
    setMissing("");
    const at = `path=${encodeURIComponent(cwd)}`;
    if (create) await call("POST", `v1/fs/mkdir?${at}`).catch(() => undefined); // what stat tells next is clearer
    try {
      const stat = await call<{ entryType: string }>("GET", `v1/fs/stat?${at}`);
      if (stat.entryType !== "directory") throw new Error(`${cwd} is not a folder.`);
    } catch (f) {
      if (f instanceof Problem && f.status < 500 && !create) setMissing(cwd);
      else setFault((f as Error).message);
      setBusy(false);
      return;
    }
    const t = new AgentTransport(agent.id, cwd);
    try {
      await t.open();
    } catch (f) {
      t.close().catch(() => undefined);
      setFault((f as Error).message);
      setBusy(false);
      return;
    }
    localStorage.setItem(lastKey, JSON.stringify({ agent: agent.id, cwd }));
    keep(t);
    // A fault of the prompt is part of the conversation.
    if (first.trim() !== "") t.prompt(first).catch(() => undefined);
    void props.onOpen();
    location.hash = `#/sessions/${encodeURIComponent(t.id)}`;
  };

  const option = (a: Agent) => <option value={a.id} selected={a.id === agent?.id}>{a.name ?? a.id}{a.installed ? "" : " — not installed"}</option>;
  return (
    <section class="page">
      <header class="bar"><h1>New session</h1></header>
      <div class="scroll">
        <form class="new-form" onSubmit={open}>
          <label>
            Agent
            <select name="agent" value={agent?.id} onChange={(e) => setChosen(e.currentTarget.value)}>
              {ready.length > 0 && <optgroup label="Ready">{ready.map(option)}</optgroup>}
              {others.length > 0 && <optgroup label="Need something first">{others.map(option)}</optgroup>}
            </select>
          </label>
          {agent && !agent.installed && (
            <div class="hint">
              <p>{agent.name ?? agent.id} is not installed.</p>
              <Install agent={agent} onDone={load} />
            </div>
          )}
          {agent && agent.installed && !agent.credentialsAvailable && <p class="hint">No credentials for {agent.name ?? agent.id} were found on the machine; it may refuse to work.</p>}
          {agent?.id === "mock" && <p class="dim small">Built in, needs no key and no network. Try: write notes.txt with hello · run ls -la · /help</p>}
          <label>
            Folder
            <input class="mono" name="cwd" value={cwd} required onInput={(e) => setCwd(e.currentTarget.value)} />
          </label>
          <label>
            Task <span class="dim">(may come later)</span>
            <textarea name="task" rows={3} value={first} onInput={(e) => setFirst(e.currentTarget.value)} onKeyDown={(e) => e.key === "Enter" && !e.shiftKey && !e.isComposing && open(e)} />
          </label>
          {missing && (
            <div class="hint">
              <p>There is no folder {missing}.</p>
              <button type="button" onClick={(e) => open(e, true)}>Make it and start</button>
            </div>
          )}
          {fault && <p class="fault" role="alert">{fault}</p>}
          <div class="row">
            <button type="submit" class="primary" disabled={!agent?.installed || busy || cwd === ""}>{busy ? <><span class="spinner" aria-hidden="true" /> Starting…</> : "Start session"}</button>
          </div>
        </form>
      </div>
    </section>
  );
}
