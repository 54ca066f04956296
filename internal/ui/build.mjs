// Builds src/ into dist/ and writes dist.sha256, by which a Go test knows that
// dist/ belongs to these sources. The same sources give the same bytes.
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = path.dirname(fileURLToPath(import.meta.url));
const at = (...parts) => path.join(root, ...parts);

await rm(at("dist"), { recursive: true, force: true });
await mkdir(at("dist", "assets"), { recursive: true });

const result = await build({
  absWorkingDir: root,
  entryPoints: { app: "src/main.tsx", style: "src/style.css" },
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  entryNames: "[name]-[hash]",
  outdir: "dist/assets",
  metafile: true,
});

let page = await readFile(at("src", "index.html"), "utf8");
for (const [output, { entryPoint }] of Object.entries(result.metafile.outputs)) {
  if (entryPoint) page = page.replaceAll(path.basename(entryPoint), path.relative("dist", output));
}
await writeFile(at("dist", "index.html"), page);

async function files(dir) {
  const found = await readdir(at(dir), { recursive: true, withFileTypes: true });
  return found.filter((f) => f.isFile()).map((f) => path.relative(root, path.join(f.parentPath, f.name)));
}

const all = [".npmrc", "build.mjs", "package-lock.json", "package.json", "tsconfig.json", ...(await files("src")), ...(await files("dist"))].sort();
const lines = await Promise.all(
  all.map(async (name) => `${createHash("sha256").update(await readFile(at(name))).digest("hex")}  ${name}\n`),
);
await writeFile(at("dist.sha256"), lines.join(""));
