/** The user's API keys on the page of settings: list, make, revoke. A key is shown once, when it was made. */

import { moment, t } from "../text/strings.js";
import { copy } from "./browser.js";
import { element, found } from "./element.js";

const DAY_SECONDS = 86_400;

/**
 * @param {import("../net/api.js").ApiKey} key
 * @param {() => void} revoke
 */
function row({ id, name, prefix, scopes, agents, last_used_at, expires_at }, revoke) {
  const end = element(
    "button",
    { type: "button", class: "plain", "aria-label": t("key.revoke", { name }) },
    t("revoke"),
  );
  end.addEventListener("click", revoke);
  const may = scopes.includes("write") ? t("key.writes") : t("key.reads");
  const whom = agents.length > 0 ? t("key.agents", { may, agents: agents.join(", ") }) : may;
  const used = last_used_at ? t("last_used", { time: moment(last_used_at) }) : t("key.never_used");
  const until = expires_at ? t("key.until", { used, time: moment(expires_at) }) : t("key.forever", { used });
  return element(
    "li",
    { "data-key": id },
    element(
      "span",
      {},
      element("strong", { dir: "auto" }, name),
      element("span", { class: "dim" }, element("code", {}, `${prefix}…`), ` ${whom}`),
      element("span", { class: "dim" }, until),
    ),
    end,
  );
}

/**
 * Show the keys. The callbacks are those of the page.
 * @param {import("../net/api.js").Api} api
 * @param {(work: () => Promise<unknown>) => Promise<unknown>} attempt
 * @param {(message: string) => void} done
 */
export async function showKeys(api, attempt, done) {
  const list = found("#keys", HTMLElement);
  const { keys } = await api.keys();
  const rows = keys.map((key) =>
    row(key, () => {
      void attempt(async () => {
        await api.revokeKey(key.id);
        found("#new-key", HTMLElement).hidden = true;
        await showKeys(api, attempt, done);
        list.tabIndex = -1;
        list.focus();
        done(t("key.revoked"));
      });
    }),
  );
  list.replaceChildren(...(rows.length > 0 ? rows : [element("li", { class: "dim" }, t("none"))]));
}

/**
 * @param {import("../net/api.js").Api} api
 * @param {FormData} data of the form
 */
export async function makeKey(api, data) {
  const days = Number(data.get("days"));
  const { key } = await api.makeKey({
    name: String(data.get("name") ?? ""),
    scopes: data.get("access") === "write" ? ["read", "write"] : ["read"],
    expires_in: days ? days * DAY_SECONDS : null,
  });
  const button = element("button", { type: "button", class: "plain" }, t("copy"));
  button.addEventListener("click", () => void copy(key, button));
  const made = found("#new-key", HTMLElement);
  made.replaceChildren(
    element("p", {}, t("key.once")),
    element("p", { class: "key" }, element("code", {}, key), button),
  );
  made.hidden = false;
  button.focus();
}
