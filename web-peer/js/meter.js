// @ts-check
/**
 * What the visitor sees: the question, asked once, and then a small meter that tells what this page
 * gets from others and gives to them, and stops it. It lives in a shadow root, so that neither the
 * site's styles nor ours disturb the other.
 */

const STYLE = `
  :host { all: initial; position: fixed; z-index: 2147483000; inset: auto auto 12px 12px; max-width: min(340px, calc(100vw - 24px)); }
  * { box-sizing: border-box; font: 14px/1.45 system-ui, sans-serif; }
  .card, .pill { color: #14171f; background: #fff; border: 1px solid #c9ced8; box-shadow: 0 2px 12px rgb(0 0 0 / .18); }
  .card { padding: 14px 16px; border-radius: 12px; margin-bottom: 8px; animation: rise .16s ease-out; }
  .pill { display: inline-flex; align-items: center; gap: 8px; padding: 6px 12px; border-radius: 999px; cursor: pointer; }
  .dot { width: 10px; height: 10px; border-radius: 50%; background: radial-gradient(circle at 35% 35%, #6d5bd0, #1b1340 70%); }
  h2 { font-weight: 650; font-size: 15px; margin: 0 0 6px; }
  p { margin: 0 0 10px; }
  dl { display: grid; grid-template-columns: 1fr auto; gap: 2px 16px; margin: 0 0 12px; }
  dt, dd { margin: 0; } dd { text-align: right; font-variant-numeric: tabular-nums; }
  .row { display: flex; gap: 8px; flex-wrap: wrap; }
  button.act { flex: 1; padding: 8px 12px; border-radius: 8px; border: 1px solid #5546b5; background: #5546b5; color: #fff; cursor: pointer; white-space: nowrap; }
  dl ~ button.act { width: 100%; margin-top: 6px; }
  .choice { display: flex; gap: 8px; align-items: flex-start; margin: 0 0 10px; }
  button.quiet { background: transparent; color: #3d3190; }
  button:focus-visible { outline: 3px solid #8f7ff0; outline-offset: 2px; }
  [hidden] { display: none !important; }
  @keyframes rise { from { opacity: 0; transform: translateY(6px); } }
  @media (prefers-reduced-motion: reduce) { .card { animation: none; } }
  @media (prefers-color-scheme: dark) {
    .card, .pill { color: #eceef4; background: #1d2029; border-color: #434857; }
    .dot { background: radial-gradient(circle at 35% 35%, #b7abff, #5a47c9 70%); }
    button.quiet { color: #c9c0ff; border-color: #8f7ff0; }
  }
  @media print { :host { display: none; } }
`;

