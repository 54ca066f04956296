import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { connect, rejectsWith, scratch, startServer, until } from "./harness.mjs";

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

/** Whether the process lives; a zombie does not. */
function alive(pid) {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(fs.readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

async function exited(id) {
  return until(async () => {
    const info = await client.getProcess(id);
    return info.status === "exited" && info;
  }, `process ${id} to exit`);
}

test("runProcess returns output, exit code and time", async () => {
  const result = await client.runProcess(sh("echo out; echo err >&2; exit 3"));
  assert.equal(result.exitCode, 3);
  assert.equal(result.stdout, "out\n");
  assert.equal(result.stderr, "err\n");
  assert.equal(result.timedOut, false);
  assert.equal(result.stdoutTruncated, false);
  assert.equal(result.stderrTruncated, false);
  assert.ok(result.durationMs >= 0);
});

test("runProcess takes cwd and env", async () => {
  const cwd = scratch();
  const result = await client.runProcess({ ...sh('pwd; echo "$GREETING"'), cwd, env: { GREETING: "hallo\nwelt" } });
  assert.equal(result.stdout, `${cwd}\nhallo\nwelt\n`);
});

test("runProcess ends at timeoutMs, with all it started", async () => {
  const file = path.join(scratch(), "pid");
  const result = await client.runProcess({ ...sh(`sleep 20 & echo $! > ${file}; echo before; sleep 20`), timeoutMs: 300 });
  assert.equal(result.timedOut, true);
  assert.equal(result.exitCode ?? null, null);
  assert.equal(result.stdout, "before\n");
  const grandchild = Number(fs.readFileSync(file, "utf8"));
  await until(() => !alive(grandchild), "the grandchild to be gone");
});

test("runProcess cuts at maxOutputBytes and says so", async () => {
  const result = await client.runProcess({ ...sh("yes | head -c 100000; echo e >&2"), maxOutputBytes: 1000 });
  assert.equal(result.exitCode, 0);
  assert.equal(result.stdout.length, 1000);
  assert.equal(result.stdoutTruncated, true);
  assert.equal(result.stderrTruncated, false);
});

test("runProcess of an unknown program is a stream_error", async () => {
  await rejectsWith(() => client.runProcess({ command: "no-such-program" }), 502, "stream_error");
});

test("createProcess with an empty command is invalid_request", async () => {
  await rejectsWith(() => client.createProcess({ command: "" }), 400, "invalid_request");
});

test("a process from create to delete", async () => {
  const cwd = scratch();
  const created = await client.createProcess({ ...sh("exit 7"), cwd, env: { A: "b" } });
  assert.match(created.id, /./);
  assert.equal(created.command, "/bin/sh");
  assert.deepEqual(created.args, ["-c", "exit 7"]);
  assert.equal(created.cwd, cwd);
  assert.equal(created.tty, false);
  assert.equal(created.interactive, false);
  assert.equal(created.owner, "user");
  assert.ok(Math.abs(created.createdAtMs - Date.now()) < 600_000);

  const ended = await exited(created.id);
  assert.equal(ended.exitCode, 7);
  assert.ok(ended.exitedAtMs >= ended.createdAtMs);
  assert.ok((await client.listProcesses()).processes.some((process) => process.id === created.id));

  await client.deleteProcess(created.id);
  await rejectsWith(() => client.getProcess(created.id), 404, "not_found");
  assert.ok(!(await client.listProcesses()).processes.some((process) => process.id === created.id));
});

test("listProcesses filters by owner", async () => {
  const created = await client.createProcess(sh("sleep 600"));
  const ids = async (query) => (await client.listProcesses(query)).processes.map((process) => process.id);
  assert.ok((await ids({ owner: "user" })).includes(created.id));
  assert.ok(!(await ids({ owner: "desktop" })).includes(created.id));
  await client.killProcess(created.id, { waitMs: 5000 });
});

test("stopProcess sends SIGTERM to all that the process started", async () => {
  const file = path.join(scratch(), "pid");
  const created = await client.createProcess(sh(`sleep 600 & echo $! > ${file}; wait`));
  const grandchild = await until(() => fs.existsSync(file) && Number(fs.readFileSync(file, "utf8")), "the grandchild");
  assert.ok(alive(created.pid));
  const stopped = await client.stopProcess(created.id, { waitMs: 10_000 });
  assert.equal(stopped.status, "exited");
  assert.equal(stopped.exitCode ?? null, null, "no exit code after a signal");
  await until(() => !alive(created.pid) && !alive(grandchild), "both to be gone");
});

test("stopProcess lets a process trap the signal; killProcess does not", async () => {
  const ready = path.join(scratch(), "ready");
  const created = await client.createProcess(sh(`trap '' TERM; touch ${ready}; while :; do sleep 0.05; done`));
  await until(() => fs.existsSync(ready), "the trap");
  const still = await client.stopProcess(created.id, { waitMs: 100 });
  assert.equal(still.status, "running");
  const killed = await client.killProcess(created.id, { waitMs: 10_000 });
  assert.equal(killed.status, "exited");
  assert.ok(!alive(created.pid));
});

test("stopProcess and killProcess without a wait", async () => {
  const one = await client.createProcess(sh("sleep 600"));
  assert.equal((await client.stopProcess(one.id)).id, one.id);
  await exited(one.id);
  const two = await client.createProcess(sh("sleep 600"));
  assert.equal((await client.killProcess(two.id)).id, two.id);
  await exited(two.id);
});

test("deleteProcess of a running process is a conflict", async () => {
  const created = await client.createProcess(sh("sleep 600"));
  await rejectsWith(() => client.deleteProcess(created.id), 409, "conflict");
  await client.killProcess(created.id, { waitMs: 10_000 });
  await client.deleteProcess(created.id);
});

test("an unknown process is not_found everywhere", async () => {
  const id = "proc/ none?";
  for (const call of [
    () => client.getProcess(id),
    () => client.stopProcess(id),
    () => client.killProcess(id),
    () => client.deleteProcess(id),
    () => client.getProcessLogs(id),
    () => client.followProcessLogs(id, () => {}),
    () => client.sendProcessInput(id, { data: "aGk=" }),
    () => client.resizeProcessTerminal(id, { cols: 80, rows: 24 }),
  ]) {
    await rejectsWith(call, 404, "not_found");
  }
});

async function logText(id) {
  const { entries } = await client.getProcessLogs(id);
  return Buffer.concat(entries.map((entry) => Buffer.from(entry.data, entry.encoding))).toString();
}

test("sendProcessInput in each encoding", async () => {
  const created = await client.createProcess({ command: "/bin/cat", interactive: true });
  assert.equal(created.interactive, true);
  const input = Buffer.from([0, 255, 10]).toString("base64");
  assert.deepEqual(await client.sendProcessInput(created.id, { data: input }), { bytesWritten: 3 });
  assert.deepEqual(await client.sendProcessInput(created.id, { data: "Yg==", encoding: "base64" }), { bytesWritten: 1 });
  assert.deepEqual(await client.sendProcessInput(created.id, { data: "ü", encoding: "utf8" }), { bytesWritten: 2 });
  assert.deepEqual(await client.sendProcessInput(created.id, { data: "c\n", encoding: "text" }), { bytesWritten: 2 });
  const want = Buffer.concat([Buffer.from([0, 255, 10]), Buffer.from("büc\n")]).toString();
  await until(async () => (await logText(created.id)) === want, "cat to repeat the input");

  await rejectsWith(() => client.sendProcessInput(created.id, { data: "!" }), 400, "invalid_request");
  await rejectsWith(() => client.sendProcessInput(created.id, { data: "x", encoding: "morse" }), 400, "invalid_request");
  await client.killProcess(created.id, { waitMs: 10_000 });
  await rejectsWith(() => client.sendProcessInput(created.id, { data: "Yg==" }), 409, "conflict");
});

test("sendProcessInput over the limit is refused as too large", async () => {
  const created = await client.createProcess({ command: "/bin/cat" });
  const { maxInputBytesPerRequest } = await client.getProcessConfig();
  const data = Buffer.alloc(maxInputBytesPerRequest + 1).toString("base64");
  await rejectsWith(() => client.sendProcessInput(created.id, { data }), 413, "invalid_request");
  await client.killProcess(created.id);
});

test("resizeProcessTerminal sets the size the program sees", async () => {
  const created = await client.createProcess({ ...sh("while read line; do stty size; done"), tty: true });
  assert.equal(created.tty, true);
  assert.deepEqual(await client.resizeProcessTerminal(created.id, { cols: 123, rows: 45 }), { cols: 123, rows: 45 });
  await client.sendProcessInput(created.id, { data: "\n", encoding: "text" });
  await until(async () => (await logText(created.id)).includes("45 123"), "the new size");
  await client.killProcess(created.id);
});

test("resizeProcessTerminal of a process without one is a conflict", async () => {
  const created = await client.createProcess(sh("sleep 600"));
  await rejectsWith(() => client.resizeProcessTerminal(created.id, { cols: 80, rows: 24 }), 409, "conflict");
  await client.killProcess(created.id);
});

test("many processes at once keep their own output", async () => {
  const results = await Promise.all(Array.from({ length: 20 }, (_, i) => client.runProcess(sh(`echo ${i}`))));
  assert.deepEqual(results.map((result) => result.stdout), results.map((_, i) => `${i}\n`));
});
