// The same requests to the earlier server and to this one: the status and the members of every answer are the same, but for
// the differences that are wanted. docs/guide/earlier-clients.md lists those, each with its reason; this is its table.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { after, test } from "node:test";
import { scratch, serverEnv, startServer, until } from "./harness.mjs";

const require = createRequire(import.meta.url);

/** Starts the earlier server, which the npm package of its command line brings along. */
async function startPeer() {
  const home = scratch("peer");
  const manifest = require.resolve("@sandbox-agent/cli-linux-x64/package.json");
  const binary = path.join(path.dirname(manifest), "bin", "sandbox-agent");
  fs.chmodSync(binary, 0o755);
  const port = 20_000 + (process.pid % 20_000);
  const child = spawn(binary, ["server", "--host", "127.0.0.1", "--port", String(port), "--no-token", "--no-telemetry"], {
    env: serverEnv(home), cwd: home, stdio: "ignore",
  });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const url = `http://127.0.0.1:${port}`;
  await until(() => fetch(`${url}/v1/health`).then((r) => r.ok, () => false), "the earlier server");
  return { url, home, stop: () => { kill(); fs.rmSync(home, { recursive: true, force: true }); } };
}

const peer = await startPeer();
const ours = await startServer();
after(async () => { peer.stop(); await ours.stop(); });

const json = (body, method = "POST") => ({ method, headers: { "content-type": "application/json" }, body: typeof body === "string" ? body : JSON.stringify(body) });
const frame = (id, method, params = {}) => json({ jsonrpc: "2.0", id, method, params });

// A request has a name, a path, and what fetch takes besides. Those of one group depend on those before.
const requests = [
  ["root", "/"],
  ["health", "/v1/health"],
  ["unknown route", "/v1/none"],
  ["trailing slash", "/v1/health/"],
  ["wrong method", "/v1/health", { method: "POST" }],
  ["agents", "/v1/agents"],
  ["agent", "/v1/agents/mock"],
  ["unknown agent", "/v1/agents/nobody"],
  ["bad boolean", "/v1/agents?config=yes"],
  ["install without a body", "/v1/agents/mock/install", { method: "POST" }],
  ["install", "/v1/agents/mock/install", json({})],
  ["install of an unknown agent", "/v1/agents/nobody/install", json({})],
  ["install of broken JSON", "/v1/agents/mock/install", json("{")],
  ["connections", "/v1/acp"],
  ["stream of nothing", "/v1/acp/none", { headers: { accept: "text/event-stream" } }],
  ["stream without its type", "/v1/acp/none", { headers: { accept: "application/json" } }],
  ["frame without an agent", "/v1/acp/none", frame(1, "initialize")],
  ["frame to an unknown agent", "/v1/acp/none?agent=nobody", frame(1, "initialize")],
  ["frame that is no JSON", "/v1/acp/none?agent=mock", json("{")],
  ["frame of another type", "/v1/acp/none?agent=mock", { method: "POST", headers: { "content-type": "text/plain" }, body: "{}" }],
  ["frame", "/v1/acp/one?agent=mock", frame(1, "example/anything", { n: 1 })],
  ["frame to another agent", "/v1/acp/one?agent=codex", frame(2, "example/anything")],
  ["notification", "/v1/acp/one", json({ jsonrpc: "2.0", method: "example/note" })],
  ["close of nothing", "/v1/acp/none", { method: "DELETE" }],
  ["entries", "/v1/fs/entries"],
  ["entries of nothing", "/v1/fs/entries?path=none"],
  ["write", "/v1/fs/file?path=a.txt", { method: "PUT", body: "hello" }],
  ["write below a file", "/v1/fs/file?path=a.txt/b", { method: "PUT", body: "x" }],
  ["read", "/v1/fs/file?path=a.txt"],
  ["read nothing", "/v1/fs/file?path=none"],
  ["read without a path", "/v1/fs/file"],
  ["read a NUL byte", "/v1/fs/file?path=a%00"],
  ["read upwards", "/v1/fs/file?path=../x"],
  ["stat", "/v1/fs/stat?path=a.txt"],
  ["stat nothing", "/v1/fs/stat?path=none"],
  ["make a directory", "/v1/fs/mkdir?path=d/e", { method: "POST" }],
  ["make it again", "/v1/fs/mkdir?path=d/e", { method: "POST" }],
  ["remove a full directory", "/v1/fs/entry?path=d", { method: "DELETE" }],
  ["move", "/v1/fs/move", json({ from: "a.txt", to: "b.txt" })],
  ["move nothing", "/v1/fs/move", json({ from: "none", to: "c.txt" })],
  ["move without a target", "/v1/fs/move", json({ from: "b.txt" })],
  ["remove", "/v1/fs/entry?path=b.txt", { method: "DELETE" }],
  ["remove nothing", "/v1/fs/entry?path=none", { method: "DELETE" }],
  ["remove recursively", "/v1/fs/entry?path=d&recursive=true", { method: "DELETE" }],
  ["upload of no archive", "/v1/fs/upload-batch?path=u", { method: "POST", headers: { "content-type": "application/x-tar" }, body: "none" }],
  ["upload of another type", "/v1/fs/upload-batch?path=u", { method: "POST", headers: { "content-type": "text/plain" }, body: "none" }],
  ["processes", "/v1/processes"],
  ["processes of nobody", "/v1/processes?owner=nobody"],
  ["process limits", "/v1/processes/config"],
  ["process limits of nothing", "/v1/processes/config", json({})],
  ["run", "/v1/processes/run", json({ command: "true" })],
  ["run that fails", "/v1/processes/run", json({ command: "false" })],
  ["run of nothing", "/v1/processes/run", json({ command: "" })],
  ["run of an unknown program", "/v1/processes/run", json({ command: "no-such-program" })],
  ["run without a command", "/v1/processes/run", json({})],
  ["process", "/v1/processes", json({ command: "sleep", args: ["60"] })],
  ["its state", "/v1/processes/proc_1"],
  ["its logs", "/v1/processes/proc_1/logs"],
  ["logs of a strange stream", "/v1/processes/proc_1/logs?stream=zz"],
  ["input", "/v1/processes/proc_1/input", json({ data: "aGk=" })],
  ["input of no base64", "/v1/processes/proc_1/input", json({ data: "!" })],
  ["resize of no terminal", "/v1/processes/proc_1/terminal/resize", json({ cols: 80, rows: 24 })],
  ["remove while it runs", "/v1/processes/proc_1", { method: "DELETE" }],
  ["kill", "/v1/processes/proc_1/kill?waitMs=5000", { method: "POST" }],
  ["input after its end", "/v1/processes/proc_1/input", json({ data: "aGk=" })],
  ["remove a process", "/v1/processes/proc_1", { method: "DELETE" }],
  ["unknown process", "/v1/processes/proc_9"],
  ["stop of an unknown process", "/v1/processes/proc_9/stop", { method: "POST" }],
  ["tool servers", "/v1/config/mcp?directory=/tmp&mcpName=none"],
  ["tool servers without a name", "/v1/config/mcp?directory=/tmp"],
  ["tool servers of nowhere", "/v1/config/mcp"],
  ["set a tool server", "/v1/config/mcp?directory=w&mcpName=x", json({ type: "local", command: "true" }, "PUT")],
  ["set a tool server of no kind", "/v1/config/mcp?directory=w&mcpName=x", json({ type: "smoke" }, "PUT")],
  ["skills", "/v1/config/skills?directory=/tmp&skillName=none"],
  ["remove skills", "/v1/config/skills?directory=w&skillName=none", { method: "DELETE" }],
  ["sessions", "/v1/sessions"],
  ["sandbox", "/v1/sandbox"],
  ["desktop", "/v1/desktop/status"],
  ["opencode", "/opencode/global/health"],
];

