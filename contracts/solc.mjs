#!/usr/bin/env node
// The Solidity compiler as forge wants it: a program. npm has the compiler as WebAssembly only, so this
// answers the two questions that forge asks of a program and lets npm's `solc` do the work.
//
// `--listen SOCKET` stays until its input ends, and answers there whoever is started with it in SOLC_SOCKET. A compiler
// that has been running for a while takes less than half the time: who compiles hundreds of times wants that.
import { once } from "node:events";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";

// Not by `for await`, which would close a socket that is still to be answered.
async function textOf(stream) {
  const chunks = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  await once(stream, "end");
  return Buffer.concat(chunks).toString("utf8");
}

// All sources come inside the question: nothing is read from the disk here. An empty one asks for the version.
function compiler() {
  const solc = createRequire(import.meta.url)("solc");
  // forge reads the platform as a part of the version, and knows that of a native compiler only.
  const version = solc.version().replace("Emscripten.clang", "Linux.g++");
  return (question) =>
    question === "" ? `solc, the solidity compiler commandline interface\nVersion: ${version}\n` : solc.compile(question);
}

async function answerTo(question) {
  const socket = process.env.SOLC_SOCKET;
  if (!socket) return compiler()(question);
  const connection = connect({ path: socket, allowHalfOpen: true });
  connection.end(question);
  return textOf(connection);
}

const asked = process.argv.slice(2);
if (asked.includes("--version")) {
  process.stdout.write(await answerTo(""));
} else if (asked.includes("--standard-json")) {
  process.stdout.write(await answerTo(await textOf(process.stdin)));
} else if (asked[0] === "--listen") {
  const compile = compiler();
  const server = createServer({ allowHalfOpen: true }, async (connection) => {
    // A forge that was ended does not wait for its answer.
    connection.on("error", () => {});
    const question = await textOf(connection).catch(() => "");
    connection.end(compile(question));
  });
  server.listen(asked[1], () => console.log("ready"));
  process.stdin.resume().on("end", () => process.exit());
} else {
  console.error("this compiler answers --version and --standard-json");
  process.exitCode = 1;
}
