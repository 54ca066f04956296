import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { connect, rejectsWith, scratch, startServer } from "./harness.mjs";

let server, client, directory;
before(async () => {
  server = await startServer();
  client = await connect(server);
});
after(async () => {
  await client?.dispose();
  await server?.stop();
});
beforeEach(() => {
  directory = scratch();
});

const stored = (file) => JSON.parse(fs.readFileSync(path.join(directory, ".sandbox-agent", "config", file), "utf8"));

test("setMcpConfig and getMcpConfig of a local server", async () => {
  const query = { directory, mcpName: "tools" };
  const config = { type: "local", command: "npx", args: ["-y", "x"], env: { A: "b" }, enabled: true, timeoutMs: 5000, cwd: "/tmp" };
  assert.equal(await client.setMcpConfig(query, config), undefined);
  assert.deepEqual(await client.getMcpConfig(query), config);
  assert.deepEqual(stored("mcp.json"), { tools: config });
});

test("setMcpConfig and getMcpConfig of a remote server", async () => {
  const query = { directory, mcpName: "far" };
  const config = {
    type: "remote",
    url: "https://example.invalid/mcp",
    headers: { "x-a": "b" },
    bearerTokenEnvVar: "TOKEN",
    envHeaders: { "x-c": "D" },
    oauth: { clientId: "id", clientSecret: "secret", scope: "all" },
    enabled: false,
    timeoutMs: 7,
    transport: "sse",
  };
  await client.setMcpConfig(query, config);
  assert.deepEqual(await client.getMcpConfig(query), config);
});

test("a command list and the aliases are accepted and answered with the client's own names", async () => {
  const query = { directory, mcpName: "alias" };
  await client.setMcpConfig(query, { type: "stdio", command: ["node", "x.js"], environment: { A: "b" }, timeout: 9 });
  const got = await client.getMcpConfig(query);
  assert.equal(got.type, "local");
  assert.deepEqual(got.command, ["node", "x.js"]);
  assert.deepEqual(got.args, []);
  assert.deepEqual(got.env, { A: "b" });
  assert.equal(got.timeoutMs, 9);
});

test("a name is replaced, others are kept, and each directory has its own", async () => {
  const local = (command) => ({ type: "local", command, args: [] });
  await client.setMcpConfig({ directory, mcpName: "a" }, local("one"));
  await client.setMcpConfig({ directory, mcpName: "b" }, local("two"));
  await client.setMcpConfig({ directory, mcpName: "a" }, local("three"));
  assert.equal((await client.getMcpConfig({ directory, mcpName: "a" })).command, "three");
  assert.equal((await client.getMcpConfig({ directory, mcpName: "b" })).command, "two");
  await rejectsWith(() => client.getMcpConfig({ directory: scratch(), mcpName: "a" }), 404, "session_not_found");
});

test("deleteMcpConfig removes one name and may be repeated", async () => {
  const query = { directory, mcpName: "gone" };
  await client.setMcpConfig(query, { type: "local", command: "x", args: [] });
  await client.deleteMcpConfig(query);
  await rejectsWith(() => client.getMcpConfig(query), 404, "session_not_found");
  await client.deleteMcpConfig(query);
});

test("an MCP entry of an unknown type or without a name is refused", async () => {
  const refused = (error) => error.status === 400 || error.status === 422;
  await assert.rejects(() => client.setMcpConfig({ directory, mcpName: "x" }, { type: "telepathy" }), refused);
  await rejectsWith(() => client.setMcpConfig({ directory, mcpName: "" }, { type: "local", command: "x" }), 400, "invalid_request");
  await rejectsWith(() => client.getMcpConfig({ directory, mcpName: "x" }), 404, "session_not_found");
});

test("many setMcpConfig at once all last", async () => {
  const names = Array.from({ length: 30 }, (_, i) => `server ${i}/%`);
  await Promise.all(names.map((mcpName) => client.setMcpConfig({ directory, mcpName }, { type: "local", command: mcpName, args: [] })));
  for (const mcpName of names) assert.equal((await client.getMcpConfig({ directory, mcpName })).command, mcpName);
  assert.deepEqual(Object.keys(stored("mcp.json")).sort(), [...names].sort());
});

test("skills are set, read, replaced and deleted", async () => {
  const query = { directory, skillName: "review" };
  const config = {
    sources: [
      { type: "github", source: "owner/repo", skills: ["a", "b"], ref: "main", subpath: "skills" },
      { type: "local", source: "/srv/skills" },
    ],
  };
  assert.equal(await client.setSkillsConfig(query, config), undefined);
  assert.deepEqual(await client.getSkillsConfig(query), config);
  assert.deepEqual(stored("skills.json"), { review: config });
  await client.setSkillsConfig(query, { sources: [] });
  assert.deepEqual(await client.getSkillsConfig(query), { sources: [] });
  await client.deleteSkillsConfig(query);
  await rejectsWith(() => client.getSkillsConfig(query), 404, "session_not_found");
  await client.deleteSkillsConfig(query);
});

test("the process limits are read, set and obeyed", async () => {
  const before = await client.getProcessConfig();
  const fields = [
    "maxConcurrentProcesses", "defaultRunTimeoutMs", "maxRunTimeoutMs", "maxOutputBytes", "maxLogBytesPerProcess", "maxInputBytesPerRequest",
  ];
  for (const field of fields) assert.ok(Number.isInteger(before[field]) && before[field] > 0, field);

  const changed = { ...before, maxConcurrentProcesses: 1, defaultRunTimeoutMs: 200, maxOutputBytes: 10 };
  const answer = await client.setProcessConfig(changed);
  for (const field of fields) assert.equal(answer[field], changed[field], field);
  assert.deepEqual(await client.getProcessConfig(), answer);

  const cut = await client.runProcess({ command: "/bin/sh", args: ["-c", "echo 0123456789abc; sleep 60"] });
  assert.equal(cut.timedOut, true);
  assert.equal(cut.stdout, "0123456789");

  const only = await client.createProcess({ command: "/bin/sleep", args: ["600"] });
  await assert.rejects(() => client.createProcess({ command: "/bin/sleep", args: ["600"] }), (error) => error.status === 409 || error.status === 429);
  await client.killProcess(only.id, { waitMs: 10_000 });
  await client.setProcessConfig(before);
  assert.deepEqual(await client.getProcessConfig(), before);
});
