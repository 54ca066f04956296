import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { connect, rejectsWith, scratch, startServer } from "./harness.mjs";

let server, client, work;
before(async () => {
  server = await startServer();
  client = await connect(server);
});
after(async () => {
  await client?.dispose();
  await server?.stop();
});
beforeEach(() => {
  work = scratch();
});

const at = (...names) => path.join(work, ...names);
const bytes = Uint8Array.from({ length: 1024 }, (_, i) => i % 256);

test("writeFsFile and readFsFile keep every byte", async () => {
  const written = await client.writeFsFile({ path: at("all.bin") }, bytes);
  assert.deepEqual(written, { path: at("all.bin"), bytesWritten: bytes.length });
  assert.deepEqual(await client.readFsFile({ path: at("all.bin") }), bytes);
  assert.deepEqual(new Uint8Array(fs.readFileSync(at("all.bin"))), bytes);
});

test("writeFsFile takes text, blobs and nothing at all, and makes parents", async () => {
  const deep = at("a", "b", "c.txt");
  assert.equal((await client.writeFsFile({ path: deep }, "grüße")).bytesWritten, 7);
  assert.equal(fs.readFileSync(deep, "utf8"), "grüße");
  await client.writeFsFile({ path: deep }, new Blob(["blob"]));
  assert.equal(fs.readFileSync(deep, "utf8"), "blob");
  assert.equal((await client.writeFsFile({ path: deep }, "")).bytesWritten, 0);
  assert.equal((await client.readFsFile({ path: deep })).length, 0);
});

test("a file larger than the earlier server took goes up and comes back", async () => {
  const large = new Uint8Array(8 << 20).map((_, i) => (i * 31) % 251);
  const written = await client.writeFsFile({ path: at("large") }, large);
  assert.equal(written.bytesWritten, large.length);
  assert.ok(Buffer.from(await client.readFsFile({ path: at("large") })).equals(Buffer.from(large)));
});

test("overwriting keeps the mode", async () => {
  fs.writeFileSync(at("tool"), "#!/bin/sh\n", { mode: 0o755 });
  await client.writeFsFile({ path: at("tool") }, "#!/bin/sh\necho hi\n");
  assert.equal(fs.statSync(at("tool")).mode & 0o777, 0o755);
});

test("names with every awkward character survive the query", async () => {
  for (const name of ["with space", "per%20cent", "a+b&c=d?e#f", "ünï-日本", "line\nbreak", "quote\"'", "-dash"]) {
    await client.writeFsFile({ path: at(name) }, name);
    assert.equal(Buffer.from(await client.readFsFile({ path: at(name) })).toString(), name);
    assert.equal((await client.statFs({ path: at(name) })).path, at(name));
  }
  assert.equal((await client.listFsEntries({ path: work })).length, 7);
});

test("relative paths are under the server's home and cannot leave it", async () => {
  await client.writeFsFile({ path: "sub/./rel.txt" }, "home");
  assert.equal(fs.readFileSync(path.join(server.home, "sub/rel.txt"), "utf8"), "home");
  await rejectsWith(() => client.writeFsFile({ path: "a/../b" }, ""), 400, "invalid_request");
  assert.ok((await client.listFsEntries()).some((entry) => entry.name === "sub"));
});

test("reading what is missing or no file is invalid_request", async () => {
  const missing = await rejectsWith(() => client.readFsFile({ path: at("none") }), 400, "invalid_request");
  assert.match(missing.problem.detail, /path not found/);
  const folder = await rejectsWith(() => client.readFsFile({ path: work }), 400, "invalid_request");
  assert.match(folder.problem.detail, /not a file/);
});

test("listFsEntries describes files and folders", async () => {
  fs.writeFileSync(at("file"), "12345");
  fs.writeFileSync(at(".hidden"), "");
  fs.mkdirSync(at("folder"));
  const entries = await client.listFsEntries({ path: work });
  const found = Object.fromEntries(entries.map((entry) => [entry.name, entry]));
  assert.deepEqual(Object.keys(found).sort(), [".hidden", "file", "folder"]);
  assert.equal(found.file.path, at("file"));
  assert.equal(found.file.entryType, "file");
  assert.equal(found.file.size, 5);
  assert.ok(Math.abs(Date.parse(found.file.modified) - Date.now()) < 600_000);
  assert.equal(found.folder.entryType, "directory");
});

