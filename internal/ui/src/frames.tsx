// The frames of a session as they were sent.

import { useMemo, useState } from "preact/hooks";
import type { Frame } from "./conversation";
import { blockText, faultText } from "./conversation";
import { Guard } from "./guard";
import { object, objects, text } from "./shape";
import { Copy, clock } from "./text";

const pageRows = 300;

/** What a frame is about, in a few words. */
function describe(f: Frame): { name: string; hint: string } {
  const { method, params, result, error, id } = object(f.payload);
  if (method === "session/update") {
    const u = object(params?.update);
    const hint = text(u.title) || text(u.status) || objects(u.entries).map((e) => text(e.content)).join(", ") || text(u.currentModeId) || blockText(u.content);
    return { name: text(u.sessionUpdate) || method, hint };
  }
  if (method === "session/prompt") return { name: method, hint: objects(params?.prompt).map(blockText).join(" ") };
  if (method) return { name: text(method), hint: text(params?.toolCall?.title) || text(params?.cwd) || text(params?.reason) };
  if (error) return { name: "error", hint: `${text(id)}: ${faultText(error)}` };
  return { name: "result", hint: [text(id), text(result?.stopReason)].filter(Boolean).join(": ") };
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
          <option value="">all senders</option>
          <option value="client">client</option>
          <option value="agent">agent</option>
          <option value="server">server</option>
        </select>
        <span class="dim grow">{matching.length} of {count}</span>
        <button type="button" onClick={save}>Save</button>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label="Events">
        {matching.length > rows && <button type="button" class="wide" onClick={() => setRows(rows + pageRows)}>Show {Math.min(pageRows, matching.length - rows)} earlier ones</button>}
        {shown.map((f) => <Guard key={f.seq} what={`Event ${f.seq}`}><Row frame={f} /></Guard>)}
      </div>
    </div>
  );
}

function Row({ frame }: { frame: Frame }) {
  const [open, setOpen] = useState(false);
  const { name, hint } = describe(frame);
  const whole = open ? JSON.stringify(frame.payload, null, 2) : "";
  return (
    <details class="frame" onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>
        <span class="dim seq">{frame.seq}</span>
        <span class="dim time">{clock(frame.at)}</span>
        <span class={`from ${frame.sender}`} title={`from the ${frame.sender}`}>{frame.sender === "client" ? "→" : frame.sender === "server" ? "•" : "←"}</span>
        <b>{name}</b>
        <span class="dim preview">{hint.slice(0, 300)}</span>
      </summary>
      {open && <div class="code"><Copy text={whole} /><pre>{whole}</pre></div>}
    </details>
  );
}
