// A wallet as a page sees one (EIP-1193). It signs as anvil does, with the first of its accounts.
import { firstAccount, startAnvil } from './anvil.mjs';

export const account = firstAccount;

/** Starts it; `install` puts it into a page before that is opened. */
export async function startWallet() {
  const { ask, close } = await startAnvil();
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
    close,
  };
}