/** The members of an answer, to a depth that clients read; a number stands for every element of a list. */
function shape(value, depth = 3) {
  if (value === null || typeof value !== "object") return value === null ? "null" : typeof value;
  if (depth === 0) return "…";
  if (Array.isArray(value)) return value.length ? [shape(value[0], depth - 1)] : [];
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, shape(value[key], depth - 1)]));
}

async function ask(base, [, at, options]) {
  const response = await fetch(base + at, { signal: AbortSignal.timeout(20_000), ...options });
  const type = (response.headers.get("content-type") ?? "").split(";")[0];
  const text = type === "text/event-stream" ? (await response.body.cancel(), "") : await response.text();
  const body = type.endsWith("json") ? JSON.parse(text) : undefined;
  return { status: response.status, type, body };
}

/** What the members of a have that b lacks, or has in another type. */
function missing(a, b, where = "") {
  if (a === null || typeof a !== "object") return typeof b === typeof a || b === a ? (a === b ? [] : [`${where}: ${b} for ${a}`]) : [`${where}: ${JSON.stringify(b)} for ${a}`];
  if (Array.isArray(a)) return a.length && Array.isArray(b) && b.length ? missing(a[0], b[0], `${where}[]`) : Array.isArray(b) ? [] : [where];
  return Object.keys(a).flatMap((key) => (b && typeof b === "object" && key in b ? missing(a[key], b[key], `${where}.${key}`) : [`${where}.${key} is missing`]));
}

// The wanted differences, by the name of the request, as "what the earlier server does -> what this one does". The guide has a
// line for each, by the same name.
const wanted = JSON.parse(fs.readFileSync(new URL("./peer.json", import.meta.url)));

test("the same requests are answered alike", async (t) => {
  const seen = {};
  for (const request of requests) {
    const [name] = request;
    const [before, now] = [await ask(peer.url, request), await ask(ours.url, request)];
    let difference = "";
    if (before.status !== now.status) difference = `${before.status} -> ${now.status}`;
    else if (before.body !== undefined) difference = missing(shape(before.body), shape(now.body)).join("; ");
    if (difference) seen[name] = difference;
  }
  if (process.env.PEER_UPDATE) fs.writeFileSync(new URL("./peer.json", import.meta.url), JSON.stringify(seen, null, 2) + "\n");
  assert.deepEqual(seen, wanted);
});

test("every wanted difference has its reason in the guide", () => {
  const guide = fs.readFileSync(new URL("../../docs/guide/earlier-clients.md", import.meta.url), "utf8");
  for (const name of Object.keys(wanted)) {
    assert.match(guide, new RegExp(`^\\| ${name} \\|`, "m"), `the guide has no line for: ${name}`);
  }
});
