/** The page of settings: name, theme, password, and where the user is signed in. */

import { ApiError, onSignOutElsewhere, Session, SignedOut, signedInAs } from "./api.js";
import { element, found, setText } from "./element.js";

const THEME = "netra.theme";

const session = new Session();
const status = found("#status", HTMLElement);
const list = found("#sessions", HTMLElement);

function toSignIn() {
  session.forget();
  location.replace("/login?next=%2Fsettings");
}

/**
 * Do it; say in words why it did not work, beside the field that it is about.
 * @param {() => Promise<unknown>} work
 * @param {HTMLFormElement} [form]
 */
async function attempt(work, form) {
  found("#notices", HTMLElement).replaceChildren();
  for (const field of form?.querySelectorAll("[aria-invalid]") ?? []) field.removeAttribute("aria-invalid");
  try {
    await work();
  } catch (error) {
    if (error instanceof SignedOut) return toSignIn();
    if (!(error instanceof ApiError)) throw error;
    const notice = element("p", { class: "notice", role: "alert" }, error.message);
    const field = error.field ? form?.elements.namedItem(error.field) : null;
    if (field instanceof HTMLInputElement) {
      field.setAttribute("aria-invalid", "true");
      field.focus();
      field.before(notice);
      return field.addEventListener("input", () => notice.remove(), { once: true });
    }
    found("#notices", HTMLElement).append(notice);
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

/** @param {string} message */
function done(message) {
  setText(status, "");
  setTimeout(() => setText(status, message));
}

/** @param {string} agent what a browser calls itself */
function device(agent) {
  const browser = /Edg|OPR|Firefox|Chrome|Safari/.exec(agent)?.[0];
  const system = /iPhone|iPad|Android|Windows|Mac OS|Linux/.exec(agent)?.[0];
  const names = { Edg: "Edge", OPR: "Opera", "Mac OS": "macOS" };
  const name = (/** @type {string | undefined} */ word) =>
    /** @type {Record<string, string>} */ (names)[word ?? ""] ?? word;
  return browser || system ? [name(browser), name(system)].filter(Boolean).join(" on ") : agent || "Unknown device";
}

/** @param {import("./api.js").SignIn} one */
function row(one) {
  const used = new Date(one.used_at).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  const end = element("button", { type: "button", class: "plain" }, "Sign out");
  end.addEventListener("click", () => {
    void attempt(async () => {
      await session.endSession(one.id);
      await showSessions();
      done("That session is signed out.");
    });
  });
  return element(
    "li",
    { "data-session": one.id },
    element(
      "span",
      {},
      element("strong", {}, device(one.user_agent)),
      element("span", { class: "dim" }, one.current ? "This device" : `Last used ${used}`),
    ),
    one.current ? null : end,
  );
}

async function showSessions() {
  const { sessions } = await session.sessions();
  list.replaceChildren(...sessions.map(row));
}

onSubmit("#name-form", async (data) => {
  await session.renameMe(String(data.get("name") ?? ""));
  done("Saved.");
});
onSubmit("#password-form", async (data, form) => {
  await session.changePassword(String(data.get("current")), String(data.get("new")));
  form.reset();
  await showSessions();
  done("The password is changed.");
});
found("#everywhere", HTMLElement).addEventListener("click", () => {
  void attempt(async () => {
    await session.logout(true);
    toSignIn();
  });
});
for (const radio of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("#theme input"))) {
  radio.checked = radio.value === (localStorage.getItem(THEME) ?? "");
  radio.addEventListener("change", () => {
    if (radio.value) {
      localStorage.setItem(THEME, radio.value);
      document.documentElement.dataset.theme = radio.value;
    } else {
      localStorage.removeItem(THEME);
      delete document.documentElement.dataset.theme;
    }
  });
}

if (signedInAs() !== null) {
  onSignOutElsewhere(toSignIn);
  void attempt(async () => {
    const { name, email } = await session.me();
    found("#name", HTMLInputElement).value = name;
    found("#email", HTMLInputElement).value = email;
    found("#username", HTMLInputElement).value = email;
    await showSessions();
  });
} else {
  toSignIn();
}
