/** Search in all conversations, for words in titles and messages, which the server finds as they are typed; and commands. */

import { t } from "../text/strings.js";
import { matching } from "./commands.js";
import { element, found, setText } from "./element.js";
import { period } from "./sidebar.js";

/**
 * @typedef {import("../state/model.js").ListedThread} ListedThread
 * @typedef {{message_id: string, before: string, text: string, after: string}} Match where a word stands in a message
 * @typedef {{threads: (ListedThread & {match?: Match | null})[], failure: string}} Found `failure`: why it could not be
 *   looked for, or empty
 */

/** Typing pauses for so long before the page asks the server. */
const TYPING_PAUSE_MS = 150;

export class Search {
  #dialog = found("#searching", HTMLDialogElement);
  #field = found("#search-words", HTMLInputElement);
  #list = found("#search-found", HTMLElement);
  #count = found("#search-count", HTMLElement);
  #ask;
  #open;
  #commands;
  /** @type {import("./commands.js").Command[]} those in the list */
  #matching = [];
  #timer = 0;
  #asked = 0;
  /** @type {string | null} what the list answers; null: nothing yet */
  #words = null;
  #at = 0;

  /**
   * @param {(words: string) => Promise<Found>} ask
   * @param {(thread_id: string, message_id: string | null) => void} open
   * @param {() => import("./commands.js").Command[]} commands that can be given now
   */
  constructor(ask, open, commands) {
    this.#ask = ask;
    this.#open = open;
    this.#commands = commands;
    this.#field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void this.#look(), TYPING_PAUSE_MS);
    });
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#list.addEventListener("click", (event) => {
      const option = event.target instanceof Element ? event.target.closest("[role=option]") : null;
      if (option instanceof HTMLElement) this.#go(option);
    });
  }

  show() {
    if (this.#dialog.open) return;
    this.#field.value = "";
    this.#list.replaceChildren();
    this.#words = null;
    this.#dialog.showModal();
    void this.#look();
  }

  async #look() {
    this.#asked += 1;
    const asked = this.#asked;
    const words = this.#field.value.trim();
    const { threads, failure } = await this.#ask(words);
    if (asked !== this.#asked) return;
    // What failed is looked for again when it is asked for again.
    this.#words = failure ? null : words;
    const now = new Date();
    this.#matching = matching(this.#commands(), words);
    this.#list.replaceChildren(
      ...threads.map(({ id, title, updated_at, match }, index) =>
        element(
          "li",
          {
            id: `found-${index}`,
            role: "option",
            "data-found": id,
            "data-message": match?.message_id ?? null,
            "aria-selected": "false",
          },
          element("span", { class: "title", dir: "auto" }, title || t("conversation.new")),
          element("span", { class: "dim" }, period(updated_at, now)),
          match
            ? element(
                "span",
                { class: "excerpt", dir: "auto" },
                match.before,
                element("mark", {}, match.text),
                match.after,
              )
            : null,
        ),
      ),
      ...this.#matching.map(({ label }, index) =>
        element(
          "li",
          { id: `command-${index}`, role: "option", "data-command": String(index), "aria-selected": "false" },
          element("span", { class: "title" }, label),
          element("span", { class: "dim" }, t("command")),
        ),
      ),
    );
    setText(this.#count, failure || this.#counted(words, threads.length));
    this.#move(0);
  }

  /**
   * @param {string} words
   * @param {number} threads
   * @returns {string} what is said of the list
   */
  #counted(words, threads) {
    if (!words) return threads > 0 ? "" : t("list.empty");
    if (threads > 0) return t("search.found", { count: threads });
    const commands = this.#matching.length;
    return commands > 0 ? t("search.commands", { count: commands }) : t("search.nothing", { words });
  }

  /** @param {number} to */
  #move(to) {
    const options = [...this.#list.children];
    options[this.#at]?.setAttribute("aria-selected", "false");
    this.#at = options.length > 0 ? (to + options.length) % options.length : 0;
    const option = options[this.#at];
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    this.#field.setAttribute("aria-activedescendant", option ? option.id : "");
    this.#field.setAttribute("aria-expanded", String(options.length > 0));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.#move(this.#at + step);
    else if (event.key === "Enter") void this.#choose();
    else return;
    event.preventDefault();
  }

  /** Open the marked one; of an older list none was meant. */
  async #choose() {
    const words = this.#field.value.trim();
    clearTimeout(this.#timer);
    if (words !== this.#words) await this.#look();
    if (this.#dialog.open && words === this.#words) this.#go(this.#list.children[this.#at]);
  }

  /** @param {Element | undefined} option */
  #go(option) {
    if (!(option instanceof HTMLElement)) return;
    this.#dialog.close();
    const { found: thread_id, message, command } = option.dataset;
    if (thread_id) this.#open(thread_id, message ?? null);
    else this.#matching[Number(command)].act();
  }
}
