// A real server with a home of its own, and a real browser with a profile of
// its own, for each test file.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const binary = process.env.SANDBOX_AGENT_BIN;
assert.ok(binary, "SANDBOX_AGENT_BIN must name the server binary; use conformance/ui/run");

// Long enough that only a hang reaches it.
export const patience = Number(process.env.CONFORMANCE_PATIENCE_MS ?? 60_000);

function scratch(name) {
  return fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), `inspector-${name}-`)));
}

/** Starts a server. stop ends it and fails unless it ends by itself. */
export async function startServer({ token, home = scratch("home"), port = 0, args = [] } = {}) {
  const child = spawn(binary, ["server", "--port", String(port), ...(token ? ["--token", token] : ["--no-token"]), ...args], {
    env: { PATH: process.env.PATH, HOME: home, LANG: "C.UTF-8" },
    cwd: home,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = new Promise((resolve) => child.once("exit", (code) => resolve(code)));
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  let output = "";
  const url = await new Promise((resolve, reject) => {
    const read = (text) => {
      output = (output + text).slice(-64 * 1024);
      const found = output.match(/http:\/\/127\.0\.0\.1:\d+/)?.[0];
      if (found) resolve(found);
    };
    child.stdout.setEncoding("utf8").on("data", read);
    child.stderr.setEncoding("utf8").on("data", read);
    exited.then((code) => reject(new Error(`server ended with ${code}:\n${output}`)));
  });
  return {
    url,
    home,
    port: new URL(url).port,
    kill: () => (kill(), exited),
    async stop() {
      child.kill("SIGTERM");
      assert.equal(await exited, 0, `exit code of the server:\n${output}`);
      process.off("exit", kill);
      fs.rmSync(home, { recursive: true, force: true });
    },
  };
}

/** Starts a bad way to the server: it breaks each connection that has brought so
 * many bytes. cuts tells how often it did. */
export async function startProxy(port, bytes) {
  const sockets = new Set();
  let cuts = 0;
  const keep = (socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket));
    return socket;
  };
  const proxy = net.createServer((near) => {
    const far = keep(net.connect(port, "127.0.0.1"));
    keep(near).pipe(far).pipe(near);
    far.on("data", () => {
      if (far.bytesRead < bytes || far.destroyed) return;
      cuts++;
      far.destroy();
    });
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    cuts: () => cuts,
    stop() {
      sockets.forEach((socket) => socket.destroy());
      return new Promise((resolve) => proxy.close(resolve));
    },
  };
}

/** Starts a browser. Every fault of a page, and every request to anything but
 * the server, is noted in faults. */
export async function startBrowser(options = {}) {
  const profile = scratch("profile");
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    viewport: { width: 1280, height: 800 },
    ...options,
  });
  context.setDefaultTimeout(patience);
  const faults = [];
  const watch = (page) => {
    page.on("pageerror", (fault) => faults.push(`uncaught: ${fault.message}`));
    page.on("console", (message) => message.type() === "error" && faults.push(`console: ${message.text()}`));
    page.on("request", (request) => {
      if (!/^(http:\/\/127\.0\.0\.1:|data:|blob:)/.test(request.url())) faults.push(`request to ${request.url()}`);
    });
  };
  context.pages().forEach(watch);
  context.on("page", watch);
  return {
    context,
    faults,
    page: context.pages()[0],
    async stop() {
      await context.close();
      fs.rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** Takes a picture into the folder that SCREENSHOTS names, if it does. */
export async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: path.join(process.env.SCREENSHOTS, `${name}.png`) });
}
