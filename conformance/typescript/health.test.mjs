import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { buildInspectorUrl } from "sandbox-agent";
import { connect, rejectsWith, startServer } from "./harness.mjs";

let open, closed;
before(async () => {
  open = await startServer();
  closed = await startServer({ token: "s3cret/+=&?token" });
});
after(async () => {
  await open?.stop();
  await closed?.stop();
});

test("getHealth answers ok", async () => {
  const client = await connect(open);
  assert.equal((await client.getHealth()).status, "ok");
  await client.dispose();
});

test("a trailing slash in the base URL and extra headers do no harm", async () => {
  const client = await connect({ ...open, url: `${open.url}/` }, { headers: { "x-extra": "1" } });
  assert.equal((await client.getHealth()).status, "ok");
  await client.dispose();
});

test("the token opens every route, health included", async () => {
  const client = await connect(closed);
  assert.equal((await client.getHealth()).status, "ok");
  assert.ok((await client.listAgents()).agents.length > 0);
  await client.dispose();
});

for (const [name, token] of [["no", undefined], ["a wrong", "wrong"]]) {
  test(`${name} token is refused with token_invalid`, async () => {
    const client = await connect({ ...closed, token }, { skipHealthCheck: true });
    await rejectsWith(() => client.getHealth(), 401, "token_invalid");
    await rejectsWith(() => client.listAgents(), 401, "token_invalid");
    await rejectsWith(() => client.readFsFile({ path: "/etc/hostname" }), 401, "token_invalid");
    await client.dispose();
  });
}

test("inspectorUrl leads to the page", async () => {
  const client = await connect(open);
  assert.equal(client.inspectorUrl, `${open.url}/ui/`);
  const page = await fetch(client.inspectorUrl);
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-type"), /^text\/html/);
  await client.dispose();
});

test("buildInspectorUrl leads to the page, also of a server with a token", async () => {
  const url = buildInspectorUrl({ baseUrl: closed.url, token: closed.token, headers: { "x-extra": "1" } });
  const page = await fetch(url);
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-type"), /^text\/html/);
});

test("a client made outside a sandbox has none to name or to end", async () => {
  const client = await connect(open);
  assert.equal(client.sandboxId, undefined);
  assert.equal(client.sandbox, undefined);
  await assert.rejects(() => client.destroySandbox(), /not attached/);
  await client.dispose();
});
