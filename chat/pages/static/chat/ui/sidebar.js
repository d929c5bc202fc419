/** The list of threads, by project and by the day of their last change, with a mark on those that ask for a look. */

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
 * @typedef {import("../state/model.js").Project} Project
 */

const DAY_MS = 86_400_000;
/** The kind of data that a dragged row carries. */
const DRAGGED = "application/x-netra-thread";
/** What the mark of a row says to those who do not see its colour. */
const STATES = {
  asking: t("list.asks"),
  running: t("list.works"),
  failed: t("list.failed"),
  completed: t("list.answered"),
};

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
export function titleOf(thread) {
  if (visible(thread.title)) return thread.title;
  const words = path(thread)[0]?.message.content.slice(0, 80) ?? "";
  return visible(words) ? words : t("conversation.new");
}

export class Sidebar {
  #root;
  /** @type {Map<string, HTMLAnchorElement>} */
  #links = new Map();
  /** @type {Map<string, {node: HTMLElement, list: HTMLElement}>} */
  #groups = new Map();

  #toggle = menus(t("conversation"));
  #toggleProject = menus(t("project"));
  #choices;
  #projects;
  /** @type {State["threads"]} */
  #threads = new Map();
  /** @type {Map<string, Project>} */
  #folders = new Map();

  /**
   * @param {HTMLElement} root
   * @param {(thread: Thread) => import("./menu.js").Choice[]} choices of the menu of a row
   * @param {{choices: (project: Project) => import("./menu.js").Choice[],
   *   place: (thread: Thread, project_id: string | null) => void}} projects
   */
  constructor(root, choices, projects) {
    this.#root = root;
    this.#choices = choices;
    this.#projects = projects;
    this.#drag();
  }

  /** A row is dragged into a project, or onto another part of the list and so out of its project. */
  #drag() {
    const root = this.#root;
    const target = (/** @type {DragEvent} */ { target, dataTransfer }) => {
      const section = target instanceof Element ? target.closest("section") : null;
      return dataTransfer?.types.includes(DRAGGED) ? section : null;
    };
    const over = (/** @type {HTMLElement | null} */ section) => {
      for (const one of root.querySelectorAll("section")) one.toggleAttribute("data-over", one === section);
    };
    root.addEventListener("dragstart", ({ target, dataTransfer }) => {
      const link = target instanceof Element ? target.closest("a") : null;
      if (link?.dataset.thread) dataTransfer?.setData(DRAGGED, link.dataset.thread);
    });
    root.addEventListener("dragover", (event) => {
      const section = target(event);
      if (section) event.preventDefault();
      over(section);
    });
    root.addEventListener("dragend", () => over(null));
    root.addEventListener("drop", (event) => {
      const section = target(event);
      const thread = this.#threads.get(event.dataTransfer?.getData(DRAGGED) ?? "");
      over(null);
      if (!section || !thread) return;
      event.preventDefault();
      this.#projects.place(thread, section.dataset.project ?? null);
    });
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
    const projects = new Map(state.projects.map((project) => [project.id, project]));
    /** @type {Map<string, HTMLElement[]>} names of groups and ids of projects, in the order of the list */
    const groups = new Map([
      [t("list.pinned"), []],
      ...[...projects.keys()].map((id) => /** @type {[string, []]} */ ([id, []])),
    ]);
    const now = new Date();
    for (const thread of threads) {
      const project = projects.has(thread.project_id ?? "") ? thread.project_id : null;
      const name = thread.pinned ? t("list.pinned") : (project ?? period(thread.updated_at, now));
      const mark = asks(thread.id)
        ? "asking"
        : working.has(thread.id)
          ? "running"
          : (state.unread.get(thread.id)?.outcome ?? "");
      groups.set(name, [...(groups.get(name) ?? []), this.#item(thread, thread.id === open, mark)]);
    }
    const nodes = [...groups].flatMap(([name, items]) => {
      const project = projects.get(name);
      if (items.length === 0 && !project) return [];
      const group = project ? this.#folder(project) : this.#group(name);
      arrange(group.list, items);
      return [group.node];
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

  /** @param {Project} project */
  #folder(project) {
    const known = this.#groups.get(project.id);
    const group = known ?? this.#newFolder(project.id);
    this.#folders.set(project.id, project);
    const [, name, button] = /** @type {HTMLElement} */ (group.node.firstElementChild).children;
    setText(name, project.name);
    setAttribute(button, "aria-label", t("list.menu", { title: project.name }));
    return group;
  }

  /** @param {string} id of a project */
  #newFolder(id) {
    const list = element("ul");
    const button = element(
      "button",
      { type: "button", class: "quiet row-menu", "aria-haspopup": "menu", "aria-expanded": "false" },
      icon("more"),
    );
    button.addEventListener("click", () => {
      this.#toggleProject(button, () => {
        const project = this.#folders.get(id);
        return project ? this.#projects.choices(project) : [];
      });
    });
    const head = element("div", { class: "folder" }, icon("folder"), element("h2", { dir: "auto" }), button);
    const group = { node: element("section", { "data-project": id }, head, list), list };
    this.#groups.set(id, group);
    return group;
  }

  /**
   * @param {Thread} thread
   * @param {boolean} current
   * @param {keyof typeof STATES | ""} mark
   * @returns {HTMLElement}
   */
  #item(thread, current, mark) {
    const link = this.#links.get(thread.id) ?? this.#link(thread.id);
    setText(link.children[0], titleOf(thread));
    setAttribute(link, "title", titleOf(thread));
    setAttribute(
      /** @type {Element} */ (link.nextElementSibling),
      "aria-label",
      t("list.menu", { title: titleOf(thread) }),
    );
    setText(link.children[1], mark ? STATES[mark] : "");
    setAttribute(link, "aria-current", current ? "page" : null);
    setAttribute(link, "data-mark", mark || null);
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
