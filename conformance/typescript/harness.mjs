// What the test files share: a real server per file, waits with a deadline, and
// a record of the client methods a test called, for coverage.mjs to check.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { InMemorySessionPersistDriver, ProcessTerminalSession, SandboxAgent, SandboxAgentError, Session } from "sandbox-agent";

export const binary = process.env.SANDBOX_AGENT_BIN;
assert.ok(binary, "SANDBOX_AGENT_BIN must name the server binary; use conformance/run");

// Long enough that only a hang reaches it.
const patience = Number(process.env.CONFORMANCE_PATIENCE_MS ?? 60_000);

/** Polls check until it returns something truthy, and returns that. */
export async function until(check, what) {
  const deadline = Date.now() + patience;
  for (;;) {
    const value = await check();
    if (value) return value;
    assert.ok(Date.now() < deadline, `gave up waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Settles as promise does, or fails when it never settles. */
export async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`gave up waiting: ${what}`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A fresh folder, its links resolved. */
export function scratch(name = "work") {
  return fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), `conformance-${name}-`)));
}

/** The environment of a server that must not see the caller's own. */
export function serverEnv(home) {
  return { PATH: process.env.PATH, HOME: home, LANG: "C.UTF-8" };
}

/**
 * Starts the server under test, with a home of its own unless given one. stop
 * sends SIGTERM, fails unless the server then ends by itself, and removes the
 * home; kill ends it with SIGKILL and leaves the home for a next one.
 */
export async function startServer({ token, home = scratch("home"), port = "0" } = {}) {
  const auth = token ? ["--token", token] : ["--no-token"];
  const child = spawn(binary, ["server", "--host", "127.0.0.1", "--port", port, ...auth], {
    env: serverEnv(home),
    cwd: home,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  const kill = () => {
    child.kill("SIGKILL");
    return exited;
  };
  process.once("exit", kill); // a failed test file leaves no server behind
  exited.then(() => process.off("exit", kill));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      output = (output + text).slice(-64 * 1024);
    });
  }
  const url = await until(() => {
    assert.equal(child.exitCode, null, `server ended at start:\n${output}`);
    return output.match(/http:\/\/127\.0\.0\.1:\d+/)?.[0];
  }, "the server printing its URL");
  await until(async () => {
    try {
      const answer = await fetch(`${url}/v1/health`, { headers: token ? { authorization: `Bearer ${token}` } : {} });
      return answer.ok;
    } catch {
      return false;
    }
  }, "a healthy server");

  const stop = async () => {
    child.kill("SIGTERM");
    try {
      await within(exited, "the server ending after SIGTERM");
    } catch (error) {
      child.kill("SIGKILL");
      throw new Error(`${error.message}\n${output}`);
    }
    fs.rmSync(home, { recursive: true, force: true });
  };
  return { url, token, home, stop, kill };
}

const seen = new Set();
if (process.env.CONFORMANCE_CALLS) {
  process.once("exit", () => {
    fs.writeFileSync(path.join(process.env.CONFORMANCE_CALLS, `${process.pid}.json`), JSON.stringify([...seen]));
  });
}

const recorded = [
  [SandboxAgent, "SandboxAgent"],
  [Session, "Session"],
  [ProcessTerminalSession, "ProcessTerminalSession"],
];

/**
 * Returns object as it is for the caller, but notes which methods are called and
 * which other members are read. The client's own inner calls go to the bare
 * object, so only what a test calls itself is noted.
 */
export function record(object) {
  const name = recorded.find(([type]) => object instanceof type)?.[1];
  if (!name) return object;
  return new Proxy(object, {
    get(target, key) {
      const value = Reflect.get(target, key, target);
      const note = () => typeof key === "string" && seen.add(`${name}.${key}`);
      if (typeof value !== "function") {
        note();
        return value;
      }
      return (...args) => {
        note();
        const result = value.apply(target, args);
        return result instanceof Promise ? result.then(record) : record(result);
      };
    },
  });
}

export async function connect(server, options = {}) {
  seen.add("SandboxAgent.connect");
  return record(await SandboxAgent.connect({ baseUrl: server.url, token: server.token, ...options }));
}

export async function start(options) {
  seen.add("SandboxAgent.start");
  return record(await SandboxAgent.start(options));
}

/** A store that keeps all events of a long test. */
export function roomyStore() {
  return new InMemorySessionPersistDriver({ maxEventsPerSession: 1_000_000 });
}

/** All stored events of a session, in order. */
export async function allEvents(client, sessionId) {
  const events = [];
  let cursor;
  do {
    const page = await client.getEvents({ sessionId, cursor, limit: 1000 });
    events.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor);
  return events;
}

/** Asserts that call fails with a problem of this status and kind, and returns the error. */
export async function rejectsWith(call, status, kind) {
  let error;
  await assert.rejects(call, (caught) => {
    error = caught;
    return true;
  });
  assert.ok(error instanceof SandboxAgentError, `not an HTTP error: ${error?.stack}`);
  const got = { status: error.status, type: error.problem?.type };
  assert.deepEqual(got, { status, type: `urn:sandbox-agent:error:${kind}` }, JSON.stringify(error.problem));
  assert.ok(error.problem.title, "a problem has a title");
  return error;
}
