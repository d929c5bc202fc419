/** The list of threads, by the day of their last change, with a mark on those at work. */

import { BASE } from "../net/base.js";
import { path } from "../state/branches.js";
import { isMine, waitingInputs } from "../state/inputs.js";
import { LOCALE, t } from "../text/strings.js";
import { arrange, element, icon, setAttribute, setText } from "./element.js";
import { menus } from "./menu.js";
import { visible } from "./text.js";

/**
 * @typedef {import("../state/model.js").State} State
 * @typedef {import("../state/model.js").Thread} Thread
 */

const DAY_MS = 86_400_000;

/**
 * @param {string} timestamp
 * @param {Date} now
 * @returns {string}
 */
export function period(timestamp, now) {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  const then = new Date(timestamp);
  if (then.getTime() >= midnight) return t("list.today");
  if (then.getTime() >= midnight - DAY_MS) return t("list.yesterday");
  if (then.getTime() >= midnight - 7 * DAY_MS) return t("list.week");
  if (then.getTime() >= midnight - 30 * DAY_MS) return t("list.month");
  return then.toLocaleDateString(LOCALE, { month: "long", year: "numeric" });
}

/**
 * @param {Thread} thread
 * @returns {string} its title; until the server's is known, its first words
 */
export const titleOf = (thread) =>
  [thread.title, path(thread)[0]?.message.content.slice(0, 80) ?? ""].find(visible) ?? t("conversation.new");

export class Sidebar {
  #root;
  /** @type {Map<string, HTMLAnchorElement>} */
  #links = new Map();
  /** @type {Map<string, {node: HTMLElement, list: HTMLElement}>} */
  #groups = new Map();

  #toggle = menus(t("conversation"));
  #choices;
  /** @type {State["threads"]} */
  #threads = new Map();

  /**
   * @param {HTMLElement} root
   * @param {(thread: Thread) => import("./menu.js").Choice[]} choices of the menu of a row
   */
  constructor(root, choices) {
    this.#root = root;
    this.#choices = choices;
  }

  /**
   * @param {State} state
   * @param {string | null} open
   * @param {Set<string>} removing not shown
   * @param {boolean} listed the server's list is known
   */
  render(state, open, removing, listed) {
    this.#threads = state.threads;
    const working = new Set(state.active.values());
    const waiting = new Set([...state.active].flatMap(([id, thread_id]) => (state.waiting.has(id) ? [thread_id] : [])));
    const mine = new Set(waitingInputs(state).map(({ thread_id }) => thread_id));
    const others = new Set(
      [...state.inputs.values()].filter((input) => !isMine(input)).map(({ thread_id }) => thread_id),
    );
    const asks = (/** @type {string} */ id) => mine.has(id) || (waiting.has(id) && !others.has(id));
    const threads = [...state.threads.values()]
      .filter(
        (thread) =>
          !thread.missing &&
          !thread.archived &&
          !thread.temporary &&
          !removing.has(thread.id) &&
          thread.updated_at !== "" &&
          (thread.title !== "" || thread.last > 0),
      )
      .sort((a, b) => Number(b.pinned) - Number(a.pinned) || (a.updated_at < b.updated_at ? 1 : -1));
    /** @type {Map<string, HTMLElement[]>} */
    const groups = new Map();
    const now = new Date();
    for (const thread of threads) {
      const name = thread.pinned ? t("list.pinned") : period(thread.updated_at, now);
      groups.set(name, [
        ...(groups.get(name) ?? []),
        this.#item(thread, thread.id === open, working.has(thread.id), asks(thread.id)),
      ]);
    }
    const nodes = [...groups].map(([name, items]) => {
      const group = this.#group(name);
      arrange(group.list, items);
      return group.node;
    });
    this.#root.ariaBusy = String(!listed);
    arrange(this.#root, listed && nodes.length === 0 ? [this.#nothing] : listed ? nodes : [...nodes, this.#waiting]);
  }

  #nothing = element("p", { class: "nothing" }, t("list.empty"));
  #waiting = element(
    "div",
    { class: "waiting", "aria-hidden": "true" },
    ...Array.from({ length: 5 }, () => element("span", {})),
  );

  /** @param {string} name */
  #group(name) {
    const known = this.#groups.get(name);
    if (known) return known;
    const list = element("ul");
    const group = { node: element("section", {}, element("h2", {}, name), list), list };
    this.#groups.set(name, group);
    return group;
  }

  /**
   * @param {Thread} thread
   * @param {boolean} current
   * @param {boolean} working
   * @param {boolean} asking a request waits for the user
   * @returns {HTMLElement}
   */
  #item(thread, current, working, asking) {
    const link = this.#links.get(thread.id) ?? this.#link(thread.id);
    setText(link.children[0], titleOf(thread));
    setAttribute(link, "title", titleOf(thread));
    setAttribute(
      /** @type {Element} */ (link.nextElementSibling),
      "aria-label",
      t("list.menu", { title: titleOf(thread) }),
    );
    setText(link.children[1], asking ? t("list.asks") : working ? t("list.works") : "");
    setAttribute(link, "aria-current", current ? "page" : null);
    link.toggleAttribute("data-running", working);
    link.toggleAttribute("data-asking", asking);
    return /** @type {HTMLElement} */ (link.parentElement);
  }

  /** @param {string} id */
  #link(id) {
    const link = element(
      "a",
      { href: `${BASE}/c/${id}`, "data-thread": id },
      element("span", { class: "title", dir: "auto" }),
      element("span", { class: "working" }),
    );
    const button = element(
      "button",
      { type: "button", class: "quiet row-menu", "aria-haspopup": "menu", "aria-expanded": "false" },
      icon("more"),
    );
    button.addEventListener("click", () => {
      this.#toggle(button, () => {
        const thread = this.#threads.get(id);
        return thread ? this.#choices(thread) : [];
      });
    });
    element("li", {}, link, button);
    this.#links.set(id, link);
    return link;
  }
}
