// An agent that says two messages in one turn, or fails with the reason in the data of
// its error, as the prompt says.
import { createInterface } from "node:readline";

const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
const say = (sessionId, sessionUpdate, text, messageId) => send({ method: "session/update", params: { sessionId, update: { sessionUpdate, content: { type: "text", text }, messageId } } });
const faults = {
  object: { code: -32603, message: "Internal error", data: { details: "the key of object has expired" } },
  text: { code: -32603, message: "Internal error", data: "the key of text has expired" },
  nested: { code: 1, message: "Failed.", data: { error: { body: '{"errors":[{"message":"the key of nested has expired"}]}' } } },
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  const prompt = params?.prompt?.[0]?.text;
  if (method === "initialize") send({ id, result: { protocolVersion: 1, agentCapabilities: {}, authMethods: [] } });
  else if (method === "session/new") send({ id, result: { sessionId: `speaking-${process.pid}` } });
  else if (faults[prompt]) send({ id, error: faults[prompt] });
  else if (method === "session/prompt") {
    say(params.sessionId, "agent_message_chunk", "first ", "m1");
    say(params.sessionId, "agent_message_chunk", "message", "m1");
    say(params.sessionId, "agent_message_chunk", "second message", "m2");
    say(params.sessionId, "agent_thought_chunk", "a thought");
    say(params.sessionId, "agent_message_chunk", "third message", "m2");
    send({ id, result: { stopReason: "end_turn" } });
  }
});
