// The contracts on a chain of our own, and what must hold of them at every block.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createPublicClient, createWalletClient, http, parseEventLogs, zeroHash } from 'viem';
import { foundry } from 'viem/chains';
import { firstAccount, startAnvil } from '../rig/anvil.mjs';
import { root } from '../rig/browser.mjs';
import { pause } from './measure.mjs';

const COINS = '0xffffffffffffffff';
const THAW_SECONDS = 7_200n;
const DAY_SECONDS = 86_400;
const JUDGES = ['0x1111111111111111111111111111111111111111', '0x2222222222222222222222222222222222222222'];

/** A block a second; what is two blocks old is final. */
export async function startChain() {
  const anvil = await startAnvil(['--block-time', '1', '--slots-in-an-epoch', '1', '--hardfork', 'prague']);
  const options = { chain: foundry, transport: http(anvil.url), pollingInterval: 200 };
  const reads = createPublicClient(options);
  const writes = createWalletClient({ ...options, account: firstAccount });
  const mined = async (hash) => {
    const receipt = await reads.waitForTransactionReceipt({ hash });
    if (receipt.status !== 'success') throw new Error(`a transaction was reverted: ${hash}`);
    return receipt;
  };
  const deploy = async (name, args = []) => {
    const { abi, bytecode } = JSON.parse(readFileSync(join(root, 'contracts/abi/json', `${name}.json`)));
    const { contractAddress } = await mined(await writes.deployContract({ abi, bytecode, args }));
    return { abi, address: contractAddress };
  };
  const dollar = await deploy('Dollar');
  const channels = await deploy('PaymentChannels', [dollar.address, THAW_SECONDS]);
  const escrow = await deploy('PaymentManager', [dollar.address]);
  const stakes = await deploy('StakeRegistry', [dollar.address, ...JUDGES, 1n]);
  const payouts = await deploy('Payouts', [dollar.address]);
  const write = async (contract, functionName, args) => mined(await writes.writeContract({ ...contract, functionName, args }));
  const read = (contract, functionName, args, blockNumber) => reads.readContract({ ...contract, functionName, args, blockNumber });
  /** One job, so that there is something in escrow: its name. */
  const createJob = async (provider, amount) => {
    await write(dollar, 'mint', [firstAccount, amount]);
    await write(dollar, 'approve', [escrow.address, amount]);
    const deliverBy = BigInt(Math.floor(Date.now() / 1000) + DAY_SECONDS);
    const terms = { provider, amount, arbiter: JUDGES[0], deliverBy, reviewSeconds: DAY_SECONDS, ruleSeconds: DAY_SECONDS, silenceShare: 0, specification: zeroHash };
    const { logs } = await write(escrow, 'create', [terms, zeroHash]);
    return parseEventLogs({ abi: escrow.abi, eventName: 'Created', logs })[0].args.job;
  };
  return {
    url: anvil.url, dollar, channels, stakes, escrow, payouts, read, createJob,
    newest: () => reads.getBlockNumber({ cacheTime: 0 }),
    fund: async (account, tokens) => {
      await anvil.ask('anvil_setBalance', [account, COINS]);
      if (tokens > 0n) await write(dollar, 'mint', [account, tokens]);
    },
    events: (contract, eventName, fromBlock, toBlock) => reads.getContractEvents({ ...contract, eventName, fromBlock, toBlock }),
    close: anvil.close,
  };
}

/** Each part by its name. */
export const named = (parts) => Object.entries(parts).map(([name, part]) => `${name} ${part}`).join(', ');

const sum = (amounts) => amounts.reduce((total, amount) => total + amount, 0n);

/**
 * Follows the blocks: what was put into channels, escrow, stakes and payouts is free, reserved and not claimed, withdrawn, in
 * escrow, at stake, unclaimed or paid to an earner, at every one of them; and the contracts have the tokens that they say.
 */
export async function watchBlocks(chain, { payer, payees, job }) {
  const { channels, escrow, stakes, payouts, dollar, read } = chain;
  const first = await chain.newest();
  const seen = { blocks: 0, wrong: [] };
  let [put, withdrawn, earned, last] = [0n, 0n, 0n, null];
  const epochs = [];
  const look = async (from, block) => {
    const moved = async (contract, eventName, amountOf = ({ amount }) => amount) =>
      sum((await chain.events(contract, eventName, from, block)).map(({ args }) => amountOf(args)));
    put += await moved(channels, 'Deposited') + await moved(stakes, 'Staked') + await moved(payouts, 'Opened')
      + await moved(escrow, 'Created', ({ terms }) => terms.amount);
    earned += await moved(payouts, 'Paid');
    epochs.push(...(await chain.events(payouts, 'Opened', from, block)).map(({ args }) => [args.payer, args.epoch]));
    withdrawn += await moved(channels, 'Withdrawn') + await moved(stakes, 'Withdrawn');
    const nodes = (await chain.events(stakes, 'Registered', 0n, block)).map(({ args }) => args.node);
    const all = (contract, name, list) => Promise.all(list.map((args) => read(contract, name, args, block)));
    const free = sum(await all(channels, 'freeOf', [payer, ...payees].map((account) => [account])));
    const open = sum((await all(channels, 'channelOf', payees.map((payee) => [payer, payee]))).map(({ ceiling, claimed }) => ceiling - claimed));
    const atStake = sum((await all(stakes, 'nodeOf', nodes.map((node) => [node]))).map(({ bonded, unbonding }) => bonded + unbonding));
    const { amount: inEscrow } = await read(escrow, 'jobOf', [job], block);
    const unclaimed = sum((await all(payouts, 'payoutOf', epochs)).map(([, left]) => left));
    const held = await all(dollar, 'balanceOf', [channels, stakes, escrow, payouts].map(({ address }) => [address]));
    const parts = { free, reserved: open, withdrawn, 'in escrow': inEscrow, 'at stake': atStake, unclaimed, earned };
    if (put !== sum(Object.values(parts))) seen.wrong.push(`block ${block}: ${put} were put in; ${named(parts)}`);
    if (String(held) !== String([free + open, atStake, inEscrow, unclaimed])) seen.wrong.push(`block ${block}: the contracts have ${held}`);
    Object.assign(seen, { blocks: seen.blocks + 1, put, parts });
  };
  const running = (async () => {
    for (let next = first; last === null || next <= last;) {
      if (next > await chain.newest()) { await pause(200); continue; }
      await look(next === first ? 0n : next, next);
      next += 1n;
    }
  })();
  // Whoever waits for the end hears of a failure; until then nobody does.
  running.catch(() => {});
  return {
    /** Looks at all blocks so far, and says what was seen. */
    end: async () => {
      last = await chain.newest();
      await running;
      return seen;
    },
  };
}
