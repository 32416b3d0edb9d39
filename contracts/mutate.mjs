// How good the tests are: changes the contracts in one place at a time, and says which changes no test noticed.
//
//   node mutate.mjs [how many, 0 for all] [seed] [how many to pass over first]
//
// Works on a copy in target/. Only unit and fuzz tests are asked: what only an invariant or a proof would notice
// counts as not noticed, so the score said is a lower bound. A seed gives an order, so that a long run can be made in
// pieces.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const COPY = join(HERE, "../target/contracts/mutants/contracts");
const FORGE = join(HERE, "node_modules/@foundry-rs/forge-linux-amd64/bin/forge");
// A mutant may loop for ever; one that takes longer than this has been noticed.
const MILLISECONDS_MAX = 300_000;

// Which tests are about which file; the first are asked first, because what they import compiles sooner.
const TESTS = {
  "src/PaymentChannels.sol": ["PaymentChannels", "Vouchers", "{Events,HostileTokens}"],
  "src/PaymentManager.sol": ["PaymentManager", "{Events,HostileTokens}"],
  "src/StakeRegistry.sol": ["StakeRegistry", "{Events,HostileTokens}"],
  "src/Payouts.sol": ["Payouts", "{Events,HostileTokens}"],
  "src/ReputationAnchor.sol": ["ReputationAnchor", "Events"],
  "src/base/Vouchers.sol": ["Vouchers", "PaymentChannels"],
  "src/base/ExactToken.sol": ["HostileTokens", "PaymentManager"],
  "src/base/Dues.sol": ["PaymentManager", "{Events,HostileTokens}"],
  "src/base/Consent.sol": ["PaymentManager", "Vouchers"],
};

const OPERATORS = [
  [/ < /, " <= "], [/ <= /, " < "], [/ > /, " >= "], [/ >= /, " > "], [/ < /, " > "], [/ > /, " < "],
  [/ == /, " != "], [/ != /, " == "], [/ && /, " || "], [/ \|\| /, " && "],
  [/ \+ /, " - "], [/ - /, " + "], [/ \* /, " / "], [/ \+= /, " -= "], [/ -= /, " += "], [/ \+= /, " = "],
  [/ \? ([^:]+) : ([^;]+);/, " ? $2 : $1;"],
  [/ nonReentrant\b/, ""],
  // In assembly.
  [/\bgt\(/, "lt("], [/\blt\(/, "gt("], [/\badd\(amount/, "sub(amount"], [/\bcontinue\b/, "pop(0)"],
  // A statement that does something, or a refusal, left out.
  [/^(\s+)(if \(.*\) )?revert .*;$/, "$1"],
  [/^(\s+)(token\.|_pay|_owe|_take|_give|_credit|_spendFree|_reserve\(|delete |Consent\.|sstore).*;?$/, "$1"],
  [/^(\s+)(?!uint|bool|bytes|address|mapping|Word|Vouchers\.Word|return|emit|error|event|import|let|\()[\w.[\]]+( [+-])?= .*;$/, "$1"],
];

function mutantsOf(file) {
  const lines = readFileSync(join(HERE, file), "utf8").split("\n");
  const mutants = [];
  let inContract = false;
  lines.forEach((line, at) => {
    inContract ||= /^(abstract )?(contract|library) /.test(line);
    const isCode = inContract && !/^\s*\/\/|^\s*(event|error|struct|enum)\b|\bconstant\b|^\s*(unchecked|for)\b/.test(line);
    if (!isCode) return;
    for (const [pattern, replacement] of OPERATORS) {
      const changed = line.replace(pattern, replacement);
      if (changed !== line) mutants.push({ file, at, before: line, after: changed, lines });
    }
  });
  return mutants;
}

// A small generator, so that a seed names a sample.
function shuffled(list, seed) {
  let state = seed >>> 0 || 1;
  const random = () => {
    state ^= state << 13; state >>>= 0; state ^= state >>> 17; state ^= state << 5; state >>>= 0;
    return state / 2 ** 32;
  };
  for (let at = list.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    [list[at], list[other]] = [list[other], list[at]];
  }
  return list;
}

function trial(mutant) {
  const path = join(COPY, mutant.file);
  const lines = [...mutant.lines];
  lines[mutant.at] = mutant.after;
  writeFileSync(path, lines.join("\n"));
  let outcome = "survived";
  for (const tests of TESTS[mutant.file]) {
    outcome = outcomeOf(tests);
    if (outcome !== "survived") break;
  }
  writeFileSync(path, mutant.lines.join("\n"));
  return outcome;
}

function outcomeOf(tests) {
  const run = spawnSync(FORGE, ["test", "--json", "--fail-fast", "--match-path", `test/${tests}.t.sol`], {
    cwd: COPY, encoding: "utf8", timeout: MILLISECONDS_MAX, maxBuffer: 1 << 28,
    env: { ...process.env, FOUNDRY_FUZZ_RUNS: "64", FOUNDRY_PROFILE: "mutants", SOLC_SOCKET: socket },
  });
  if (run.status === 0) return "survived";
  return /"status":"Failure"/.test(run.stdout) || run.error ? "killed" : "did not compile";
}

const [count, seed, passed] = [2, 3, 4].map((at) => Number(process.argv[at] ?? (at === 3 ? 1 : 0)));
rmSync(COPY, { recursive: true, force: true });
mkdirSync(COPY, { recursive: true });
for (const part of ["src", "test", "foundry.toml", "solc.mjs", "package.json"]) {
  cpSync(join(HERE, part), join(COPY, part), { recursive: true });
}
symlinkSync(join(HERE, "node_modules"), join(COPY, "node_modules"));

// A short path: a socket's may have a hundred bytes.
const place = mkdtempSync(join(tmpdir(), "solc-"));
const socket = join(place, "socket");
const solc = spawn(join(COPY, "solc.mjs"), ["--listen", socket], { stdio: ["pipe", "pipe", "inherit"] });
process.on("exit", () => rmSync(place, { recursive: true, force: true }));
await once(solc.stdout, "data");

const all = shuffled(Object.keys(TESTS).flatMap(mutantsOf), seed);
const chosen = all.slice(passed, count > 0 ? passed + count : all.length);
// A test that fails by itself would kill every mutant.
for (const tests of new Set(chosen.flatMap(({ file }) => TESTS[file]))) {
  const outcome = outcomeOf(tests);
  if (outcome !== "survived") throw new Error(`without any change, test/${tests}.t.sol: ${outcome}`);
}
const tally = { killed: 0, survived: 0, "did not compile": 0 };
for (const mutant of chosen) {
  const outcome = trial(mutant);
  tally[outcome] += 1;
  console.log(`${outcome}: ${mutant.file}:${mutant.at + 1}`);
  if (outcome === "survived") console.log(`  - ${mutant.before.trim()}\n  + ${mutant.after.trim()}`);
}
const judged = tally.killed + tally.survived;
const score = judged === 0 ? 0 : (100 * tally.killed) / judged;
console.log(
  `${tally.killed} of ${judged} mutants killed (${score.toFixed(1)} %), of ${all.length} there are; ` +
    `${tally["did not compile"]} did not compile`,
);
process.exit(score >= 90 ? 0 : 1);
