import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { promisify } from "node:util";
import { UnsupportedSessionConfigOptionError, UnsupportedSessionValueError } from "sandbox-agent";
import { allEvents, connect, roomyStore, scratch, startServer, until } from "./harness.mjs";

let server, client, cwd;
before(async () => {
  server = await startServer();
  client = await connect(server, { persist: roomyStore() });
});
after(async () => {
  await client?.dispose();
  await server?.stop();
});
beforeEach(() => {
  cwd = scratch();
});

const text = (words) => [{ type: "text", text: words }];
const updateOf = (event) => (event.payload.method === "session/update" ? event.payload.params.update : undefined);
const said = (events) =>
  events
    .map(updateOf)
    .filter((update) => update?.sessionUpdate === "agent_message_chunk")
    .map((update) => update.content.text)
    .join("");
const current = (options, category) => options.find((option) => option.category === category).currentValue;

test("createSession on mock gives a whole record", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  assert.ok(session.id);
  assert.equal(session.agent, "mock");
  assert.ok(session.agentSessionId);
  assert.ok(session.lastConnectionId);
  assert.ok(session.createdAt <= Date.now());
  assert.equal(session.destroyedAt, undefined);
  const record = session.toRecord();
  assert.deepEqual(record.sessionInit, { cwd, mcpServers: [] });
  assert.deepEqual(record.configOptions.map((option) => option.category).sort(), ["mode", "model", "thought_level"]);
  assert.equal(record.modes.currentModeId, "normal");
});

test("createSession takes id, model, mode and thought level", async () => {
  const session = await client.createSession({ agent: "mock", cwd, id: "mine", model: "mock-fast", mode: "plan", thoughtLevel: "high" });
  assert.equal(session.id, "mine");
  const options = await session.getConfigOptions();
  assert.equal(current(options, "model"), "mock-fast");
  assert.equal(current(options, "thought_level"), "high");
  assert.equal((await session.getModes()).currentModeId, "plan");
  await assert.rejects(() => client.createSession({ agent: "mock", cwd, model: "no-such-model" }), UnsupportedSessionValueError);
});

test("sessionInit reaches the agent: its cwd is where files appear", async () => {
  const session = await client.createSession({ agent: "mock", sessionInit: { cwd, mcpServers: [] } });
  session.onPermissionRequest((request) => session.respondPermission(request.id, "once"));
  const { stopReason } = await session.prompt(text("add a README that says hello"));
  assert.equal(stopReason, "end_turn");
  const readme = fs.readdirSync(cwd).find((name) => name.startsWith("README"));
  assert.match(fs.readFileSync(path.join(cwd, readme), "utf8"), /hello/i);
});

test("many sessions share one connection and keep their own state", async () => {
  const before = (await client.listAcpServers()).servers.length;
  const sessions = await Promise.all(Array.from({ length: 10 }, () => client.createSession({ agent: "mock", cwd })));
  assert.equal((await client.listAcpServers()).servers.length, before);
  assert.equal(new Set(sessions.map((session) => session.agentSessionId)).size, 10);
  await sessions[3].setModel("mock-fast");
  assert.equal(current(await sessions[4].getConfigOptions(), "model"), "mock");
  const answers = await Promise.all(sessions.map((session, i) => session.prompt(text(`/echo answer ${i}.`))));
  assert.ok(answers.every((answer) => answer.stopReason === "end_turn"));
  for (const [i, session] of sessions.entries()) {
    await until(async () => said(await allEvents(client, session.id)) === `answer ${i}.`, `the text of session ${i}`);
  }
});

test("200 prompts leave a complete and ordered record", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  for (let i = 1; i <= 200; i++) {
    assert.equal((await session.prompt(text(`/echo <${i}>`))).stopReason, "end_turn");
  }
  const want = Array.from({ length: 200 }, (_, i) => `<${i + 1}>`).join("");
  const events = await until(async () => {
    const all = await allEvents(client, session.id);
    return said(all) === want && all.filter((event) => event.payload.result?.stopReason).length >= 200 && all;
  }, "all 200 answers");
  assert.deepEqual(events.map((event) => event.eventIndex), events.map((_, i) => i + 1));

  const prompts = events.filter((event) => event.payload.method === "session/prompt");
  assert.equal(prompts.length, 200);
  assert.ok(prompts.every((event) => event.sender === "client"));
  for (const prompt of prompts) {
    const answers = events.filter((event) => !event.payload.method && event.payload.id === prompt.payload.id);
    assert.equal(answers.length, 1, `prompt ${prompt.payload.id} has one answer`);
    assert.equal(answers[0].sender, "agent");
    assert.ok(answers[0].eventIndex > prompt.eventIndex);
  }
});

