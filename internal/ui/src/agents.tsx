// The agents of the server: what is there, what is missing, installing.

import { useRef, useState } from "preact/hooks";
import { call, events, send } from "./api";
import { usePoll } from "./value";

export type Agent = { id: string; name?: string; installed: boolean; credentialsAvailable: boolean; note?: string; source?: string; serverStatus?: { status: string } };

export function Agents({ onUse }: { onUse: (agent: string) => void }) {
  const [agents, setAgents] = useState<Agent[]>();
  const load = async () => setAgents((await call<{ agents: Agent[] }>("GET", "v1/agents")).agents);
  usePoll(load, 10_000, []);
  return (
    <section class="page">
      <header class="bar"><h1>Agents</h1></header>
      <div class="scroll pad">
        {!agents && <p class="dim">Loading…</p>}
        <ul class="cards">{agents?.map((a) => <AgentCard key={a.id} agent={a} onUse={onUse} onChange={load} />)}</ul>
      </div>
    </section>
  );
}

function AgentCard({ agent, onUse, onChange }: { agent: Agent; onUse: (agent: string) => void; onChange: () => Promise<void> }) {
  return (
    <li class="card">
      <div class="card-head">
        <h2>{agent.name ?? agent.id}</h2>
        <code class="dim">{agent.id}</code>
      </div>
      <p class="tags">
        <span class={`tag ${agent.installed ? "good" : ""}`}>{agent.installed ? "installed" : "not installed"}</span>
        <span class={`tag ${agent.credentialsAvailable ? "good" : "warn"}`}>{agent.credentialsAvailable ? "credentials available" : "no credentials"}</span>
        {agent.serverStatus?.status === "running" && <span class="tag good">running</span>}
      </p>
      {agent.note && <p class="dim small">{agent.note}</p>}
      <div class="row">
        {agent.installed && <button type="button" onClick={() => onUse(agent.id)}>New session</button>}
        {agent.source !== "builtin" && <Install agent={agent} onDone={onChange} />}
      </div>
    </li>
  );
}

/** A button that installs an agent and tells how far it is. */
export function Install({ agent, onDone }: { agent: Agent; onDone: () => Promise<void> }) {
  const [steps, setSteps] = useState<string[]>([]);
  const [fault, setFault] = useState("");
  const abort = useRef<AbortController>(undefined);
  const [busy, setBusy] = useState(false);
  const install = async () => {
    setSteps([]);
    setFault("");
    setBusy(true);
    abort.current = new AbortController();
    try {
      const response = await send("POST", `v1/agents/${encodeURIComponent(agent.id)}/install`, {
        headers: { Accept: "text/event-stream" },
        body: { reinstall: agent.installed },
        signal: abort.current.signal,
      });
      for await (const e of events(response.body!)) {
        const data = JSON.parse(e.data);
        if (e.event === "progress") setSteps((s) => [...s.slice(-3), data.message || data.phase]);
        else if (e.event === "error") setFault(data.detail ?? data.title);
        else if (e.event === "result") await onDone();
      }
    } catch (f) {
      if (!abort.current.signal.aborted) setFault((f as Error).message);
    }
    setBusy(false);
  };
  return (
    <div class="install">
      {busy ? (
        <button type="button" onClick={() => abort.current?.abort()}><span class="spinner" aria-hidden="true" /> Cancel</button>
      ) : (
        <button type="button" class={agent.installed ? "" : "primary"} onClick={install}>{agent.installed ? "Reinstall" : "Install"}</button>
      )}
      {busy && <p class="dim small" role="status">{steps.at(-1) ?? "Starting…"}</p>}
      {fault && <p class="fault small" role="alert">{fault}</p>}
    </div>
  );
}