test("listFsEntries of a file or of nothing is invalid_request", async () => {
  fs.writeFileSync(at("file"), "");
  await rejectsWith(() => client.listFsEntries({ path: at("file") }), 400, "invalid_request");
  await rejectsWith(() => client.listFsEntries({ path: at("none") }), 400, "invalid_request");
});

test("listFsEntries has all of a full folder", async () => {
  for (let i = 0; i < 3000; i++) fs.writeFileSync(at(`f${i}`), "");
  assert.equal((await client.listFsEntries({ path: work })).length, 3000);
});

test("statFs of files, folders and links", async () => {
  fs.writeFileSync(at("file"), "123");
  fs.symlinkSync("file", at("link"));
  const stat = await client.statFs({ path: at("file") });
  assert.equal(stat.entryType, "file");
  assert.equal(stat.size, 3);
  assert.ok(!Number.isNaN(Date.parse(stat.modified)));
  assert.equal((await client.statFs({ path: at("link") })).size, 3);
  assert.equal((await client.statFs({ path: work })).entryType, "directory");
  await rejectsWith(() => client.statFs({ path: at("none") }), 400, "invalid_request");
});

test("mkdirFs makes parents and may be repeated", async () => {
  assert.deepEqual(await client.mkdirFs({ path: at("x", "y") }), { path: at("x", "y") });
  await client.mkdirFs({ path: at("x", "y") });
  assert.ok(fs.statSync(at("x", "y")).isDirectory());
  fs.writeFileSync(at("file"), "");
  await rejectsWith(() => client.mkdirFs({ path: at("file") }), 502, "stream_error");
});

test("moveFs moves files and folders", async () => {
  fs.writeFileSync(at("from"), "1");
  const moved = await client.moveFs({ from: at("from"), to: at("new", "to") });
  assert.deepEqual(moved, { from: at("from"), to: at("new", "to") });
  assert.equal(fs.readFileSync(at("new", "to"), "utf8"), "1");
  assert.ok(!fs.existsSync(at("from")));
  await client.moveFs({ from: at("new"), to: at("newer") });
  assert.equal(fs.readFileSync(at("newer", "to"), "utf8"), "1");
});

test("moveFs overwrites only when told to", async () => {
  fs.writeFileSync(at("a"), "a");
  fs.writeFileSync(at("b"), "b");
  await rejectsWith(() => client.moveFs({ from: at("a"), to: at("b") }), 400, "invalid_request");
  assert.equal(fs.readFileSync(at("b"), "utf8"), "b");
  await client.moveFs({ from: at("a"), to: at("b"), overwrite: true });
  assert.equal(fs.readFileSync(at("b"), "utf8"), "a");
});

test("a moveFs that fails destroys nothing", async () => {
  fs.mkdirSync(at("kept"));
  fs.writeFileSync(at("kept", "file"), "precious");
  await rejectsWith(() => client.moveFs({ from: at("none"), to: at("kept"), overwrite: true }), 400, "invalid_request");
  assert.equal(fs.readFileSync(at("kept", "file"), "utf8"), "precious");
  await client.moveFs({ from: at("kept"), to: at("kept"), overwrite: true }).catch(() => {});
  assert.equal(fs.readFileSync(at("kept", "file"), "utf8"), "precious");
});

test("deleteFsEntry removes files, links and, when told to, full folders", async () => {
  fs.writeFileSync(at("file"), "");
  assert.deepEqual(await client.deleteFsEntry({ path: at("file") }), { path: at("file") });
  assert.ok(!fs.existsSync(at("file")));
  fs.symlinkSync("nowhere", at("broken"));
  await client.deleteFsEntry({ path: at("broken") });
  assert.deepEqual(fs.readdirSync(work), []);

  fs.mkdirSync(at("full"));
  fs.writeFileSync(at("full", "file"), "");
  await rejectsWith(() => client.deleteFsEntry({ path: at("full") }), 502, "stream_error");
  await rejectsWith(() => client.deleteFsEntry({ path: at("full"), recursive: false }), 502, "stream_error");
  assert.ok(fs.existsSync(at("full", "file")));
  await client.deleteFsEntry({ path: at("full"), recursive: true });
  assert.ok(!fs.existsSync(at("full")));
  await rejectsWith(() => client.deleteFsEntry({ path: at("full") }), 400, "invalid_request");
});

