import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { connect, scratch, startServer, until, within } from "./harness.mjs";

let server, client;
before(async () => {
  server = await startServer();
  client = await connect(server);
});
after(async () => {
  await client?.dispose();
  await server?.stop();
});

const sh = (script) => ({ command: "/bin/sh", args: ["-c", script] });
const text = (entries) => Buffer.concat(entries.map((entry) => Buffer.from(entry.data, entry.encoding))).toString();

async function finished(script, options = {}) {
  const { id } = await client.createProcess({ ...sh(script), ...options });
  await until(async () => (await client.getProcess(id)).status === "exited", "the process to end");
  return id;
}

/** Writes its lines one entry each, since a chunk of output is one entry. */
const lines = (n) => `i=1; while [ $i -le ${n} ]; do echo line $i; i=$((i+1)); sleep 0.03; done`;

test("getProcessLogs has the whole output in order", async () => {
  const id = await finished("for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.03; done");
  const logs = await client.getProcessLogs(id);
  assert.equal(logs.processId, id);
  assert.equal(logs.stream, "combined");
  let last = 0;
  for (const entry of logs.entries) {
    assert.ok(entry.sequence > last, "sequences ascend");
    last = entry.sequence;
    assert.equal(entry.encoding, "base64");
    assert.ok(Math.abs(entry.timestampMs - Date.now()) < 600_000);
  }
  const of = (stream) => text(logs.entries.filter((entry) => entry.stream === stream));
  assert.equal(of("stdout"), "out 1\nout 2\nout 3\n");
  assert.equal(of("stderr"), "err 1\nerr 2\nerr 3\n");
});

test("getProcessLogs by stream", async () => {
  const id = await finished("echo out; echo err >&2");
  for (const [stream, want] of [["stdout", "out\n"], ["stderr", "err\n"]]) {
    const logs = await client.getProcessLogs(id, { stream });
    assert.equal(logs.stream, stream);
    assert.equal(text(logs.entries), want);
  }
});

test("getProcessLogs with since and tail", async () => {
  const id = await finished(lines(5));
  const { entries } = await client.getProcessLogs(id);
  assert.equal(text(entries), "line 1\nline 2\nline 3\nline 4\nline 5\n");
  const since = entries[1].sequence;
  assert.deepEqual((await client.getProcessLogs(id, { since })).entries, entries.slice(2));
  assert.deepEqual((await client.getProcessLogs(id, { tail: 2 })).entries, entries.slice(-2));
  assert.deepEqual((await client.getProcessLogs(id, { since: entries.at(-1).sequence })).entries, []);
});

test("getProcessLogs of a terminal is its pty stream", async () => {
  const id = await finished("echo hello", { tty: true });
  const logs = await client.getProcessLogs(id);
  assert.equal(logs.stream, "pty");
  assert.equal(text(logs.entries), "hello\r\n");
  assert.ok(logs.entries.every((entry) => entry.stream === "pty"));
});

test("followProcessLogs gives past, then live output, and ends with the process", async () => {
  const go = path.join(scratch(), "go");
  const { id } = await client.createProcess(sh(`echo past; while [ ! -e ${go} ]; do sleep 0.02; done; echo live; echo err >&2`));
  await until(async () => text((await client.getProcessLogs(id)).entries) === "past\n", "the past");
  const got = [];
  const subscription = await client.followProcessLogs(id, (entry) => got.push(entry));
  await until(() => text(got) === "past\n", "the past in the stream");
  fs.writeFileSync(go, "");
  await within(subscription.closed, "the stream to end with the process");
  assert.deepEqual(got, (await client.getProcessLogs(id)).entries);
  assert.equal(text(got.filter((entry) => entry.stream === "stdout")), "past\nlive\n");
  assert.equal(text(got.filter((entry) => entry.stream === "stderr")), "err\n");
});

test("followProcessLogs honours stream and since", async () => {
  const id = await finished(`${lines(3)}; echo err >&2`);
  const { entries } = await client.getProcessLogs(id, { stream: "stdout" });
  const got = [];
  const query = { stream: "stdout", since: entries[0].sequence };
  const subscription = await client.followProcessLogs(id, (entry) => got.push(entry), query);
  await within(subscription.closed, "the stream to end");
  assert.deepEqual(got, entries.slice(1));
});

test("followProcessLogs ends when its caller closes it", async () => {
  const { id } = await client.createProcess(sh("echo one; sleep 600"));
  const got = [];
  const subscription = await client.followProcessLogs(id, (entry) => got.push(entry));
  await until(() => got.length === 1, "the first entry");
  subscription.close();
  await within(subscription.closed.catch(() => {}), "the stream to end");
  assert.equal((await client.getProcess(id)).status, "running");
  await client.killProcess(id);
});

test("followProcessLogs loses nothing of a burst", async () => {
  const { id } = await client.createProcess(sh("seq 1 50000"));
  const got = [];
  const subscription = await client.followProcessLogs(id, (entry) => got.push(entry));
  await within(subscription.closed, "the stream to end");
  assert.equal(text(got), Array.from({ length: 50000 }, (_, i) => `${i + 1}\n`).join(""));
});
