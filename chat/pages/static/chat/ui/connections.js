/** The user's connections with providers, on the page of settings: list, connect, disconnect. */

import { moment, t } from "../text/strings.js";
import { element, found } from "./element.js";

/**
 * @param {import("../net/api.js").Connection} connection
 * @param {() => void} disconnect
 */
function row({ id, name, email, used_at }, disconnect) {
  const end = element(
    "button",
    { type: "button", class: "plain", "aria-label": t("provider.disconnect.named", { name }) },
    t("provider.disconnect"),
  );
  end.addEventListener("click", disconnect);
  const used = t("last_used", { time: moment(used_at) });
  return element(
    "li",
    { "data-connection": String(id) },
    element(
      "span",
      {},
      element("strong", { dir: "auto" }, name),
      email ? element("span", { class: "dim" }, email) : null,
      element("span", { class: "dim" }, used),
    ),
    end,
  );
}

/** @param {HTMLFormElement} form */
const proof = (form) => String(new FormData(form).get("current") ?? "");

/**
 * Show the connections, where providers are configured. The callbacks are those of the page.
 * @param {import("../net/api.js").Api} api
 * @param {(work: () => Promise<unknown>, form?: HTMLFormElement) => Promise<unknown>} attempt
 * @param {(message: string) => void} done
 */
export async function showConnections(api, attempt, done) {
  const list = document.querySelector("#connections");
  if (!(list instanceof HTMLElement)) return;
  const form = found("#connect-form", HTMLFormElement);
  const { accounts, password } = await api.connections();
  const passwordFields = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".proof"));
  for (const field of passwordFields) field.hidden = !password;
  const passwords = document.querySelector("#password-section");
  if (passwords instanceof HTMLElement) passwords.hidden = !password;
  const rows = accounts.map((connection) =>
    row(connection, () => {
      void attempt(async () => {
        await api.disconnect(connection.id, proof(form));
        form.reset();
        await showConnections(api, attempt, done);
        list.tabIndex = -1;
        list.focus();
        done(t("provider.disconnected", { name: connection.name }));
      }, form);
    }),
  );
  list.replaceChildren(...(rows.length > 0 ? rows : [element("li", { class: "dim" }, t("none"))]));
  form.onsubmit = (event) => {
    event.preventDefault();
    const button = event.submitter;
    if (!(button instanceof HTMLButtonElement)) return;
    for (const notice of form.querySelectorAll(".notice")) notice.remove();
    void attempt(async () => {
      const { url } = await api.connect(button.value, proof(form));
      location.assign(url);
    }, form);
  };
  if (new URLSearchParams(location.search).has("connected")) {
    history.replaceState(null, "", location.pathname);
    done(t("provider.connected"));
  }
}
