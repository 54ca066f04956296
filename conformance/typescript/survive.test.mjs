// What the client's sessions outlive while the client itself stays as it is. It
// takes any answer but 2xx as the end of its connection, and then settles no
// prompt any more.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { allEvents, connect, roomyStore, scratch, startServer, until, within } from "./harness.mjs";

let server, client, session;
before(async () => {
  server = await startServer();
});
after(async () => {
  await server?.stop();
});
beforeEach(async () => {
  client = await connect(server, { persist: roomyStore() });
  session = await client.createSession({ agent: "mock", cwd: scratch() });
});

const prompt = (words) => within(session.prompt([{ type: "text", text: words }]), `the answer to ${words}`);

/** Asserts that the session answers and still knows what was said before. */
async function goesOn() {
  const from = (await allEvents(client, session.id)).length;
  assert.equal((await prompt("what did I say")).stopReason, "end_turn");
  await until(async () => JSON.stringify((await allEvents(client, session.id)).slice(from)).includes("swordfish"), "the agent to remember");
  await client.dispose();
}

test("the end of the agent between two prompts", async () => {
  await prompt("the password is swordfish");
  await prompt("/exit");
  await until(async () => (await client.listAcpServers()).servers.some((entry) => entry.status === "exited"), "the agent to end");
  await goesOn();
});

test("a crash of the agent within a prompt", async () => {
  await prompt("the password is swordfish");
  await assert.rejects(() => prompt("/crash 3"), /exited/);
  await goesOn();
});

test("a kill of the server and a new one in its place", async () => {
  await prompt("the password is swordfish");
  await server.kill();
  server = await startServer({ home: server.home, port: new URL(server.url).port });
  await goesOn();
});
