/** What stands where a conversation is still empty: what the chosen agent is for, and messages to begin with. */

import { element, found, setText } from "./element.js";

/** @typedef {import("../net/api.js").Agent} Agent */

export class Welcome {
  #node = found("#welcome", HTMLElement);
  #title = found("#welcome h2", HTMLElement);
  #about = found("#welcome p", HTMLElement);
  #list = found("#welcome ul", HTMLElement);
  #suggest;
  #shown = "";
  #own;

  /** @param {(text: string) => void} suggest called with the text that was chosen */
  constructor(suggest) {
    this.#suggest = suggest;
    this.#own = {
      title: this.#title.textContent ?? "",
      description: this.#about.textContent ?? "",
      starters: [...this.#list.querySelectorAll("button")].map((button) => button.textContent?.trim() ?? ""),
    };
    this.#listen();
  }

  /**
   * An assistant with starters is introduced by them; otherwise the page's own words stand there.
   * @param {boolean} hidden
   * @param {Agent | undefined} agent the chosen one
   */
  update(hidden, agent) {
    this.#node.hidden = hidden;
    const has = agent?.starters && agent.starters.length > 0;
    const shown = has ? JSON.stringify(agent) : "";
    if (hidden || shown === this.#shown) return;
    this.#shown = shown;
    const { title, description, starters } = has ? { title: "", starters: [], ...agent } : this.#own;
    setText(this.#title, title || (agent?.name ?? ""));
    setText(this.#about, description);
    this.#list.replaceChildren(
      ...starters.map((text) => element("li", {}, element("button", { type: "button", dir: "auto" }, text))),
    );
    this.#listen();
  }

  #listen() {
    for (const button of this.#list.querySelectorAll("button")) {
      button.addEventListener("click", () => this.#suggest(button.textContent?.trim() ?? ""));
    }
  }
}
