/** The page of settings: name, theme, password, tools that are allowed, API keys, and where the user is signed in. */

import { Api } from "../net/api.js";
import { BASE } from "../net/base.js";
import { ApiError, SignedOut } from "../net/http.js";
import { onSignOutElsewhere, Session, signedInAs } from "../net/session.js";
import { moment, t } from "../text/strings.js";
import { chooseTheme, theme } from "./appearance.js";
import { showArchived } from "./archived.js";
import { leaveKeysToInputMethod } from "./browser.js";
import { showConnections } from "./connections.js";
import { element, found, setText } from "./element.js";
import { ownData } from "./own-data.js";
import { makeKey, showKeys } from "./keys.js";
import { showLinks } from "./links.js";
import { showMcpConnections } from "./mcp.js";
import { exact } from "./values.js";

/** How long it is shown that something was done, in milliseconds. */
const DONE_MS = 5_000;

leaveKeysToInputMethod();
const session = new Session();
const api = new Api(session);
const status = found("#status", HTMLElement);
const list = found("#sessions", HTMLElement);
const grants = found("#grants", HTMLElement);

/** @param {"ended"} [why] what the form of sign-in says */
function toSignIn(why) {
  session.forget();
  const query = new URLSearchParams({ next: `${BASE}/settings${location.search}`, ...(why ? { why } : {}) });
  location.replace(`${BASE}/login?${query}`);
}

/**
 * Do it; say in words why it did not work, beside the field that it is about.
 * @param {() => Promise<unknown>} work
 * @param {HTMLFormElement} [form]
 */
async function attempt(work, form) {
  done("");
  found("#notices", HTMLElement).replaceChildren();
  for (const field of form?.querySelectorAll("[aria-invalid]") ?? []) field.removeAttribute("aria-invalid");
  try {
    await work();
  } catch (error) {
    if (error instanceof SignedOut) return toSignIn("ended");
    if (!(error instanceof ApiError)) throw error;
    const notice = element("p", { class: "notice", role: "alert" }, error.message);
    const field = error.field ? form?.elements.namedItem(error.field) : null;
    if (field instanceof HTMLInputElement) {
      field.setAttribute("aria-invalid", "true");
      field.focus();
      field.before(notice);
      return field.addEventListener("input", () => notice.remove(), { once: true });
    }
    const dialog = form?.closest("dialog");
    if (dialog) dialog.querySelector(".buttons")?.before(notice);
    else found("#notices", HTMLElement).append(notice);
  }
}

/**
 * @param {string} selector
 * @param {(data: FormData, form: HTMLFormElement) => Promise<unknown>} work
 */
function onSubmit(selector, work) {
  const form = found(selector, HTMLFormElement);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    for (const notice of form.querySelectorAll(".notice")) notice.remove();
    void attempt(() => work(new FormData(form), form), form);
  });
}

let doneTimer = 0;

/** @param {string} message of something that was done, shown for a while; empty: none */
function done(message) {
  clearTimeout(doneTimer);
  setText(status, "");
  if (!message) return;
  doneTimer = setTimeout(() => {
    setText(status, message);
    doneTimer = setTimeout(() => done(""), DONE_MS);
  });
}

/** @param {string} agent what a browser calls itself */
function device(agent) {
  const browser = /Edg|OPR|Firefox|Chrome|Safari/.exec(agent)?.[0];
  const system = /iPhone|iPad|Android|Windows|Mac OS|Linux/.exec(agent)?.[0];
  const names = { Edg: "Edge", OPR: "Opera", "Mac OS": "macOS" };
  const name = (/** @type {string | undefined} */ word = "") =>
    /** @type {Record<string, string>} */ (names)[word] ?? word;
  if (browser && system) return t("session.device", { browser: name(browser), system: name(system) });
  return name(browser ?? system) || agent || t("session.unknown");
}

/** @param {import("../net/api.js").SignIn} one */
function row(one) {
  const end = element("button", { type: "button", class: "plain" }, t("session.end"));
  end.addEventListener("click", () => {
    void attempt(async () => {
      await api.endSession(one.id);
      await showSessions();
      done(t("session.ended"));
    });
  });
  return element(
    "li",
    { "data-session": one.id },
    element(
      "span",
      {},
      element("strong", {}, device(one.user_agent)),
      element(
        "span",
        { class: "dim" },
        one.current ? t("session.current") : t("last_used", { time: moment(one.used_at) }),
      ),
    ),
    one.current ? null : end,
  );
}

