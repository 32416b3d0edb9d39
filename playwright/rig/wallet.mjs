// A wallet as a page sees one (EIP-1193). It signs as anvil does, with the first of anvil's accounts, which everybody knows.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { root } from './browser.mjs';

const program = join(root, 'contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil');
const READY_WAIT_MS = 30_000;

export const account = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266';

/** Starts it; `install` puts it into a page before that is opened. */
export async function startWallet() {
  if (!existsSync(program)) throw new Error(`${program} is missing: cargo xtask test contracts`);
  const child = spawn(program, ['--port', '0'], { stdio: ['ignore', 'pipe', 'ignore'] });
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
  const seen = [];
  return {
    /** What it was asked to sign. */
    seen,
    async install(page) {
      await page.exposeFunction('askWallet', async ({ method, params = [] }) => {
        if (method === 'personal_sign') seen.push(Buffer.from(params[0].slice(2), 'hex').toString());
        return ask(method === 'eth_requestAccounts' ? 'eth_accounts' : method, params);
      });
      await page.addInitScript(() => { window.ethereum = { request: (asked) => window.askWallet(asked) }; });
    },
    close: () => child.kill(),
  };
}
