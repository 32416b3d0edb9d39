// What every bench here needs: its arguments, order statistics, and a table.
export const argument = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1];
};

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** The value that the given share of all values does not exceed. */
export function quantile(values, share) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

/** Rejects after `ms`, saying what was waited for. */
export function within(ms, what, work) {
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`not within ${ms} ms: ${what}`)), ms); });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

export const cell = (text, width) => String(text).padStart(width);

/** Prints each verdict and ends with 1 where one is bad. */
export function conclude(verdicts) {
  for (const { met, says } of verdicts) console.log(`${met ? 'met   ' : 'MISSED'} ${says}`);
  process.exitCode = verdicts.length > 0 && verdicts.every(({ met }) => met) ? 0 : 1;
}