test("a burst arrives whole and in order", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  const numbers = [];
  session.onEvent((event) => {
    const update = updateOf(event);
    if (update?.content?.text) numbers.push(parseInt(update.content.text, 10));
  });
  await session.prompt(text("/burst 5000"));
  await until(() => numbers.length >= 5000, "all updates of the burst");
  assert.deepEqual(numbers.slice(0, 5000), Array.from({ length: 5000 }, (_, i) => i + 1));
});

test("listeners see prompt, updates and response; after they leave, nothing", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  const events = [];
  const unsubscribe = client.onSessionEvent(session.id, (event) => events.push(event));
  await session.prompt(text("/echo one"));
  await until(() => said(events) === "one" && events.some((event) => event.payload.result?.stopReason), "the turn");
  assert.equal(events[0].payload.method, "session/prompt");
  assert.ok(events.every((event) => event.sessionId === session.id && event.connectionId === session.lastConnectionId));
  unsubscribe();
  const count = events.length;
  await session.prompt(text("/echo two"));
  await until(async () => said(await allEvents(client, session.id)).endsWith("two"), "the second turn in the store");
  assert.equal(events.length, count);
});

test("setModel, setMode, setThoughtLevel and setConfigOption", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  await session.setModel("mock-fast");
  await session.setMode("plan");
  await session.setThoughtLevel("low");
  let options = await session.getConfigOptions();
  assert.equal(current(options, "model"), "mock-fast");
  assert.equal(current(options, "mode"), "plan");
  assert.equal(current(options, "thought_level"), "low");
  assert.equal((await session.getModes()).currentModeId, "plan");

  const model = options.find((option) => option.category === "model");
  const mode = options.find((option) => option.category === "mode");
  await session.setConfigOption(model.id, "mock");
  await session.setConfigOption(mode.id, "normal");
  options = await session.getConfigOptions();
  assert.equal(current(options, "model"), "mock");
  assert.equal((await session.getModes()).currentModeId, "normal");
});

test("the same setters on the client", async () => {
  const { id } = await client.createSession({ agent: "mock", cwd });
  assert.equal((await client.setSessionModel(id, "mock-fast")).session.id, id);
  await client.setSessionMode(id, "plan");
  await client.setSessionThoughtLevel(id, "high");
  const options = await client.getSessionConfigOptions(id);
  assert.equal(current(options, "model"), "mock-fast");
  assert.equal(current(options, "thought_level"), "high");
  assert.equal((await client.getSessionModes(id)).currentModeId, "plan");
  const { response } = await client.setSessionConfigOption(id, options.find((option) => option.category === "model").id, "mock");
  assert.equal(current(response.configOptions, "model"), "mock");
});

test("unknown values and options have their own errors", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  await assert.rejects(() => session.setModel("gpt-0"), (error) => {
    assert.ok(error instanceof UnsupportedSessionValueError);
    assert.deepEqual(error.allowedValues, ["mock", "mock-fast"]);
    return true;
  });
  await assert.rejects(() => session.setMode("yolo"), UnsupportedSessionValueError);
  await assert.rejects(() => session.setConfigOption("colour", "red"), UnsupportedSessionConfigOptionError);
});

test("the agent itself refuses what it does not offer", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  await assert.rejects(() => session.rawSend("session/set_mode", { modeId: "yolo" }), (error) => typeof error.code === "number");
  assert.equal((await session.getModes()).currentModeId, "normal");
  assert.equal((await session.prompt(text("/echo alive"))).stopReason, "end_turn");
});

test("rawSend reaches the agent, as request and as notification", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  const answer = await session.rawSend("session/prompt", { prompt: text("/echo raw") });
  assert.equal(answer.stopReason, "end_turn");
  const echoed = await session.rawSend("example/anything", { value: 1 });
  assert.equal(echoed.echoed.params.value, 1);
  assert.equal(echoed.echoed.params.sessionId, session.agentSessionId);
  assert.equal(await session.rawSend("example/noted", { value: 2 }, { notification: true }), undefined);
  const { response } = await client.rawSendSessionMethod(session.id, "example/again", {});
  assert.equal(response.echoed.method, "example/again");
  await assert.rejects(() => session.rawSend("session/cancel", {}), /not allowed/);
});

