// An agent that speaks the protocol oddly: after a prompt it sends updates with
// parts missing, null, or of other types, and ends the turn properly.
import { createInterface } from "node:readline";

const odd = [null, 7, "words", [], {}, [null], [[]], { text: {} }];
const kinds = ["agent_message_chunk", "agent_thought_chunk", "user_message_chunk", "plan", "tool_call", "tool_call_update", "config_option_update", "current_mode_update", "usage_update", "session_info_update", "available_commands_update", "no_such_update", null, 7, {}];
const members = ["content", "entries", "toolCallId", "title", "kind", "status", "locations", "rawInput", "configOptions", "currentModeId", "used", "size"];

function* updates() {
  yield* odd;
  for (const sessionUpdate of kinds) {
    yield { sessionUpdate };
    for (const value of odd) {
      yield { sessionUpdate, ...Object.fromEntries(members.map((m) => [m, value])) };
      yield { sessionUpdate, content: [value], entries: [value, { content: value, status: value }], title: "fine", toolCallId: `call-${Math.random()}`, configOptions: [value, { id: value, options: [value], type: value }] };
      yield { sessionUpdate, content: { type: "text", text: value }, toolCallId: "same" };
      for (const type of ["content", "diff", "terminal", value]) {
        yield { sessionUpdate, toolCallId: `call-${Math.random()}`, title: value, content: [{ type, content: value, path: value, oldText: value, newText: value, terminalId: value }] };
      }
    }
  }
}

const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
const replies = {
  initialize: () => ({ protocolVersion: 1, agentCapabilities: { loadSession: false }, authMethods: [] }),
  "session/new": () => ({ sessionId: `odd-${process.pid}` }),
  "session/prompt": ({ sessionId }) => {
    for (const update of updates()) send({ method: "session/update", params: { sessionId, update } });
    send({ method: "session/update", params: { sessionId, update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "said after all that" } } } });
    return { stopReason: "end_turn" };
  },
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined || method === undefined) return;
  const reply = replies[method];
  if (reply) send({ id, result: reply(params) });
  else send({ id, error: { code: -32601, message: `Method not found: ${method}` } });
});
