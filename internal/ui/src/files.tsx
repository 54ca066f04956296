// The files of the machine, to browse and to look at.

import { useEffect, useState } from "preact/hooks";
import { call, send } from "./api";
import { size } from "./text";

type Entry = { name: string; path: string; entryType: string; size: number; modified?: string; kind?: string; target?: string };
type Stat = { path: string; entryType: string; size: number; modified?: string };

const shownEntries = 1000;
const shownBytes = 1 << 20;
const images = /\.(png|jpe?g|gif|webp|svg|ico|bmp|avif)$/i;

export const filesAt = (path: string) => `#/files?path=${encodeURIComponent(path)}`;

const query = (path: string) => `path=${encodeURIComponent(path)}`;

export function Files({ path }: { path: string }) {
  const [stat, setStat] = useState<Stat>();
  const [fault, setFault] = useState("");
  useEffect(() => {
    let over = false;
    setFault("");
    call<Stat>("GET", `v1/fs/stat?${query(path)}`).then(
      (s) => !over && setStat(s),
      (f) => !over && (setStat(undefined), setFault(f.message)),
    );
    return () => {
      over = true;
    };
  }, [path]);
  const parts = (stat?.path ?? path).split("/").filter((p) => p !== "" && p !== ".");
  return (
    <section class="page">
      <header class="bar"><h1>Files</h1></header>
      <nav class="row crumbs mono" aria-label="Path">
        <a href="#/files">home</a>
        <span class="dim">|</span>
        <a href={filesAt("/")}>/</a>
        {parts.map((p, i) => (
          <>
            {i > 0 && <span class="dim">/</span>}
            <a href={filesAt("/" + parts.slice(0, i + 1).join("/"))}>{p}</a>
          </>
        ))}
      </nav>
      {fault && <p class="fault" role="alert">{fault}</p>}
      {stat?.entryType === "directory" && <Folder key={stat.path} path={stat.path} />}
      {stat?.entryType === "file" && <File key={stat.path} stat={stat} />}
    </section>
  );
}

function Folder({ path }: { path: string }) {
  const [entries, setEntries] = useState<Entry[]>();
  const [rows, setRows] = useState(shownEntries);
  const [fault, setFault] = useState("");
  useEffect(() => {
    call<Entry[]>("GET", `v1/fs/entries?${query(path)}`).then(
      (all) => setEntries(all.sort((a, b) => a.entryType.localeCompare(b.entryType) || a.name.localeCompare(b.name))),
      (f) => setFault(f.message),
    );
  }, [path]);
  if (fault) return <p class="fault" role="alert">{fault}</p>;
  return (
    <div class="scroll">
      <table class="files">
        <tbody>
          {entries?.length === 0 && <tr><td class="dim">This folder is empty.</td></tr>}
          {entries?.slice(0, rows).map((e) => (
            <tr key={e.name}>
              <td class="mono">
                <a href={filesAt(e.path)}><span class={`icon ${e.entryType}`} aria-hidden="true" />{e.name}{e.entryType === "directory" ? "/" : ""}</a>
                {e.target && <span class="dim"> → {e.target}</span>}
              </td>
              <td class="dim number">{e.entryType === "directory" ? "" : size(e.size)}</td>
              <td class="dim when">{e.modified && new Date(e.modified).toLocaleString()}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {entries && entries.length > rows && <button type="button" class="wide" onClick={() => setRows(rows * 4)}>{entries.length - rows} more</button>}
    </div>
  );
}

function File({ stat }: { stat: Stat }) {
  const [text, setText] = useState<string>();
  const [image, setImage] = useState("");
  const [note, setNote] = useState("");
  const [fault, setFault] = useState("");
  const read = async (range: Record<string, string>) => (await send("GET", `v1/fs/file?${query(stat.path)}`, { headers: range })).blob();
  useEffect(() => {
    let url = "";
    const picture = images.test(stat.path);
    const part: Record<string, string> = picture || stat.size === 0 ? {} : { Range: `bytes=0-${shownBytes - 1}` };
    read(part).then(
      async (blob) => {
        if (picture) {
          const type = /\.svg$/i.test(stat.path) ? "image/svg+xml" : "";
          setImage((url = URL.createObjectURL(new Blob([blob], { type }))));
          return;
        }
        const content = await blob.text();
        if (content.includes("\0")) setNote("This file is not text. Download it to look at it.");
        else setText(content);
      },
      (f) => setFault(f.message),
    );
    return () => URL.revokeObjectURL(url);
  }, [stat.path]);
  const download = async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await read({}));
    link.download = stat.path.split("/").at(-1)!;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <div class="file-view">
      <div class="row detail-head">
        <span class="dim grow">{size(stat.size)}{stat.modified && ` · ${new Date(stat.modified).toLocaleString()}`}{stat.size > shownBytes && !image ? ` · the first ${size(shownBytes)} are shown` : ""}</span>
        <button type="button" onClick={() => download().catch((f) => setFault(f.message))}>Download</button>
      </div>
      {fault && <p class="fault" role="alert">{fault}</p>}
      {note && <p class="note">{note}</p>}
      {image && !note && <div class="picture"><img src={image} alt={stat.path} onError={() => setNote("This is not a picture that the browser can show.")} /></div>}
      {text !== undefined && <Lines text={text} />}
    </div>
  );
}

function Lines({ text }: { text: string }) {
  const count = text.replace(/\n$/, "").split("\n").length;
  return (
    <div class="lines scroll" tabIndex={0} role="region" aria-label="Content">
      <pre class="dim numbers" aria-hidden="true">{Array.from({ length: count }, (_, i) => i + 1).join("\n")}</pre>
      <pre class="text">{text}</pre>
    </div>
  );
}