test("deleteFsEntry of a link to a folder leaves the folder", async () => {
  fs.mkdirSync(at("folder"));
  fs.writeFileSync(at("folder", "file"), "");
  fs.symlinkSync("folder", at("link"));
  await client.deleteFsEntry({ path: at("link"), recursive: true });
  assert.ok(!fs.existsSync(at("link")));
  assert.ok(fs.existsSync(at("folder", "file")));
});

const tar = (...args) => execFileSync("tar", args, { maxBuffer: 64 << 20 });

test("uploadFsBatch unpacks an archive with modes", async () => {
  fs.mkdirSync(at("src", "deep"), { recursive: true });
  fs.writeFileSync(at("src", "run.sh"), "#!/bin/sh\n", { mode: 0o755 });
  fs.writeFileSync(at("src", "deep", "data"), bytes);
  const answer = await client.uploadFsBatch(tar("-cf", "-", "-C", at("src"), "run.sh", "deep/data"), { path: at("dst") });
  assert.deepEqual(answer.paths.map((name) => path.relative(at("dst"), path.resolve(at("dst"), name))), ["run.sh", "deep/data"]);
  assert.equal(answer.truncated, false);
  assert.equal(fs.statSync(at("dst", "run.sh")).mode & 0o777, 0o755);
  assert.deepEqual(new Uint8Array(fs.readFileSync(at("dst", "deep", "data"))), bytes);
});

test("uploadFsBatch without a path unpacks into the home", async () => {
  fs.writeFileSync(at("batched"), "x");
  await client.uploadFsBatch(tar("-cf", "-", "-C", work, "batched"));
  assert.equal(fs.readFileSync(path.join(server.home, "batched"), "utf8"), "x");
});

test("uploadFsBatch lists the first 1024 names and says that it cut", async () => {
  fs.mkdirSync(at("src"));
  for (let i = 0; i < 1100; i++) fs.writeFileSync(at("src", `f${i}`), "");
  const answer = await client.uploadFsBatch(tar("-cf", "-", "-C", at("src"), ...fs.readdirSync(at("src"))), { path: at("dst") });
  assert.equal(answer.paths.length, 1024);
  assert.equal(answer.truncated, true);
  assert.equal(fs.readdirSync(at("dst")).length, 1100);
});

test("uploadFsBatch refuses names that leave the folder, and then writes nothing", async () => {
  fs.writeFileSync(at("good"), "");
  fs.writeFileSync(at("bad"), "");
  const archive = tar("-cf", "-", "-P", "-C", work, "--transform", "s,^bad,../bad,", "good", "bad");
  await rejectsWith(() => client.uploadFsBatch(archive, { path: at("dst") }), 400, "invalid_request");
  assert.ok(!fs.existsSync(at("dst", "good")));
});

test("uploadFsBatch does not write through a link in the archive", async () => {
  fs.mkdirSync(at("outside"));
  fs.mkdirSync(at("one"));
  fs.symlinkSync(at("outside"), at("one", "l"));
  fs.mkdirSync(at("two", "l"), { recursive: true });
  fs.writeFileSync(at("two", "l", "escaped"), "");
  tar("-cf", at("x.tar"), "-C", at("one"), "l");
  tar("-rf", at("x.tar"), "-C", at("two"), "l/escaped");
  await assert.rejects(() => client.uploadFsBatch(fs.readFileSync(at("x.tar")), { path: at("dst") }));
  assert.deepEqual(fs.readdirSync(at("outside")), []);
});

test("uploadFsBatch of what is no archive fails", async () => {
  await assert.rejects(() => client.uploadFsBatch("this is no archive at all", { path: at("dst") }), (error) => error.status >= 400);
});
