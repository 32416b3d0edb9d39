// The login of a wallet in this browser (EIP-1193, EIP-4361), or of a passkey (WebAuthn). Whatever comes from elsewhere is
// shown as text.

const at = (id) => document.getElementById(id);
const say = (text) => { at("said").textContent = text; };

async function ask(path, method = "GET", body = undefined) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (csrf) headers["x-blackhole-csrf"] = csrf;
  const answer = await fetch("/blackhole/v1/" + path, { method, headers, body: body && JSON.stringify(body) });
  const said = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.detail || said.title), { status: answer.status });
  return said;
}

let csrf = "";

async function show() {
  csrf = "";
  let session;
  try {
    session = await ask("session");
  } catch (error) {
    if (error.status !== 401) throw error;
  }
  at("out").hidden = Boolean(session);
  at("in").hidden = !session;
  if (!session) return say("Nobody is logged in.");
  csrf = session.csrf;
  at("account").textContent = session.account;
  const passkeys = await ask("passkeys");
  const by = (id) => passkeys.find((one) => one.id === id)?.name;
  list("sessions", await ask("sessions"), (one) =>
    `${one.agent}, used ${when(one.used_unix)}${one.passkey ? `, by passkey ${by(one.passkey)}` : ""}${one.current ? ", this one" : ""}`);
  list("passkeys", passkeys, (one) =>
    `${one.name}, added ${when(one.created_unix)}, ${one.used_unix ? `used ${when(one.used_unix)}` : "not used yet"}${one.suspended ? ": there may be a copy of it, end it" : ""}`);
  list("keys", await ask("keys"), (one) => `${one.name} (${one.scopes.join(", ")}), until ${when(one.expires_unix)}`);
  // Said when all of it is there, for whoever hears the page.
  say("You are logged in.");
}

const when = (unix) => new Date(unix * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC";

function list(id, all, words) {
  at(id).replaceChildren(...all.map((one) => {
    const [item, button] = [document.createElement("li"), document.createElement("button")];
    button.type = "button";
    button.textContent = "End";
    button.setAttribute("aria-label", `End ${words(one)}`);
    button.onclick = doing(async () => {
      await ask(`${id}/${one.id}`, "DELETE");
      await show();
    });
    item.append(words(one), " ", button);
    return item;
  }));
}

async function logIn() {
  const wallet = window.ethereum;
  if (!wallet) return say("There is no wallet in this browser. Programs log in by /blackhole/v1/login.");
  say("Your wallet asks you now.");
  const [account] = await wallet.request({ method: "eth_requestAccounts" });
  const { message } = await ask("login/nonce", "POST", { account });
  const hex = Array.from(new TextEncoder().encode(message), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const signature = await wallet.request({ method: "personal_sign", params: ["0x" + hex, account] });
  await ask("login", "POST", { message, signature });
  await show();
}

async function logInByPasskey() {
  say("Your browser asks you for a passkey now.");
  const { publicKey } = await ask("login/passkey/begin", "POST");
  const credential = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) });
  await ask("login/passkey", "POST", credential.toJSON());
  await show();
}

async function addPasskey() {
  const field = at("passkey-name");
  const name = field.value.trim();
  if (!name) {
    field.focus();
    return say("Give the passkey a name, by which you will know it in this list.");
  }
  const { publicKey } = await ask("passkeys/begin", "POST");
  say("Your browser asks you now where the passkey is to be kept.");
  const credential = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) });
  await ask("passkeys", "POST", { name, credential: credential.toJSON() });
  await show();
  say(`The passkey ${name} was added. It logs you in without your wallet.`);
}

/** Where there are none, the page says why instead. */
function offerPasskeys() {
  const why = at("without-passkeys");
  if (!why.textContent && !window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
    why.textContent = "This browser is too old for passkeys, or has none.";
  }
  why.hidden = !why.textContent;
  at("log-in-passkey").hidden = at("new-passkey").hidden = !why.hidden;
}

/** Browsers' own words for these say nothing that helps. */
const REFUSALS = {
  NotAllowedError: "No passkey was used: it was cancelled, took too long, or there is none for this page.",
  InvalidStateError: "There is a passkey of this account on that device already.",
};

const doing = (work) => async () => {
  try {
    await work();
  } catch (error) {
    say(REFUSALS[error.name] ?? error.message);
  }
};

at("log-in").onclick = doing(logIn);
at("log-in-passkey").onclick = doing(logInByPasskey);
at("add-passkey").onclick = doing(addPasskey);
at("passkey-name").onkeydown = ({ key }) => { if (key === "Enter") at("add-passkey").click(); };
at("log-out").onclick = doing(async () => {
  await ask("session", "DELETE");
  at("made").hidden = true;
  await show();
});
at("make-key").onclick = doing(async () => {
  const made = await ask("keys", "POST", { name: "earnings", scopes: ["earnings"] });
  at("key").textContent = made.key;
  at("made").hidden = false;
  await show();
});
offerPasskeys();
doing(show)();