/** @param {number} bytes */
const said = (bytes) =>
  bytes < 1e6 ? `${Math.round(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

export class Meter {
  #host = document.createElement('div');
  #root;
  /** @type {Record<string, HTMLElement>} */
  #parts = {};

  /** @param {any} page */
  constructor(page) {
    this.page = page;
    this.#host.id = 'blackhole-meter';
    this.#root = this.#host.attachShadow({ mode: 'open' });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    // Not subject to a page's `style-src`, as a style element would be.
    this.#root.adoptedStyleSheets = [sheet];
    document.body.append(this.#host);
  }

  /** @param {(keeps: boolean) => void} yes @param {() => void} no */
  ask(yes, no) {
    const card = element('section', { className: 'card', role: 'region', ariaLabel: 'Faster together' });
    const choose = (/** @type {() => void} */ choice) => () => {
      card.remove();
      choice();
    };
    card.append(
      element('h2', { textContent: 'Load this site together?' }),
      element('p', {
        textContent:
          'Visitors can pass this site’s files on to each other, checked against the publisher’s signature. ' +
          'Others then see your network address, and some of your upload is used. You can stop at any time.',
      }),
    );
    const keeps = /** @type {HTMLInputElement} */ (element('input', { type: 'checkbox', checked: false }));
    const { keepBytes } = this.page.context.settings;
    if (keepBytes > 0) {
      const label = element('label', { className: 'choice' });
      label.append(keeps, `Also keep encrypted pieces of others’ files on this device, up to ${said(keepBytes)}.`);
      card.append(label);
    }
    const row = element('div', { className: 'row' });
    row.append(
      button('act', 'Take part', choose(() => yes(keeps.checked))),
      button('act quiet', 'No, thanks', choose(no)),
    );
    card.append(row);
    card.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') choose(no)();
    });
    this.#root.append(card);
  }

  /** The meter itself. */
  show() {
    if (this.#parts.pill) return;
    const card = element('section', { className: 'card', id: 'detail', hidden: true, role: 'region', ariaLabel: 'Delivery between visitors' });
    const list = element('dl');
    const rows = [['peers', 'From other visitors'], ['given', 'Given to others'], ['http', 'From servers'], ['links', 'Connected visitors']];
    const keepable = this.page.context.settings.keepBytes > 0;
    if (keepable) rows.push(['kept', 'Kept for others']);
    rows.push(['earned', 'Earned here']);
    for (const [name, label] of rows) {
      const value = element('dd', { textContent: '–' });
      const title = element('dt', { textContent: label });
      list.append(title, value);
      Object.assign(this.#parts, { [name]: value, [`${name}Title`]: title });
    }
    card.append(
      element('h2', { textContent: 'Loading together' }),
      list,
      button('act', 'Stop taking part', () => this.#stop()),
    );
    if (keepable) {
      this.#parts.keep = button('act quiet', '', () => this.#toggleKeeping());
      card.append(this.#parts.keep);
    }
    const pill = button('pill', '', () => this.#toggle());
    pill.setAttribute('aria-expanded', 'false');
    pill.setAttribute('aria-controls', 'detail');
    const text = element('span', { textContent: 'Loading together' });
    pill.append(element('span', { className: 'dot', ariaHidden: 'true' }), text);
    card.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      this.#toggle(false);
      pill.focus();
    });
    Object.assign(this.#parts, { pill, card, text });
    this.#root.append(card, pill);
    this.update(this.page.status());
  }

  /** @param {any} status */
  update({ bytes, peers, known, kept, earned }) {
    const { text, pill } = this.#parts;
    if (!text) return;
    const moved = bytes.peers + bytes.uploaded > 0;
    const told = moved ? `${said(bytes.peers)} from visitors · ${said(bytes.uploaded)} given` : `${peers} connected`;
    text.textContent = moved ? told : 'Loading together';
    pill.setAttribute('aria-label', `Loading together: ${told}. Details and stop.`);
    this.#parts.peers.textContent = said(bytes.peers);
    this.#parts.given.textContent = said(bytes.uploaded);
    this.#parts.http.textContent = said(bytes.http);
    this.#parts.links.textContent = known > peers ? `${peers} of ${known}` : `${peers}`;
    // Without an account nothing is earned, and nothing said of it.
    this.#parts.earned.hidden = this.#parts.earnedTitle.hidden = earned.account === null;
    this.#parts.earned.textContent = `${Number(earned.earned).toLocaleString('en')} base units`;
    this.#parts.earned.title = `to ${earned.account}`;
    if (!this.#parts.keep) return;
    const { keepBytes } = this.page.context.settings;
    this.#parts.kept.textContent = kept.allowed > 0 ? `${said(kept.bytes)} of ${said(kept.allowed)}` : 'nothing';
    this.#parts.keep.textContent =
      kept.allowed > 0 ? 'Stop keeping for others, and delete' : `Keep up to ${said(keepBytes)} for others`;
  }

  close() {
    this.#host.remove();
  }

  /** @param {boolean} [open] */
  #toggle(open) {
    const { card, pill } = this.#parts;
    card.hidden = open === undefined ? !card.hidden : !open;
    pill.setAttribute('aria-expanded', `${!card.hidden}`);
  }

  #stop() {
    const { consent } = this.page.context;
    consent.set('off');
    consent.keep(0);
    this.page.stop();
    void this.page.letGo();
  }

  /** The visitor keeps pieces for others, or no more. */
  #toggleKeeping() {
    const { consent, settings } = this.page.context;
    const keeps = consent.keeps() === 0;
    consent.keep(keeps ? settings.keepBytes : 0);
    void (keeps ? this.page.keep() : this.page.letGo());
    this.update(this.page.status());
  }
}

/** @param {string} name @param {object} [properties] @returns {HTMLElement} */
function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

/** @param {string} className @param {string} textContent @param {() => void} act */
function button(className, textContent, act) {
  const made = element('button', { className, textContent, type: 'button' });
  made.addEventListener('click', act);
  return made;
}
