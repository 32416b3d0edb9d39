// What a person does who has no mouse, and hears what the page says.
export const PATIENCE = { timeout: 15_000 };

export const says = (page, text) => page.getByRole('status').filter({ hasText: text }).waitFor(PATIENCE);

/** Presses a button, by keyboard alone. */
export async function press(page, name) {
  const button = page.getByRole('button', { name });
  await button.waitFor(PATIENCE);
  for (let steps = 0; steps < 30; steps += 1) {
    await page.keyboard.press('Tab');
    if (await button.evaluate((element) => element === document.activeElement)) return page.keyboard.press('Enter');
  }
  throw new Error(`${name} cannot be reached by the keyboard`);
}
