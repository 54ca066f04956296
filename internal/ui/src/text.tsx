// Text for people: markdown, differences, times and sizes.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

export function Copy({ text }: { text: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1200);
  };
  return (
    <button class="copy" type="button" onClick={copy} aria-label="Copy">
      {done ? "copied" : "copy"}
    </button>
  );
}

const inlineParts = /(`[^`]+`)|(\*\*[^*]+\*\*)|(\*[^*\s][^*]*\*)|\[([^\]]+)\]\((https?:[^)\s]+)\)/g;

function inline(text: string): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let at = 0;
  for (const m of text.matchAll(inlineParts)) {
    out.push(text.slice(at, m.index));
    at = m.index + m[0].length;
    if (m[1]) out.push(<code>{m[1].slice(1, -1)}</code>);
    else if (m[2]) out.push(<strong>{inline(m[2].slice(2, -2))}</strong>);
    else if (m[3]) out.push(<em>{inline(m[3].slice(1, -1))}</em>);
    else out.push(<a href={m[5]} target="_blank" rel="noreferrer">{m[4]}</a>);
  }
  out.push(text.slice(at));
  return out;
}

const cells = (line: string) => line.trim().replace(/^\||\|$/g, "").split("|").map((c) => c.trim());

const longText = 200_000;

/** Renders what agents commonly write: paragraphs, headings, lists, quotes,
 * tables and code. It makes elements, never HTML. Of very long texts only the
 * end is shown, as it is. */
export function Markdown({ text }: { text: string }) {
  if (text.length > longText) return <pre>… {text.length - longText} characters before …{"\n"}{text.slice(-longText)}</pre>;
  const out: ComponentChildren[] = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; ) {
    const line = lines[i];
    const until = (more: (l: string) => boolean) => {
      const from = i;
      while (i < lines.length && more(lines[i])) i++;
      return lines.slice(from, i);
    };
    const fence = line.match(/^\s*(```+|~~~+)\s*(\S*)/);
    const heading = line.match(/^(#{1,6})\s+(.*)/);
    if (fence) {
      i++;
      const code = until((l) => !l.trim().startsWith(fence[1])).join("\n");
      i++;
      out.push(<div class="code"><Copy text={code} /><pre>{code}</pre></div>);
    } else if (heading) {
      i++;
      out.push(<p class={`h h${heading[1].length}`}>{inline(heading[2])}</p>);
    } else if (/^\s*([-*+]|\d+[.)])\s/.test(line)) {
      const Tag = /^\s*\d/.test(line) ? "ol" : "ul";
      const items = until((l) => /^\s*([-*+]|\d+[.)])\s/.test(l) || /^\s+\S/.test(l));
      out.push(<Tag>{items.map((l) => <li style={{ marginLeft: `${(l.match(/^\s*/)![0].length / 2) | 0}em` }}>{inline(l.replace(/^\s*([-*+]|\d+[.)])?\s/, ""))}</li>)}</Tag>);
    } else if (line.startsWith(">")) {
      out.push(<blockquote>{inline(until((l) => l.startsWith(">")).map((l) => l.replace(/^>\s?/, "")).join("\n"))}</blockquote>);
    } else if (line.includes("|") && /^[\s|:-]+$/.test(lines[i + 1] ?? "") && lines[i + 1].includes("-")) {
      const rows = until((l) => l.includes("|")).map(cells);
      out.push(
        <table>
          <thead><tr>{rows[0].map((c) => <th>{inline(c)}</th>)}</tr></thead>
          <tbody>{rows.slice(2).map((r) => <tr>{r.map((c) => <td>{inline(c)}</td>)}</tr>)}</tbody>
        </table>,
      );
    } else if (line.trim() === "") {
      i++;
    } else {
      const from = i++;
      until((l) => l.trim() !== "" && !/^(\s*(```|~~~|[-*+]\s|\d+[.)]\s)|#{1,6}\s|>)/.test(l));
      out.push(<p>{inline(lines.slice(from, i).join("\n"))}</p>);
    }
  }
  return <div class="markdown">{out}</div>;
}

type Line = { mark: " " | "+" | "-" | "…"; text: string };

/** Compares line by line. Texts whose table would be too large are shown as
 * all removed and all added. */
export function diffLines(oldText: string, newText: string): Line[] {
  const split = (t: string) => (t === "" ? [] : t.replace(/\n$/, "").split("\n"));
  const a = split(oldText);
  const b = split(newText);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const x = a.slice(head, a.length - tail);
  const y = b.slice(head, b.length - tail);
  const same = (l: string): Line => ({ mark: " ", text: l });
  return [...a.slice(0, head).map(same), ...middle(x, y), ...a.slice(a.length - tail).map(same)];
}

function middle(x: string[], y: string[]): Line[] {
  const removed = (l: string): Line => ({ mark: "-", text: l });
  const added = (l: string): Line => ({ mark: "+", text: l });
  if (x.length * y.length > 4_000_000) return [...x.map(removed), ...y.map(added)];
  const width = y.length + 1;
  const length = new Uint32Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--)
    for (let j = y.length - 1; j >= 0; j--)
      length[i * width + j] = x[i] === y[j] ? length[(i + 1) * width + j + 1] + 1 : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
  const out: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && x[i] === y[j]) {
      out.push({ mark: " ", text: x[i++] });
      j++;
    } else if (j >= y.length || (i < x.length && length[(i + 1) * width + j] >= length[i * width + j + 1])) out.push(removed(x[i++]));
    else out.push(added(y[j++]));
  }
  return out;
}

/** Keeps three lines around changes. */
function near(lines: Line[]): Line[] {
  const out: Line[] = [];
  lines.forEach((l, i) => {
    const close = lines.slice(Math.max(0, i - 3), i + 4).some((n) => n.mark !== " ");
    if (close) out.push(l);
    else if (out.at(-1)?.mark !== "…") out.push({ mark: "…", text: "" });
  });
  return out;
}

const marks = { " ": "", "+": "add", "-": "del", "…": "skip" };

export function DiffView({ path, oldText, newText }: { path: string; oldText: string | null; newText: string }) {
  const lines = diffLines(oldText ?? "", newText ?? "");
  const count = (mark: string) => lines.filter((l) => l.mark === mark).length;
  return (
    <div class="diff">
      <div class="diff-head">
        <span class="path">{path}</span>
        {oldText == null && <span class="tag">new</span>}
        {count("+") > 0 && <span class="plus">+{count("+")}</span>}
        {count("-") > 0 && <span class="minus">−{count("-")}</span>}
      </div>
      <pre>{near(lines).slice(0, 2000).map((l) => <div class={marks[l.mark]}><span class="mark" aria-hidden="true">{l.mark}</span>{l.text}</div>)}</pre>
    </div>
  );
}

export function ago(ms: number): string {
  const s = Math.max(0, (Date.now() - ms) / 1000);
  if (s < 60) return "now";
  if (s < 3600) return `${(s / 60) | 0} min`;
  if (s < 86400) return `${(s / 3600) | 0} h`;
  return `${(s / 86400) | 0} d`;
}

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  for (const [unit, n] of [["GB", 1e9], ["MB", 1e6]] as const) if (bytes >= n) return `${(bytes / n).toFixed(1)} ${unit}`;
  return `${(bytes / 1000).toFixed(1)} kB`;
}

export function duration(ms: number): string {
  return ms < 1000 ? `${ms | 0} ms` : ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : `${(ms / 60000) | 0} min ${((ms % 60000) / 1000) | 0} s`;
}

export const clock = (ms: number) => new Date(ms).toLocaleTimeString([], { hour12: false });
