#!/usr/bin/env node
// The Solidity compiler as forge wants it: a program. npm has the compiler as WebAssembly only, so this
// answers the two questions that forge asks of a program and lets npm's `solc` do the work.
import { createRequire } from "node:module";

const solc = createRequire(import.meta.url)("solc");

async function standardInput() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

const asked = process.argv.slice(2);
if (asked.includes("--version")) {
  // forge reads the platform as a part of the version, and knows that of a native compiler only.
  const version = solc.version().replace("Emscripten.clang", "Linux.g++");
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${version}`);
} else if (asked.includes("--standard-json")) {
  // All sources come inside the question: nothing is read from the disk here.
  const answer = solc.compile(await standardInput());
  process.stdout.write(answer);
} else {
  console.error("this compiler answers --version and --standard-json");
  process.exitCode = 1;
}
