/** The user's archived conversations on the page of settings: list, open, restore. */

import { BASE } from "../net/base.js";
import { day, t } from "../text/strings.js";
import { element, found } from "./element.js";

/**
 * @param {import("../state/model.js").ListedThread} thread
 * @param {() => void} restore
 */
function row({ id, title, updated_at }, restore) {
  const name = title || t("conversation");
  const button = element(
    "button",
    { type: "button", class: "plain", "aria-label": t("archived.restore", { title: name }) },
    t("thread.unarchive"),
  );
  button.addEventListener("click", restore);
  return element(
    "li",
    { "data-archived": id },
    element(
      "span",
      {},
      element("a", { href: `${BASE}/c/${id}`, dir: "auto" }, name),
      element("span", { class: "dim" }, t("archived.changed", { day: day(updated_at) })),
    ),
    button,
  );
}

/**
 * Show them, those that changed last first. The callbacks are those of the page.
 * @param {import("../net/api.js").Api} api
 * @param {(work: () => Promise<unknown>) => Promise<unknown>} attempt
 * @param {(message: string) => void} done
 */
export async function showArchived(api, attempt, done) {
  const list = found("#archived", HTMLElement);
  const more = found("#more-archived", HTMLElement);
  let pages = 1;
  // All of them again, since those that left have moved the others to other pages.
  const show = async () => {
    const read = await Promise.all(Array.from({ length: pages }, (_, at) => api.archived(at + 1)));
    const rows = read.flatMap(({ threads }) =>
      threads.map((thread) =>
        row(thread, () => {
          void attempt(async () => {
            await api.change(thread.id, { archived: false });
            await show();
            list.tabIndex = -1;
            list.focus();
            done(t("archived.restored"));
          });
        }),
      ),
    );
    list.replaceChildren(...(rows.length > 0 ? rows : [element("li", { class: "dim" }, t("none"))]));
    more.hidden = !read.at(-1)?.has_more;
  };
  more.onclick = () => {
    pages += 1;
    void attempt(show);
  };
  await show();
}