test("an error of the agent rejects the prompt and ends nothing else", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  await assert.rejects(() => session.prompt(text("/error -32603 out of luck")), (error) => {
    assert.equal(error.code, -32603);
    assert.match(error.message, /out of luck/);
    return true;
  });
  assert.equal((await session.prompt(text("/echo still here"))).stopReason, "end_turn");
});

test("thoughts and plans come as they are", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  const kinds = new Set();
  session.onEvent((event) => kinds.add(updateOf(event)?.sessionUpdate));
  await session.prompt(text("/thought hmm"));
  await session.prompt(text("/plan"));
  await until(() => kinds.has("agent_thought_chunk") && kinds.has("plan"), "both kinds");
});

test("a message of 1 MB and one of many scripts go both ways", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  const long = "x".repeat(1 << 20);
  for (const words of [long, "grüße 日本 👩‍💻 \u2028 \"quoted\" \\ \t end"]) {
    const from = (await allEvents(client, session.id)).length;
    await session.prompt(text(`/echo ${words}`));
    await until(async () => said((await allEvents(client, session.id)).slice(from)) === words, "the echo");
  }
});

test("listSessions pages, getSession finds, refresh reads", async () => {
  const own = await connect(server, { persist: roomyStore() });
  const ids = [];
  for (let i = 0; i < 3; i++) ids.push((await own.createSession({ agent: "mock", cwd })).id);
  const first = await own.listSessions({ limit: 2 });
  assert.equal(first.items.length, 2);
  const rest = await own.listSessions({ limit: 2, cursor: first.nextCursor });
  assert.equal(rest.nextCursor, undefined);
  assert.deepEqual([...first.items, ...rest.items].map((session) => session.id).sort(), [...ids].sort());
  assert.equal((await own.getSession(ids[0])).id, ids[0]);
  assert.equal(await own.getSession("nobody"), null);
  const session = await own.getSession(ids[1]);
  await own.setSessionModel(ids[1], "mock-fast");
  const refreshed = await session.refresh();
  assert.equal(current(refreshed.toRecord().configOptions, "model"), "mock-fast");
  await own.dispose();
});

test("destroySession cancels a running turn and marks the session", async () => {
  const session = await client.createSession({ agent: "mock", cwd });
  const turn = session.prompt(text("/silence"));
  await until(async () => (await allEvents(client, session.id)).some((event) => event.payload.method === "session/prompt"), "the prompt");
  const destroyed = await client.destroySession(session.id);
  assert.ok(destroyed.destroyedAt >= session.createdAt);
  assert.equal((await turn).stopReason, "cancelled");
});

test("an unknown agent is refused with unsupported_agent", async () => {
  // The client does not settle its promise after a refused POST; it lets the
  // error escape as an unhandled rejection, which a test may not have.
  const script = `
    import { SandboxAgent } from "sandbox-agent";
    process.on("unhandledRejection", (error) => {
      console.log(JSON.stringify({ status: error.status, type: error.problem?.type }));
      process.exit(0);
    });
    const client = await SandboxAgent.connect({ baseUrl: ${JSON.stringify(server.url)} });
    await client.createSession({ agent: "nobody", cwd: "/" });
    process.exit(1);`;
  const args = ["--input-type=module", "-e", script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: import.meta.dirname });
  assert.deepEqual(JSON.parse(stdout), { status: 400, type: "urn:sandbox-agent:error:unsupported_agent" });
  assert.ok(!(await client.listAcpServers()).servers.some((entry) => entry.agent === "nobody"));
});

test("dispose with a live agent takes under half a second and ends the agent", async () => {
  const own = await connect(server);
  const session = await own.createSession({ agent: "mock", cwd });
  await session.prompt(text("/echo hi"));
  const before = (await client.listAcpServers()).servers.length;
  const start = performance.now();
  await own.dispose();
  const took = performance.now() - start;
  assert.ok(took < 500, `dispose took ${took} ms`);
  assert.equal((await client.listAcpServers()).servers.length, before - 1);
});

test("dispose in the middle of a turn is as quick", async () => {
  const own = await connect(server);
  const session = await own.createSession({ agent: "mock", cwd });
  session.prompt(text("/hang")).catch(() => {}); // the client leaves it pending for ever
  await until(async () => (await allEvents(own, session.id)).some((event) => event.payload.method === "session/prompt"), "the prompt");
  const start = performance.now();
  await own.dispose();
  const took = performance.now() - start;
  assert.ok(took < 500, `dispose took ${took} ms`);
});
