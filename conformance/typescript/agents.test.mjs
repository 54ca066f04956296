import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { connect, rejectsWith, scratch, startServer } from "./harness.mjs";

const capabilities = [
  "planMode", "permissions", "questions", "toolCalls", "toolResults", "textMessages", "images", "fileAttachments",
  "sessionLifecycle", "errorEvents", "reasoning", "status", "commandExecution", "fileChanges", "mcpTools",
  "streamingDeltas", "itemStarted", "sharedProcess",
];
const ids = ["claude", "codex", "opencode", "amp", "pi", "cursor", "mock"];

let server, client;
before(async () => {
  server = await startServer();
  client = await connect(server);
});
after(async () => {
  await client?.dispose();
  await server?.stop();
});

test("listAgents has every agent the client knows, whole", async () => {
  const { agents } = await client.listAgents();
  for (const id of ids) {
    const agent = agents.find((entry) => entry.id === id);
    assert.ok(agent, `${id} is missing`);
    assert.equal(typeof agent.installed, "boolean");
    assert.equal(typeof agent.credentialsAvailable, "boolean");
    assert.equal(agent.configOptions, undefined, "options only when asked for");
    for (const capability of capabilities) {
      assert.equal(typeof agent.capabilities[capability], "boolean", `${id}.${capability}`);
    }
  }
});

test("listAgents with config has the options of each agent", async () => {
  const { agents } = await client.listAgents({ config: true, noCache: true });
  for (const id of ids) {
    const agent = agents.find((entry) => entry.id === id);
    assert.ok(agent.configOptions.some((option) => option.category === "model"), `${id} has no model option`);
  }
});

test("mock is ready without an install", async () => {
  const mock = await client.getAgent("mock");
  assert.equal(mock.id, "mock");
  assert.equal(mock.installed, true);
  assert.equal(mock.credentialsAvailable, true);
});

test("getAgent with config tells version and options", async () => {
  const mock = await client.getAgent("mock", { config: true, noCache: true });
  assert.equal(mock.version, "builtin");
  const values = Object.fromEntries(mock.configOptions.map((o) => [o.category, o.options.map((v) => v.value)]));
  assert.deepEqual(values.model, ["mock", "mock-fast"]);
  assert.deepEqual(values.mode, ["normal", "plan"]);
  assert.deepEqual(values.thought_level, ["low", "medium", "high"]);
});

test("getAgent of an unknown id is unsupported_agent", async () => {
  const error = await rejectsWith(() => client.getAgent("nobody"), 400, "unsupported_agent");
  assert.equal(error.problem.agent, "nobody");
});

test("installAgent of mock, again, and with reinstall", async () => {
  const first = await client.installAgent("mock");
  assert.equal(typeof first.already_installed, "boolean");
  assert.ok(Array.isArray(first.artifacts));
  const again = await client.installAgent("mock", {});
  assert.equal(again.already_installed, true);
  assert.deepEqual(again.artifacts, []);
  const anew = await client.installAgent("mock", { reinstall: true });
  assert.equal(anew.already_installed, false);
});

test("installAgent of an unknown id is unsupported_agent", async () => {
  await rejectsWith(() => client.installAgent("nobody", {}), 400, "unsupported_agent");
});

test("listAcpServers and serverStatus follow a connection from start to end", async () => {
  const own = await connect(server);
  await own.createSession({ agent: "mock", cwd: scratch() });
  const { servers } = await own.listAcpServers();
  assert.equal(servers.length, 1);
  assert.match(servers[0].serverId, /^sdk-mock-/);
  assert.equal(servers[0].agent, "mock");
  assert.ok(Math.abs(servers[0].createdAtMs - Date.now()) < 600_000);

  const running = await client.getAgent("mock");
  assert.equal(running.serverStatus.status, "running");
  assert.equal(typeof running.serverStatus.uptimeMs, "number");

  await own.dispose();
  assert.deepEqual((await client.listAcpServers()).servers, []);
  assert.notEqual((await client.getAgent("mock")).serverStatus?.status, "running");
});
