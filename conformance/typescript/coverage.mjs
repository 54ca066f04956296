// Runs after all other files. Fails unless they called, themselves, every public
// member of the client that its type declarations name, the desktop's apart.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ProcessTerminalSession, SandboxAgent, Session } from "sandbox-agent";

const desktop = [
  "buildDesktopStreamWebSocketUrl", "clickDesktop", "connectDesktopStream", "connectDesktopStreamWebSocket", "deleteDesktopRecording",
  "downloadDesktopRecording", "dragDesktopMouse", "focusDesktopWindow", "getDesktopClipboard", "getDesktopDisplayInfo",
  "getDesktopFocusedWindow", "getDesktopMousePosition", "getDesktopRecording", "getDesktopStatus", "getDesktopStreamStatus",
  "keyDownDesktop", "keyUpDesktop", "launchDesktopApp", "listDesktopRecordings", "listDesktopWindows", "mouseDownDesktop",
  "mouseUpDesktop", "moveDesktopMouse", "moveDesktopWindow", "openDesktopTarget", "pressDesktopKey", "resizeDesktopWindow",
  "scrollDesktop", "setDesktopClipboard", "startDesktop", "startDesktopRecording", "startDesktopStream", "stopDesktop",
  "stopDesktopRecording", "stopDesktopStream", "takeDesktopRegionScreenshot", "takeDesktopScreenshot", "typeDesktopText",
];

const entry = new URL("./node_modules/sandbox-agent/dist/index.d.ts", import.meta.url);
const declarations = fs.readFileSync(entry, "utf8");
const calls = process.env.CONFORMANCE_CALLS;
const called = new Set(fs.readdirSync(calls).flatMap((file) => JSON.parse(fs.readFileSync(path.join(calls, file), "utf8"))));

const classes = { SandboxAgent, Session, ProcessTerminalSession };
for (const [name, type] of Object.entries(classes)) {
  test(`every method of ${name} is called by a test`, () => {
    const declared = declarations.match(new RegExp(`^declare class ${name} \\{$(.*?)^\\}$`, "ms"))[1];
    const hidden = new Set([...declared.matchAll(/^ +private (?:readonly )?(\w+)/gm)].map((match) => match[1]));
    if (name === "Session") hidden.add("apply"); // marked internal
    const statics = ["connect", "start"].filter((key) => Object.hasOwn(type, key));
    const members = [...Object.getOwnPropertyNames(type.prototype), ...statics]
      .filter((key) => key !== "constructor" && !hidden.has(key))
      .filter((key) => !(name === "SandboxAgent" && desktop.includes(key)));
    assert.ok(members.length > 5);
    const used = [...called].filter((key) => key.startsWith(`${name}.`)).map((key) => key.slice(name.length + 1));
    assert.deepEqual(members.filter((key) => !used.includes(key)).sort(), []);
  });
}

test("the list of desktop methods names only methods that exist", () => {
  const all = Object.getOwnPropertyNames(SandboxAgent.prototype);
  assert.deepEqual(desktop.filter((key) => !all.includes(key)), []);
  assert.deepEqual(all.filter((key) => /desktop/i.test(key) && !desktop.includes(key)), []);
});
