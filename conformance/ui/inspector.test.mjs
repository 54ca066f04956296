// The inspector as a person uses it: a real browser, the real server, and its
// built-in agent.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { patience, picture, startBrowser, startProxy, startServer } from "./harness.mjs";

const token = "a token of this test";
let server, browser, page;

before(async () => {
  server = await startServer({ token });
  browser = await startBrowser();
  page = browser.page;
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

const seen = (text, options) => page.getByText(text, options).first().waitFor();

/** Waits for something that the page does not show. */
async function until(check, what) {
  const deadline = Date.now() + patience;
  while (!(await check())) {
    assert.ok(Date.now() < deadline, `gave up waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Starts a session with the built-in agent. */
async function newSession() {
  await page.getByRole("link", { name: "New session" }).click();
  await page.getByLabel("Agent").selectOption("mock");
  await page.getByLabel("Folder").fill(server.home);
  await picture(page, "new");
  await page.getByRole("button", { name: "Start session" }).click();
  await page.getByLabel("Prompt").waitFor();
}

async function prompt(text) {
  await page.getByLabel("Prompt").fill(text);
  await page.getByLabel("Prompt").press("Enter");
}

test("asks for a token, and says when it is wrong", async () => {
  await page.goto(`${server.url}/ui/`);
  await seen("This server asks for a token");
  await picture(page, "token");
  await page.getByLabel("Token").fill("wrong");
  await page.getByRole("button", { name: "Connect" }).click();
  await seen("does not accept this token");
  browser.faults.length = 0; // the browser notes each 401
});

test("takes the token from the address and removes it there", async () => {
  await page.goto(`${server.url}/ui/?token=${encodeURIComponent(token)}`);
  await seen("live");
  assert.equal(page.url(), `${server.url}/ui/`);
  assert.equal((await page.locator(".brand").innerText()).includes("Sandbox Agent"), true);
  await page.reload();
  await seen("live");
});

test("lists agents", async () => {
  await page.getByRole("link", { name: "Agents" }).click();
  const card = page.locator(".card", { has: page.getByRole("heading", { name: "Mock" }) });
  await card.getByText("installed").waitFor();
  await card.getByText("credentials available").waitFor();
  await page.getByRole("heading", { name: "Claude Code" }).waitFor();
  await picture(page, "agents");
});

test("a question is answered and the file is written", async () => {
  await newSession();
  await seen("Give the agent a task");
  await prompt("write notes.txt with hi");
  const ask = page.getByRole("group", { name: "Permission: Write notes.txt" });
  await ask.waitFor();
  await page.locator(".diff .add", { hasText: "hi" }).waitFor();
  await until(async () => (await page.title()).startsWith("(1)"), "the title telling of the question");
  await page.getByText("waits for you").waitFor();
  await picture(page, "permission");
  assert.equal(fs.existsSync(path.join(server.home, "notes.txt")), false, "the file is there before it was allowed");
  await ask.getByRole("button", { name: "Allow", exact: true }).click();
  await seen("I wrote notes.txt.");
  await seen("Answered: Allow");
  assert.equal(fs.readFileSync(path.join(server.home, "notes.txt"), "utf8"), "hi\n");
  await page.locator(".end", { hasText: "done" }).waitFor();
  await until(async () => (await page.title()) === "Sandbox Agent", "the title being quiet again");
  await picture(page, "answered");
});

/** Presses a key in the moment in which a permission request is in the page and not
 * yet on the screen. */
async function pressWhenAsked(key) {
  await page.evaluate((key) => {
    new MutationObserver((_, observer) => {
      if (!document.querySelector(".ask")) return;
      observer.disconnect();
      document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    }).observe(document.body, { childList: true, subtree: true });
  }, key);
}

/** Waits until what was done so far is on the screen. */
const painted = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

test("what is meant for a field, or was pressed too early, is no reply", async () => {
  const asking = page.locator(".tool.asking");
  const waits = async (what) => {
    await painted();
    await asking.waitFor();
    assert.equal(await page.getByText("Answered:").count(), 1, what);
  };
  const box = page.getByLabel("Prompt");
  await pressWhenAsked("1");
  await prompt("append more to notes.txt");
  await asking.waitFor();
  await waits("a key before the request was on the screen");

  await box.pressSequentially("2 more things");
  await waits("keys in the prompt box");
  assert.equal(await box.inputValue(), "2 more things");
  await picture(page, "typed");
  await box.fill("");
  await box.press("1");
  await waits("a key in the empty prompt box");
  await box.fill("");

  await page.getByLabel("Mode", { exact: true }).focus();
  await page.keyboard.press("1");
  await waits("a key in a list to choose from");

  for (const make of ["contenteditable", "shadow", "search"]) {
    await page.evaluate((make) => {
      const host = document.body.appendChild(document.createElement("div"));
      host.id = "extra";
      let field = host;
      if (make === "contenteditable") host.contentEditable = "plaintext-only";
      else field = (make === "shadow" ? host.attachShadow({ mode: "open" }) : host).appendChild(document.createElement("input"));
      if (make === "search") field.type = "search";
      field.focus();
    }, make);
    await page.keyboard.press("1");
    await waits(`a key in a field: ${make}`);
    await page.evaluate(() => document.getElementById("extra").remove());
  }

  await page.getByRole("log").focus();
  for (const key of ["Control+1", "Alt+1", "Meta+1", "Shift+1"]) {
    await page.keyboard.press(key);
    await waits(key);
  }
  for (const odd of [{ isComposing: true }, { keyCode: 229 }, { repeat: true }]) {
    await page.evaluate((odd) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "1", bubbles: true, ...odd })), odd);
    await waits(JSON.stringify(odd));
  }

  // Out of sight: on another tab of the session, and scrolled away.
  await page.getByRole("link", { name: /Events/ }).click();
  await page.getByLabel("Filter events").waitFor();
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("1");
  await page.getByRole("link", { name: "Chat" }).click();
  await page.setViewportSize({ width: 1280, height: 360 });
  await page.getByRole("log").evaluate((log) => (log.scrollTop = 0));
  await waits("a key on the tab of the events");
  await page.getByRole("log").focus();
  await page.keyboard.press("1");
  await waits("a key while the request is scrolled out of sight");
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.getByRole("log").evaluate((log) => (log.scrollTop = log.scrollHeight));
  await painted();
  await page.getByRole("log").focus();
  await page.keyboard.press("3");
  await seen("Answered: Reject");
  await page.locator(".end").nth(1).waitFor();
  assert.equal(fs.readFileSync(path.join(server.home, "notes.txt"), "utf8"), "hi\n");
});

test("Escape cancels, also from the prompt box", async () => {
  await prompt("/delay 1h");
  await page.getByRole("button", { name: /Stop/ }).waitFor();
  await page.keyboard.press("Escape");
  await seen("cancelled");
});

test("a turn goes on while another view is shown", async () => {
  await prompt("run echo started; sleep 1; echo ended");
  await page.getByRole("group", { name: /Permission/ }).waitFor();
  await page.getByRole("link", { name: "Files" }).click();
  await page.getByRole("link", { name: "notes.txt", exact: true }).waitFor();
  await page.getByRole("link", { name: /write notes.txt with hi/ }).click();
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  await page.locator(".output", { hasText: "started" }).waitFor();
  await page.locator(".output", { hasText: "ended" }).waitFor();
  await page.locator(".end").nth(3).waitFor();
  await picture(page, "command");
});

test("pages in the background leave the connections of the browser to others", async () => {
  const address = page.url();
  const pages = [];
  for (let i = 0; i < 7; i++) {
    const other = await browser.context.newPage();
    await other.goto(`${server.url}/ui/?token=${encodeURIComponent(token)}`);
    await other.goto(address);
    await other.getByLabel("Prompt").waitFor();
    await other.evaluate(() => {
      Object.defineProperty(document, "hidden", { get: () => true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    pages.push(other);
  }
  await prompt("/permission");
  await page.getByText("Allow this?").waitFor();
  for (const other of pages) await other.getByText("Allow this?").waitFor();
  await painted();
  await page.getByRole("log").focus();
  await page.keyboard.press("1");
  for (const other of pages) {
    await other.getByText("Answered:").last().waitFor();
    await other.close();
  }
});

test("model, mode and thought level are chosen", async () => {
  await page.getByLabel("Mode", { exact: true }).selectOption("plan");
  await page.getByLabel("Thought Level").selectOption("high");
  await page.getByLabel("Model").selectOption("mock-fast");
  await until(async () => {
    const answer = await fetch(`${server.url}/v1/sessions`, { headers: { authorization: `Bearer ${token}` } });
    const [session] = (await answer.json()).sessions;
    return session.mode === "plan" && session.thoughtLevel === "high" && session.model === "mock-fast";
  }, "the session having what was chosen");
  await page.getByLabel("Mode", { exact: true }).selectOption("normal");
});

test("events are shown, filtered and opened", async () => {
  await page.getByRole("link", { name: /Events/ }).click();
  await page.locator(".frame", { hasText: "session/request_permission" }).first().waitFor();
  await picture(page, "events");
  await page.getByLabel("Filter events").fill("say what was done");
  await page.locator(".frame", { hasText: "plan" }).first().click();
  await page.locator(".frame pre", { hasText: '"sessionUpdate": "plan"' }).waitFor();
  await page.getByLabel("Sender").selectOption("client");
  assert.equal(await page.locator(".frame").count(), 0);
});

test("a session is there after a reload, and goes on", async () => {
  await page.getByRole("link", { name: "Chat" }).click();
  await page.reload();
  await seen("I wrote notes.txt.");
  await prompt("replace hi with bye in notes.txt");
  await page.locator(".diff .del", { hasText: "hi" }).waitFor();
  await picture(page, "reloaded");
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  await seen("Answered: Allow");
  await until(() => fs.readFileSync(path.join(server.home, "notes.txt"), "utf8") === "bye\n", "the file being changed");
});

test("processes are started, followed and stopped", async () => {
  await page.getByRole("link", { name: "Processes" }).click();
  await page.getByLabel("Command").fill("for i in 1 2 3; do echo out $i; done; printf 'in \\033[3'; echo err >&2; sleep 0.2; printf '3mcolour\\033[0m\\n'; exec sleep 600");
  await page.getByRole("button", { name: "Run" }).click();
  await page.locator(".log .stdout", { hasText: "out 3" }).waitFor();
  await page.locator(".log .stderr", { hasText: "err" }).waitFor();
  await page.locator(".log .stdout", { hasText: "colour" }).waitFor();
  assert.doesNotMatch(await page.locator(".log").innerText(), /\[3|3m/, "a colour in two pieces");
  await seen("running · pid");
  await picture(page, "processes");
  await page.getByRole("button", { name: "Stop" }).click();
  await seen("ended by SIGTERM");
});

test("files are browsed and shown", async () => {
  fs.mkdirSync(path.join(server.home, "folder"));
  fs.writeFileSync(path.join(server.home, "folder", "deep.txt"), "line one\nline two\n");
  fs.writeFileSync(path.join(server.home, "folder", "broken.png"), "no picture");
  fs.writeFileSync(path.join(server.home, "folder", "x".repeat(250)), Buffer.from([0, 1, 2]));
  await page.getByRole("link", { name: "Files" }).click();
  await picture(page, "files");
  await page.getByRole("link", { name: "folder/" }).click();
  await page.getByRole("link", { name: "deep.txt" }).click();
  await page.locator(".lines .text", { hasText: "line two" }).waitFor();
  await picture(page, "file");
  await page.goBack();
  assert.ok(await page.locator(".scroll").evaluate((e) => e.scrollWidth <= e.clientWidth), "a long name widens the list");
  await page.getByRole("link", { name: "broken.png" }).click();
  await seen("not a picture");
  await page.goBack();
  await page.getByRole("link", { name: "xxxx" }).click();
  await seen("not text");
});

test("deep links and addresses without a hash", async () => {
  await page.goto(`${server.url}/ui/agents`);
  await page.getByRole("heading", { name: "Agents" }).waitFor();
  assert.equal(page.url(), `${server.url}/ui/#/agents`);
  await page.goto(`${server.url}/ui`);
  await seen("live");
  await page.goto(`${server.url}/ui/#/sessions/nobody`);
  await seen("session not found: nobody");
  assert.equal(await page.getByLabel("Prompt").count(), 0, "boxes for prompts to nobody");
  browser.faults.length = 0; // the browser notes the 404
});

for (const reload of [false, true]) {
  test(`nothing is lost or doubled over a bad network, ${reload ? "through the sessions of the server" : "straight to the agent"}`, async () => {
    const proxy = await startProxy(server.port, 100_000);
    try {
      await page.goto(`${proxy.url}/ui/?token=${encodeURIComponent(token)}`);
      await newSession();
      if (reload) await page.reload();
      const frames = 3000;
      await prompt(`/burst ${frames}`);
      await page.locator(".end").waitFor();
      const text = await page.locator(".messages .markdown").allInnerTexts();
      const numbers = text.join("").split(/ x+/).filter(Boolean).map(Number);
      assert.deepEqual(numbers, Array.from({ length: frames }, (_, i) => i + 1));
      assert.ok(proxy.cuts() >= 5, `only ${proxy.cuts()} connections were cut`);
    } finally {
      await page.goto("about:blank");
      await proxy.stop();
    }
    browser.faults.length = 0; // the browser notes each cut
    await page.goto(`${server.url}/ui/`);
  });
}

test("what an agent sends oddly hides nothing else", async () => {
  const odd = await startServer({ args: ["--agent-command", `odd=${process.execPath} ${new URL("odd-agent.mjs", import.meta.url).pathname}`] });
  try {
    const send = async (path, body) => {
      const answer = await fetch(`${odd.url}/v1/sessions${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
      return answer.json();
    };
    const { id } = await send("", { agent: "odd", cwd: odd.home, permissions: { default: "allow" } });
    await page.goto(`${odd.url}/ui/#/sessions/${id}`);
    await page.getByLabel("Prompt").waitFor();
    await send(`/${id}/prompt`, { prompt: "be odd" });
    await seen("said after all that");
    await page.locator(".end", { hasText: "done" }).waitFor();
    await picture(page, "odd");
    await page.getByRole("link", { name: /Events/ }).click();
    await page.locator(".frame").nth(299).waitFor();
    await page.getByRole("button", { name: /earlier/ }).click();
    await page.locator(".frame").nth(599).waitFor();
    await page.reload();
    await page.locator(".frame").first().waitFor();
    await page.getByRole("link", { name: "Chat" }).click();
    await seen("said after all that");
    assert.deepEqual(await page.getByText("cannot be shown").allInnerTexts(), [], "parts that a view did not take");
    assert.deepEqual(await page.getByText("is not understood").allInnerTexts(), [], "events that were not taken");
    await page.getByRole("link", { name: "Agents" }).click();
    await page.getByRole("heading", { name: "Agents" }).waitFor();
  } finally {
    await page.goto("about:blank");
    await odd.stop();
    await page.goto(`${server.url}/ui/?token=${encodeURIComponent(token)}`);
  }
  await seen("live");
});

test("a folder that is missing is made", async () => {
  const folder = path.join(server.home, "not", "there");
  await page.getByRole("link", { name: "New session" }).click();
  await page.getByLabel("Agent").selectOption("mock");
  await page.getByLabel("Folder").fill(folder);
  await page.getByLabel("Task").fill("say hello");
  await page.getByRole("button", { name: "Start session" }).click();
  await page.getByRole("button", { name: "Make it and start" }).click();
  await seen("You said: say hello");
  assert.ok(fs.statSync(folder).isDirectory());
});

test("two messages of a turn stand apart, and errors give their reasons", async () => {
  const speaking = await startServer({ args: ["--agent-command", `speaking=${process.execPath} ${new URL("speaking-agent.mjs", import.meta.url).pathname}`] });
  try {
    const send = (path, body) =>
      fetch(`${speaking.url}/v1/sessions${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const { id } = await (await send("", { agent: "speaking", cwd: speaking.home, permissions: { default: "allow" } })).json();
    await page.goto(`${speaking.url}/ui/#/sessions/${id}`);
    await page.getByLabel("Prompt").waitFor();
    const turn = await (await send(`/${id}/prompt`, { prompt: "speak" })).json();
    assert.equal(turn.text, "first message\n\nsecond message\n\nthird message");
    for (const message of ["first message", "second message", "third message"]) {
      await page.getByText(message, { exact: true }).waitFor();
    }
    for (const kind of ["object", "text", "nested"]) {
      await send(`/${id}/prompt`, { prompt: kind });
      await page.locator(".fault", { hasText: `the key of ${kind} has expired` }).waitFor();
    }
    await page.getByRole("link", { name: /Events/ }).click();
    await page.locator(".frame", { hasText: "the key of nested has expired" }).waitFor();
    await fetch(`${speaking.url}/v1/sessions/${id}`, { method: "DELETE" });
    await page.getByLabel("Sender").selectOption("server");
    await page.locator(".frame .from.server").first().waitFor();
    assert.equal(await page.locator(".frame .from:not(.server)").count(), 0, "events of others pass the filter");
  } finally {
    await page.goto("about:blank");
    await speaking.stop();
    await page.goto(`${server.url}/ui/?token=${encodeURIComponent(token)}`);
  }
});

test("a server that was killed is missed, and its sessions go on", async () => {
  await newSession();
  await prompt("hello there");
  await seen("You said: hello there");
  await server.kill();
  await page.locator(".pill.offline").waitFor();
  await prompt("said to nobody");
  await seen("The server does not answer.");
  assert.equal(await page.getByLabel("Prompt").inputValue(), "said to nobody", "words that did not arrive");
  browser.faults.length = 0; // the browser notes each refused connection
  server = await startServer({ token, home: server.home, port: server.port });
  await prompt("what did I say"); // likely before the page has seen that the agent is gone
  await seen('You said before: "hello there"');
  await picture(page, "restored");
  browser.faults.length = 0;
});

test("a session is ended, after a second question", async () => {
  await page.getByRole("button", { name: "End…" }).click();
  await page.getByRole("button", { name: "End for good" }).click();
  await page.getByPlaceholder("This session has ended").waitFor();
  assert.equal(await page.getByLabel("Prompt").isDisabled(), true);
  await page.getByRole("link", { name: /write notes.txt with hi/ }).click();
  await seen("I wrote notes.txt.");
});

test("a narrow page in the dark", async () => {
  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 400, height: 780 });
  await page.locator(".end").last().waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is wider than its window");
  await picture(page, "narrow");
  await page.setViewportSize({ width: 1280, height: 800 });
  await picture(page, "dark");
});

test("nothing went wrong in the page", () => assert.deepEqual(browser.faults, []));
