// Builds ../built/ from src/ and index.html. The same sources and versions give the same bytes.
import { build } from "esbuild";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";

const shared = { bundle: true, minify: true, target: "es2022", charset: "utf8", legalComments: "none" };

// `import source from "worker:./file.ts"` is the text of a bundled script: a worker is started from a Blob of it, since
// browsers refuse worker files of a page that was opened from disk.
const workerText = {
  name: "worker-text",
  setup(b) {
    b.onResolve({ filter: /^worker:/ }, async (args) => {
      const found = await b.resolve(args.path.slice("worker:".length), {
        resolveDir: args.resolveDir,
        kind: "import-statement",
      });
      return { path: found.path, namespace: "worker-text" };
    });
    b.onLoad({ filter: /.*/, namespace: "worker-text" }, async (args) => {
      const made = await build({ ...shared, entryPoints: [args.path], format: "iife", write: false });
      const contents = made.outputFiles[0].text;
      await writeFile(`../built/${basename(args.path, ".ts")}.js`, contents); // tests run it by itself
      return { contents, loader: "text" };
    });
  },
};

await build({
  ...shared,
  entryPoints: { app: "src/main.tsx" },
  format: "iife",
  jsx: "automatic",
  jsxImportSource: "preact",
  outdir: "../built",
  plugins: [workerText],
});

await copyFile("index.html", "../built/index.html");

// The licences of what is inside the bundle.
const { dependencies } = JSON.parse(await readFile("package.json", "utf8"));
const licences = [];
for (const name of Object.keys(dependencies).sort()) {
  const { version, license } = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  const text = await readFile(`node_modules/${name}/LICENSE`, "utf8");
  licences.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
}
await writeFile("../built/licences.txt", licences.join("\n\n"));
