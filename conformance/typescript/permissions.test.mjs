import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { allEvents, connect, roomyStore, scratch, startServer, until } from "./harness.mjs";

let server, client, cwd, session;
before(async () => {
  server = await startServer();
  client = await connect(server, { persist: roomyStore() });
});
after(async () => {
  await client?.dispose();
  await server?.stop();
});
beforeEach(async () => {
  cwd = scratch();
  session = await client.createSession({ agent: "mock", cwd });
});

const write = (name) => [{ type: "text", text: `write ${name} with some text` }];
const has = (name) => fs.existsSync(path.join(cwd, name));

/** Answers every request with reply, and returns the requests. */
function answer(reply) {
  const requests = [];
  session.onPermissionRequest((request) => {
    requests.push(request);
    return session.respondPermission(request.id, reply);
  });
  return requests;
}

test("a request tells what it is about, and once allows it once", async () => {
  const requests = answer("once");
  assert.equal((await session.prompt(write("one.txt"))).stopReason, "end_turn");
  assert.ok(has("one.txt"));
  assert.equal(requests.length, 1);
  const [request] = requests;
  assert.equal(request.sessionId, session.id);
  assert.equal(request.agentSessionId, session.agentSessionId);
  assert.deepEqual([...request.availableReplies].sort(), ["always", "once", "reject"]);
  assert.ok(request.options.every((option) => option.optionId && option.name && option.kind));
  assert.ok(request.toolCall.toolCallId);
  assert.ok(request.toolCall.title);
  assert.equal(request.rawRequest.sessionId, session.agentSessionId);

  await session.prompt(write("two.txt"));
  assert.equal(requests.length, 2);
});

test("always allows the next ones too", async () => {
  const requests = answer("always");
  await session.prompt(write("one.txt"));
  await session.prompt(write("two.txt"));
  assert.ok(has("one.txt") && has("two.txt"));
  assert.equal(requests.length, 1);
});

test("reject leaves the folder alone", async () => {
  const requests = answer("reject");
  await session.prompt(write("one.txt"));
  assert.equal(requests.length, 1);
  assert.ok(!has("one.txt"));
});

test("without a listener the request is cancelled and the turn ends", async () => {
  const { stopReason } = await session.prompt(write("one.txt"));
  assert.ok(stopReason);
  assert.ok(!has("one.txt"));
});

test("a reply given later, on the client, goes through", async () => {
  const asked = new Promise((resolve) => client.onPermissionRequest(session.id, resolve));
  const turn = session.prompt(write("one.txt"));
  const request = await asked;
  assert.ok(!has("one.txt"));
  await client.respondPermission(request.id, "once");
  assert.equal((await turn).stopReason, "end_turn");
  assert.ok(has("one.txt"));
});

test("rawRespondPermission, of session and of client, chooses an option by its id", async () => {
  for (const [name, target] of [["one.txt", session], ["two.txt", client]]) {
    const asked = new Promise((resolve) => {
      const leave = session.onPermissionRequest((request) => {
        leave();
        resolve(request);
      });
    });
    const turn = session.prompt(write(name));
    const request = await asked;
    const option = request.options.find((entry) => entry.kind === "allow_once");
    await target.rawRespondPermission(request.id, { outcome: { outcome: "selected", optionId: option.optionId } });
    await turn;
    assert.ok(has(name));
  }
});

test("a reply to an unknown request is an error", async () => {
  await assert.rejects(() => session.respondPermission("none", "once"), /not found/);
  await assert.rejects(() => session.rawRespondPermission("none", { outcome: { outcome: "cancelled" } }), /not found/);
});

test("destroySession cancels what waits for a permission", async () => {
  const asked = new Promise((resolve) => session.onPermissionRequest(resolve));
  const turn = session.prompt(write("one.txt"));
  await asked;
  await client.destroySession(session.id);
  assert.ok((await turn).stopReason);
  assert.ok(!has("one.txt"));
});

test("the order of events is request, change, response", async () => {
  answer("once");
  await session.prompt(write("one.txt"));
  const events = await until(async () => {
    const all = await allEvents(client, session.id);
    const done = all.some((event) => event.payload.params?.update?.status === "completed");
    return done && all.some((event) => event.payload.result?.stopReason) && all;
  }, "the whole turn");
  const at = (match) => events.findIndex((event) => match(event.payload));
  const order = [
    at((payload) => payload.method === "session/prompt"),
    at((payload) => payload.params?.update?.sessionUpdate === "tool_call"),
    at((payload) => payload.method === "session/request_permission"),
    at((payload) => payload.params?.update?.sessionUpdate === "tool_call_update" && payload.params.update.status === "completed"),
  ];
  assert.ok(order.every((index, i) => index >= 0 && (i === 0 || index > order[i - 1])), `order ${order}`);
});
