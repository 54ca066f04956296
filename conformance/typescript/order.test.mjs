// What an agent has said stands in the client's store when a prompt returns.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { connect, roomyStore, scratch, startServer } from "./harness.mjs";

const server = await startServer();
after(server.stop);

/** The texts of a session in the client's store, from an event on. */
async function texts(client, sessionId, from) {
  const page = await client.getEvents({ sessionId, cursor: from, limit: 1000 });
  const said = page.items.map((e) => e.payload?.params?.update).filter((u) => u?.sessionUpdate === "agent_message_chunk");
  return { said: said.map((u) => u.content.text).join(""), next: page.nextCursor };
}

/** How many of so many prompts return before what the agent said. */
async function late(count) {
  const client = await connect(server, { persist: roomyStore() });
  const session = await client.createSession({ agent: "mock", cwd: scratch() });
  let missing = 0;
  for (let i = 0; i < count; i++) {
    const mark = `<${i}>`;
    await session.prompt([{ type: "text", text: `/echo ${mark}` }]);
    let cursor;
    let found = false;
    const total = (await client.getEvents({ sessionId: session.id, limit: 1 })).items.length;
    assert.ok(total > 0);
    do {
      const page = await texts(client, session.id, cursor ?? (i > 50 ? String((i - 20) * 3) : undefined));
      found ||= page.said.includes(mark);
      cursor = page.next;
    } while (!found && cursor);
    if (!found) missing++;
  }
  await client.dispose();
  return missing;
}

test("a thousand prompts return after what the agent said", async () => {
  assert.equal(await late(1000), 0);
});

test("so they do of several clients at once", async () => {
  assert.deepEqual(await Promise.all([1, 2, 3, 4, 5].map(() => late(60))), [0, 0, 0, 0, 0]);
});
