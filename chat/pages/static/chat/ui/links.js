/** The user's links to shared conversations on the page of settings: list, copy, revoke. */

import { day, t } from "../text/strings.js";
import { copy } from "./browser.js";
import { element, found } from "./element.js";

/**
 * @param {import("../net/api.js").Share} share
 * @param {() => void} revoke
 */
function row({ id, url, title, created_at, expires_at }, revoke) {
  const name = title || t("conversation");
  const copied = element(
    "button",
    { type: "button", class: "plain", "aria-label": t("link.copy", { title: name }) },
    t("copy"),
  );
  copied.addEventListener("click", () => void copy(url, copied));
  const end = element(
    "button",
    { type: "button", class: "plain", "aria-label": t("link.revoke", { title: name }) },
    t("revoke"),
  );
  end.addEventListener("click", revoke);
  const values = { day: day(created_at) };
  const about = expires_at ? t("link.until", { ...values, until: day(expires_at) }) : t("link.forever", values);
  return element(
    "li",
    { "data-link": id },
    element(
      "span",
      {},
      element("a", { href: url, target: "_blank", rel: "noopener", dir: "auto" }, name),
      element("span", { class: "dim" }, about),
    ),
    element("span", { class: "buttons" }, copied, end),
  );
}

/**
 * Show the links. The callbacks are those of the page.
 * @param {import("../net/api.js").Api} api
 * @param {(work: () => Promise<unknown>) => Promise<unknown>} attempt
 * @param {(message: string) => void} done
 */
export async function showLinks(api, attempt, done) {
  const list = found("#links", HTMLElement);
  const rows = (await api.shares()).map((share) =>
    row(share, () => {
      void attempt(async () => {
        await api.revokeShare(share.id);
        await showLinks(api, attempt, done);
        list.tabIndex = -1;
        list.focus();
        done(t("link.revoked"));
      });
    }),
  );
  list.replaceChildren(...(rows.length > 0 ? rows : [element("li", { class: "dim" }, t("none"))]));
}
