// The client's own local provider starts the server under test by itself.
import assert from "node:assert/strict";
import { test } from "node:test";
import { local } from "sandbox-agent/local";
import { binary, roomyStore, scratch, serverEnv, start, until } from "./harness.mjs";

const provider = (options) => local({ binaryPath: binary, log: "silent", env: serverEnv(scratch("home")), ...options });

async function reachable(url) {
  try {
    await fetch(`${url}/v1/health`);
    return true;
  } catch {
    return false;
  }
}

for (const verb of ["destroySandbox", "pauseSandbox", "killSandbox"]) {
  test(`start, work, ${verb}`, async () => {
    const sandbox = provider();
    const client = await start({ sandbox });
    assert.match(client.sandboxId, /^local\/127\.0\.0\.1:\d+$/);
    assert.equal(client.sandbox, sandbox);
    const url = client.inspectorUrl.replace(/\/ui\/$/, "");
    assert.equal((await client.getHealth()).status, "ok");
    assert.equal((await fetch(`${url}/v1/health`)).status, 401, "started with a token");
    const cwd = scratch();
    const session = await client.createSession({ agent: "mock", cwd });
    assert.equal((await session.prompt([{ type: "text", text: "/echo hi" }])).stopReason, "end_turn");
    assert.equal(session.toRecord().sandboxId, client.sandboxId);
    await client[verb]();
    await until(async () => !(await reachable(url)), "the server to be gone");
    assert.equal(client.sandboxId, undefined);
  });
}

test("start attaches to a sandbox that is already there", async () => {
  const sandbox = provider({ token: "given" });
  const persist = roomyStore();
  const first = await start({ sandbox, persist });
  const { sandboxId } = first;
  await first.dispose();
  const second = await start({ sandbox, sandboxId, persist });
  assert.equal(second.sandboxId, sandboxId);
  assert.equal((await second.getHealth()).status, "ok");
  await second.destroySandbox();
});

test("several sandboxes of one user at once", async () => {
  const env = serverEnv(scratch("home"));
  const clients = await Promise.all([1, 2, 3].map(() => start({ sandbox: provider({ env }), persist: roomyStore() })));
  const dirs = new Set();
  for (const [i, client] of clients.entries()) {
    const session = await client.createSession({ id: `mine-${i}`, agent: "mock", cwd: scratch() });
    assert.equal((await session.prompt([{ type: "text", text: `/echo hi ${i}` }])).stopReason, "end_turn");
  }
  for (const [i, client] of clients.entries()) {
    const own = JSON.stringify(await client.listAgents()); // still answers
    assert.match(own, /mock/);
    const { agentSessionId } = (await client.getSession(`mine-${i}`)).toRecord();
    dirs.add(agentSessionId);
  }
  assert.equal(dirs.size, clients.length);
  await Promise.all(clients.map((client) => client.destroySandbox()));
});
