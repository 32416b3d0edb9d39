// The login of a wallet in this browser (EIP-1193, EIP-4361). Whatever comes from elsewhere is shown as text.

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
  say("You are logged in.");
  list("sessions", await ask("sessions"), (one) =>
    `${one.agent}, used ${when(one.used_unix)}${one.current ? ", this one" : ""}`);
  list("keys", await ask("keys"), (one) => `${one.name} (${one.scopes.join(", ")}), until ${when(one.expires_unix)}`);
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

const doing = (work) => async () => {
  try {
    await work();
  } catch (error) {
    say(error.message);
  }
};

at("log-in").onclick = doing(logIn);
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
doing(show)();
