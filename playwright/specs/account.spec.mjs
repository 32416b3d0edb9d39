// Whose account a visitor names: a mistyped digit must not send somebody's earnings elsewhere.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAccount } from '../../web-peer/js/account.js';

/** The examples of EIP-55. */
const EXAMPLES = [
  '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed', '0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359',
  '0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB', '0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb',
  '0x52908400098527886E0F7030069857D2E4169EE7', '0xde709f2102306220921060314715629080e2fb77',
];

test('the examples of EIP-55 are accounts, and none that differs in the case of a letter', () => {
  for (const example of EXAMPLES) {
    assert.ok(isAccount(example), example);
    for (const [at, digit] of [...example].entries()) {
      const other = digit === digit.toLowerCase() ? digit.toUpperCase() : digit.toLowerCase();
      if (at < 2 || other === digit) continue;
      const wrong = example.slice(0, at) + other + example.slice(at + 1);
      assert.ok(!isAccount(wrong), wrong);
    }
  }
});

test('what has no capitals has no checksum, and what is no account is none', () => {
  assert.ok(isAccount(EXAMPLES[0].toLowerCase()));
  for (const wrong of ['', '0x', EXAMPLES[0].slice(2), `${EXAMPLES[0]}0`, EXAMPLES[0].slice(0, -1), ` ${EXAMPLES[0]}`, null, undefined, 5, {}]) {
    assert.ok(!isAccount(wrong), `${wrong}`);
  }
});
