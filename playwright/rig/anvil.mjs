// A chain of our own, as the contracts' packages bring it.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { root } from './browser.mjs';

const program = join(root, 'contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil');
const READY_WAIT_MS = 30_000;

/** The first of anvil's accounts, which everybody knows. */
export const firstAccount = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266';

/** Starts it on any free port; `ask` is its JSON-RPC. */
export async function startAnvil(flags = []) {
  if (!existsSync(program)) throw new Error(`${program} is missing: cargo xtask test contracts`);
  const child = spawn(program, ['--port', '0', ...flags], { stdio: ['ignore', 'pipe', 'ignore'] });
  const url = await new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error('anvil is not ready')), READY_WAIT_MS);
    createInterface(child.stdout).on('line', (line) => {
      const [, listening] = /^Listening on (.*)/.exec(line) ?? [];
      if (listening) { clearTimeout(timer); done(`http://${listening}`); }
    });
  });
  const ask = async (method, params) => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const { result, error } = await answer.json();
    if (error) throw new Error(error.message);
    return result;
  };
  return { url, ask, close: () => child.kill() };
}
