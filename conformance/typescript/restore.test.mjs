import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { allEvents, connect, roomyStore, scratch, startServer, until } from "./harness.mjs";

let server;
before(async () => {
  server = await startServer();
});
after(async () => {
  await server?.stop();
});

const text = (words) => [{ type: "text", text: words }];
const said = (events) =>
  events
    .filter((event) => event.payload.params?.update?.sessionUpdate === "agent_message_chunk")
    .map((event) => event.payload.params.update.content.text)
    .join("");

/** A store with one session that has had a turn and whose client has left. */
async function left() {
  const persist = roomyStore();
  const client = await connect(server, { persist });
  const session = await client.createSession({ agent: "mock", cwd: scratch(), id: "kept" });
  await session.setModel("mock-fast");
  await session.prompt(text("/echo the password is swordfish"));
  await until(async () => said(await allEvents(client, "kept")).endsWith("swordfish"), "the first turn in the store");
  const record = session.toRecord();
  await client.dispose();
  return { persist, record };
}

function continues(events) {
  assert.deepEqual(events.map((event) => event.eventIndex), events.map((_, i) => i + 1));
}

test("a second client with the same store restores on the first prompt", async () => {
  const { persist, record } = await left();
  const client = await connect(server, { persist });
  const session = await client.getSession("kept");
  assert.equal(session.agentSessionId, record.agentSessionId);
  assert.equal((await session.prompt(text("what did I say"))).stopReason, "end_turn");
  assert.equal(session.id, "kept");
  assert.notEqual(session.agentSessionId, record.agentSessionId);
  assert.notEqual(session.lastConnectionId, record.lastConnectionId);

  const events = await until(async () => {
    const all = await allEvents(client, "kept");
    return said(all).length > said(all.filter((event) => event.connectionId === record.lastConnectionId)).length && all;
  }, "the second turn in the store");
  continues(events);
  const prompts = events.filter((event) => event.payload.method === "session/prompt");
  assert.equal(prompts.length, 2);
  assert.match(JSON.stringify(prompts[1].payload.params.prompt), /swordfish/, "the history goes along");
  await client.dispose();
});

test("resumeSession binds anew, and a second time to the same", async () => {
  const { persist, record } = await left();
  const client = await connect(server, { persist });
  const session = await client.resumeSession("kept");
  assert.notEqual(session.agentSessionId, record.agentSessionId);
  const bound = session.agentSessionId;
  assert.equal((await client.resumeSession("kept")).agentSessionId, bound);
  await session.setModel("mock-fast");
  assert.equal((await session.prompt(text("/echo on we go"))).stopReason, "end_turn");
  await assert.rejects(() => client.resumeSession("nobody"), /not found/);
  await client.dispose();
});

test("resumeOrCreateSession resumes what is there and creates what is not", async () => {
  const { persist } = await left();
  const client = await connect(server, { persist });
  const cwd = scratch();
  const old = await client.resumeOrCreateSession({ id: "kept", agent: "mock", cwd, mode: "plan", model: "mock-fast", thoughtLevel: "high" });
  assert.equal(old.id, "kept");
  assert.equal((await old.getModes()).currentModeId, "plan");
  const fresh = await client.resumeOrCreateSession({ id: "fresh", agent: "mock", cwd, thoughtLevel: "low" });
  assert.equal(fresh.id, "fresh");
  assert.equal((await client.listSessions()).items.length, 2);
  assert.equal((await fresh.prompt(text("/echo hi"))).stopReason, "end_turn");
  await client.dispose();
});

test("a destroyed session comes back when it is resumed by another client", async () => {
  const { persist } = await left();
  const first = await connect(server, { persist });
  assert.ok((await first.destroySession("kept")).destroyedAt);
  await first.dispose();
  const second = await connect(server, { persist });
  const session = await second.resumeSession("kept");
  assert.equal(session.destroyedAt, undefined);
  assert.equal((await session.prompt(text("/echo back"))).stopReason, "end_turn");
  await second.dispose();
});

test("two clients on two sessions at once do not disturb each other", async () => {
  const clients = await Promise.all([1, 2].map(() => connect(server, { persist: roomyStore() })));
  const sessions = await Promise.all(clients.map((client, i) => client.createSession({ agent: "mock", cwd: scratch(), id: `s${i}` })));
  for (let turn = 0; turn < 20; turn++) {
    await Promise.all(sessions.map((session, i) => session.prompt(text(`/echo ${i}`))));
  }
  for (const [i, client] of clients.entries()) {
    await until(async () => said(await allEvents(client, `s${i}`)) === `${i}`.repeat(20), "its own text alone");
  }
  await clients[0].dispose();
  assert.equal((await sessions[1].prompt(text("/echo 1"))).stopReason, "end_turn");
  await clients[1].dispose();
});

test("a prompt whose agent crashes is rejected, and another client goes on", async () => {
  // In a process of its own: an answer that is no 2xx would leave the client's
  // promise open for ever and escape as an unhandled rejection.
  const script = `
    import { InMemorySessionPersistDriver, SandboxAgent } from "sandbox-agent";
    const options = { baseUrl: ${JSON.stringify(server.url)}, persist: new InMemorySessionPersistDriver() };
    const text = (words) => [{ type: "text", text: words }];
    const first = await SandboxAgent.connect(options);
    const session = await first.createSession({ agent: "mock", cwd: "/", id: "crashed" });
    const failed = await session.prompt(text("/crash 3")).then(() => "", (error) => error.message);
    await first.dispose();
    const second = await SandboxAgent.connect(options);
    const { stopReason } = await (await second.getSession("crashed")).prompt(text("/echo hi"));
    await second.dispose();
    console.log(JSON.stringify({ failed, stopReason }));
    process.exit(0);`;
  const args = ["--input-type=module", "-e", script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: import.meta.dirname });
  const { failed, stopReason } = JSON.parse(stdout);
  assert.match(failed, /exited/);
  assert.equal(stopReason, "end_turn");
});