async function showSessions() {
  const { sessions } = await api.sessions();
  list.replaceChildren(...sessions.map(row));
}

/**
 * @param {import("../net/api.js").Grant} grant
 * @param {string} title of its thread
 */
function grantRow({ id, thread_id, tool_name, expires_at }, title) {
  const end = element("button", { type: "button", class: "plain" }, t("ask_again"));
  end.addEventListener("click", () => {
    void attempt(async () => {
      await api.revoke(id);
      await showGrants();
      grants.tabIndex = -1;
      grants.focus();
      done(t("grant.ended"));
    });
  });
  const link = element("a", { href: `${BASE}/c/${thread_id}`, dir: "auto" }, title || t("conversation"));
  return element(
    "li",
    { "data-grant": id },
    element(
      "span",
      {},
      element("strong", { dir: "ltr" }, exact(tool_name)),
      element("span", { class: "dim" }, link),
      element("span", { class: "dim" }, t("grant.until", { time: moment(expires_at) })),
    ),
    end,
  );
}

async function showGrants() {
  const valid = await api.grants();
  const ids = [...new Set(valid.map(({ thread_id }) => thread_id))];
  const titles = new Map(
    await Promise.all(ids.map(async (id) => /** @type {const} */ ([id, (await api.thread(id)).title]))),
  );
  const rows = valid.map((grant) => grantRow(grant, titles.get(grant.thread_id) ?? ""));
  grants.replaceChildren(...(rows.length > 0 ? rows : [element("li", { class: "dim" }, t("grant.none"))]));
}

onSubmit("#name-form", async (data) => {
  await api.renameMe(String(data.get("name") ?? ""));
  done(t("saved"));
});
onSubmit("#instructions-form", async (data) => {
  await api.changeInstructions(String(data.get("instructions") ?? ""));
  done(t("saved"));
});
onSubmit("#key-form", async (data, form) => {
  await makeKey(api, data);
  form.reset();
  await showKeys(api, attempt, done);
});
// Where only providers sign in, there is no form for a password.
if (document.querySelector("#password-form")) {
  onSubmit("#password-form", async (data, form) => {
    await api.changePassword(String(data.get("current")), String(data.get("new")));
    form.reset();
    await showSessions();
    done(t("settings.password.changed"));
  });
}
found("#everywhere", HTMLElement).addEventListener("click", () => {
  void attempt(async () => {
    await session.logout(true);
    toSignIn();
  });
});
for (const radio of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("#theme input"))) {
  radio.checked = radio.value === theme();
  radio.addEventListener("change", () => chooseTheme(radio.value));
}
const mails = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("#mail input"));
for (const radio of mails) {
  radio.addEventListener("change", () => {
    void attempt(async () => {
      await api.changeNotifications({ input_mail: radio.value });
      done(t("saved"));
    });
  });
}

const languages = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("#language input"));
for (const radio of languages) {
  radio.addEventListener("change", () => {
    void attempt(async () => {
      await api.changeLanguage(radio.value);
      location.reload();
    });
  });
}

async function showLanguage() {
  const { language } = await api.language();
  for (const radio of languages) radio.checked = radio.value === language;
}

async function showInstructions() {
  found("#instructions", HTMLTextAreaElement).value = (await api.instructions()).instructions;
}

async function showMail() {
  if (mails.length === 0) return;
  const { input_mail } = await api.notifications();
  for (const radio of mails) radio.checked = radio.value === input_mail;
}

if (signedInAs() !== null) {
  onSignOutElsewhere(() => toSignIn());
  void attempt(async () => {
    const { name, email } = await api.me();
    found("#name", HTMLInputElement).value = name;
    ownData({ api, email, attempt, onSubmit, done, leave: () => toSignIn() });
    for (const username of document.querySelectorAll("#username")) username.setAttribute("value", email);
    await Promise.all([
      showSessions(),
      showInstructions(),
      showLanguage(),
      showMail(),
      showGrants(),
      showKeys(api, attempt, done),
      showConnections(api, attempt, done),
      showMcpConnections(api, attempt, done),
      showArchived(api, attempt, done),
      showLinks(api, attempt, done),
    ]);
  });
} else {
  toSignIn();
}
