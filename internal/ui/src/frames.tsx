// The frames of a session as they were sent.

import { useMemo, useState } from "preact/hooks";
import type { Frame } from "./conversation";
import { blockText } from "./conversation";
import { Copy, clock } from "./text";

const pageRows = 300;

/** What a frame is about, in a few words. */
function describe(f: Frame): { name: string; hint: string } {
  const { method, params, result, error, id } = f.payload;
  if (method === "session/update") {
    const u = params?.update ?? {};
    const hint = u.title ?? u.status ?? u.entries?.map((e: any) => e.content).join(", ") ?? u.currentModeId ?? blockText(u.content);
    return { name: u.sessionUpdate ?? method, hint };
  }
  if (method === "session/prompt") return { name: method, hint: (params?.prompt ?? []).map(blockText).join(" ") };
  if (method) return { name: method, hint: params?.toolCall?.title ?? params?.cwd ?? params?.reason ?? "" };
  if (error) return { name: "error", hint: `${id}: ${error.message}` };
  return { name: "result", hint: `${id}${result?.stopReason ? `: ${result.stopReason}` : ""}` };
}

export function Frames({ frames }: { frames: Frame[] }) {
  const [filter, setFilter] = useState("");
  const [sender, setSender] = useState("");
  const [rows, setRows] = useState(pageRows);
  const count = frames.length;
  const matching = useMemo(() => {
    const wanted = filter.toLowerCase();
    return frames.filter((f) => (sender === "" || f.sender === sender) && (wanted === "" || JSON.stringify(f.payload).toLowerCase().includes(wanted)));
  }, [frames, count, filter, sender]);
  const shown = matching.slice(-rows);
  const save = () => {
    const lines = frames.map((f) => JSON.stringify(f) + "\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    link.download = "session.ndjson";
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <div class="frames">
      <div class="row filter">
        <input type="search" placeholder="Filter" aria-label="Filter events" value={filter} onInput={(e) => setFilter(e.currentTarget.value)} />
        <select aria-label="Sender" value={sender} onChange={(e) => setSender(e.currentTarget.value)}>
          <option value="">both sides</option>
          <option value="client">client</option>
          <option value="agent">agent</option>
        </select>
        <span class="dim grow">{matching.length} of {count}</span>
        <button type="button" onClick={save}>Save</button>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label="Events">
        {matching.length > rows && <button type="button" class="wide" onClick={() => setRows(rows + pageRows)}>Show {Math.min(pageRows, matching.length - rows)} earlier ones</button>}
        {shown.map((f) => <Row key={f.seq} frame={f} />)}
      </div>
    </div>
  );
}

function Row({ frame }: { frame: Frame }) {
  const [open, setOpen] = useState(false);
  const { name, hint } = describe(frame);
  const text = open ? JSON.stringify(frame.payload, null, 2) : "";
  return (
    <details class="frame" onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>
        <span class="dim seq">{frame.seq}</span>
        <span class="dim time">{clock(frame.at)}</span>
        <span class={`from ${frame.sender}`} title={`from the ${frame.sender}`}>{frame.sender === "client" ? "→" : "←"}</span>
        <b>{name}</b>
        <span class="dim preview">{hint.slice(0, 300)}</span>
      </summary>
      {open && <div class="code"><Copy text={text} /><pre>{text}</pre></div>}
    </details>
  );
}
