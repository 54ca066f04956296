import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { connect, startServer, until, within } from "./harness.mjs";

let server, client;
before(async () => {
  server = await startServer({ token: "s3cret/+=&?token" });
  client = await connect(server);
});
after(async () => {
  await client?.dispose();
  await server?.stop();
});

const tty = (script) => client.createProcess({ command: "/bin/sh", args: ["-c", script], tty: true });

/** Collects all that a terminal says. */
function watch(terminal) {
  const said = { ready: [], exit: [], errors: [], closed: 0, bytes: [] };
  terminal.onReady((status) => said.ready.push(status));
  terminal.onData((data) => said.bytes.push(Buffer.from(data)));
  terminal.onExit((status) => said.exit.push(status));
  terminal.onError((error) => said.errors.push(error.message));
  terminal.onClose(() => said.closed++);
  said.text = () => Buffer.concat(said.bytes).toString();
  return said;
}

test("a terminal from ready to exit", async () => {
  const { id } = await tty('read line; echo "got $line"; exit 5');
  const terminal = client.connectProcessTerminal(id);
  const said = watch(terminal);
  await until(() => said.ready.length, "ready");
  assert.equal(said.ready.length, 1);
  assert.equal(said.ready[0].processId, id);
  terminal.sendInput("héllo\n");
  await within(terminal.closed, "the terminal to close after the exit");
  assert.equal(said.text(), "héllo\r\ngot héllo\r\n");
  assert.deepEqual(said.exit, [{ type: "exit", exitCode: 5 }]);
  assert.deepEqual(said.errors, []);
  assert.equal(said.closed, 1);
});

test("binary input arrives as it is", async () => {
  const { id } = await tty("stty raw -echo; echo up; head -c 3 | od -An -tx1");
  const terminal = client.connectProcessTerminal(id);
  const said = watch(terminal);
  await until(() => said.ready.length, "ready");
  await until(async () => {
    const { entries } = await client.getProcessLogs(id);
    return Buffer.concat(entries.map((entry) => Buffer.from(entry.data, "base64"))).includes("up");
  }, "raw mode");
  terminal.sendInput(Uint8Array.of(0, 255, 3));
  await within(terminal.closed, "the end");
  assert.match(said.text(), /00 ff 03/);
});

test("resize reaches the program", async () => {
  const { id } = await tty("while read line; do stty size; done");
  const terminal = client.connectProcessTerminal(id);
  const said = watch(terminal);
  await until(() => said.ready.length, "ready");
  terminal.resize({ cols: 97, rows: 31 });
  terminal.sendInput("\n");
  await until(() => said.text().includes("31 97"), "the new size");
  terminal.close();
  await within(terminal.closed, "the close");
  await client.killProcess(id);
});

test("closing detaches and leaves the process running", async () => {
  const { id } = await tty("cat");
  const first = client.connectProcessTerminal(id);
  const said = watch(first);
  await until(() => said.ready.length, "ready");
  first.close();
  await within(first.closed, "the close");
  assert.equal((await client.getProcess(id)).status, "running");

  const second = client.connectProcessTerminal(id);
  const heard = watch(second);
  await until(() => heard.ready.length, "ready again");
  second.sendInput("again\n");
  await until(() => heard.text().includes("again\r\nagain\r\n"), "the echo");
  second.close();
  await client.killProcess(id);
});

test("all viewers of one terminal see the same", async () => {
  const { id } = await tty("cat");
  const viewers = Array.from({ length: 3 }, () => client.connectProcessTerminal(id));
  const said = viewers.map(watch);
  await until(() => said.every((view) => view.ready.length), "ready");
  viewers[1].sendInput("shared\n");
  await until(() => said.every((view) => view.text() === "shared\r\nshared\r\n"), "everyone to see it");
  await client.killProcess(id);
  for (const viewer of viewers) await within(viewer.closed, "the close");
  assert.ok(said.every((view) => view.exit.length === 1));
});

test("no byte of a long output is lost", async () => {
  const { id } = await tty("read go; seq 1 100000");
  const terminal = client.connectProcessTerminal(id);
  const said = watch(terminal);
  await until(() => said.ready.length, "ready");
  terminal.sendInput("\n");
  await within(terminal.closed, "the end");
  assert.equal(said.text(), `\r\n${Array.from({ length: 100000 }, (_, i) => `${i + 1}\r\n`).join("")}`);
  assert.equal(said.exit.length, 1);
});

test("attaching after the exit tells the exit", async () => {
  const { id } = await tty("exit 4");
  await until(async () => (await client.getProcess(id)).status === "exited", "the exit");
  const terminal = client.connectProcessTerminal(id);
  const said = watch(terminal);
  await within(terminal.closed, "the close");
  assert.equal(said.ready.length, 1);
  assert.deepEqual(said.exit, [{ type: "exit", exitCode: 4 }]);
});

test("frames that make no sense are answered with an error and change nothing", async () => {
  const { id } = await tty("cat");
  const socket = client.connectProcessTerminalWebSocket(id);
  socket.binaryType = "arraybuffer";
  const frames = [];
  socket.addEventListener("message", (event) => typeof event.data === "string" && frames.push(JSON.parse(event.data)));
  await until(() => frames.length === 1, "ready");
  const bad = ["rubbish", JSON.stringify({ type: "dance" }), Uint8Array.of(1, 2), JSON.stringify({ type: "input", data: "!", encoding: "base64" })];
  for (const [i, frame] of bad.entries()) {
    socket.send(frame);
    await until(() => frames.length === i + 2, `an answer to frame ${i}`);
    assert.equal(frames.at(-1).type, "error");
    assert.ok(frames.at(-1).message);
  }
  assert.equal((await client.getProcess(id)).status, "running");
  socket.close();
  await client.killProcess(id);
});

test("buildProcessTerminalWebSocketUrl carries the token", async () => {
  const url = new URL(client.buildProcessTerminalWebSocketUrl("proc_1"));
  assert.equal(url.protocol, "ws:");
  assert.equal(url.pathname, "/v1/processes/proc_1/terminal/ws");
  assert.equal(url.searchParams.get("access_token"), server.token);
});

test("a wrong token, an unknown process and one without a terminal are refused", async () => {
  const terminal = await tty("sleep 600");
  const piped = await client.createProcess({ command: "/bin/sleep", args: ["600"] });
  for (const [id, options] of [[terminal.id, { accessToken: "wrong" }], ["proc_none"], [piped.id]]) {
    const refused = client.connectProcessTerminal(id, options);
    const said = watch(refused);
    await until(() => said.errors.length === 1, "the refusal");
    assert.equal(said.ready.length, 0);
  }
  await client.killProcess(terminal.id);
  await client.killProcess(piped.id);
});
