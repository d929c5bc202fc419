/** The forms of sign-in and sign-up. */

import { BASE } from "../net/base.js";
import { ApiError, SignedOut } from "../net/http.js";
import { login, register, Session, signedInAs } from "../net/session.js";
import { parts, t } from "../text/strings.js";
import { leaveKeysToInputMethod } from "./browser.js";
import { element, found } from "./element.js";

leaveKeysToInputMethod();
const form = found("#account-form", HTMLFormElement);
const submit = found("#submit", HTMLButtonElement);
const error = found("#error", HTMLElement);
const enter = form.dataset.action === "register" ? register : login;

/** Where to go afterwards: a page of this site, nothing else. */
function destination() {
  const next = new URLSearchParams(location.search).get("next") ?? "";
  const below = next.startsWith(BASE) ? next.slice(BASE.length) : "";
  return /^\/(?:c\/[0-9a-f-]{36}|settings|s\/[\w-]{16,64}|inputs(?:#[0-9a-f-]{36})?)$/i.test(below) ? next : `${BASE}/`;
}

/** Go there. A link to a shared conversation is for who is signed in: the server gets to know that by a cookie. */
async function leave() {
  const to = destination();
  const session = new Session();
  try {
    await session.admit(to);
  } catch (error) {
    if (!(error instanceof SignedOut)) throw error;
    return session.forget();
  }
  location.replace(to);
}

/** @returns {Record<string, string>} the filled-in fields */
function fields() {
  const entries = [...new FormData(form)].map(([name, value]) => [name, String(value)]);
  return Object.fromEntries(entries.filter(([, value]) => value !== ""));
}

/**
 * @param {string | (Node | string)[]} message
 * @param {string | null} field the input that it is about
 */
function refuse(message, field) {
  error.replaceChildren(...[message].flat());
  error.hidden = false;
  const input = field ? form.querySelector(`#${CSS.escape(field)}`) : null;
  if (!(input instanceof HTMLInputElement)) return;
  input.setAttribute("aria-invalid", "true");
  input.focus();
}

/** @param {number} seconds */
function waiting(seconds) {
  return seconds > 90
    ? t("wait.minutes", { count: Math.ceil(seconds / 60) })
    : t("wait.seconds", { count: Math.ceil(seconds) });
}

/** @param {unknown} reason */
function explain(reason) {
  if (!(reason instanceof ApiError)) throw reason;
  if (reason.status === 403 && enter === register) {
    return refuse(t("signup.closed"), null);
  }
  if (reason.status === 409 && enter === register) {
    const link = element("a", { href: `${BASE}/login` }, t("signup.sign_in"));
    return refuse(parts("signup.taken", { link }), reason.field);
  }
  return refuse(
    reason.retry_after ? t("signin.later", { time: waiting(reason.retry_after) }) : reason.message,
    reason.field,
  );
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  error.hidden = true;
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  submit.disabled = true;
  try {
    await enter(fields());
    await leave();
  } catch (reason) {
    submit.disabled = false;
    explain(reason);
  }
});

// Until now the browser would have sent the form by itself, to a page that takes none.
submit.disabled = false;
// Who is signed in comes for the admin to sign in to that, too, by a provider.
const toAdmin = (new URLSearchParams(location.search).get("next") ?? "").startsWith(`${BASE}/admin/`);
if (signedInAs() !== null && !toAdmin) void leave().catch(explain);
