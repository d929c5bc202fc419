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

  /** @param {(text: string, file?: string) => void} suggest called with the text that was chosen, and its file's address */
  constructor(suggest) {
    this.#suggest = suggest;
    this.#own = {
      title: this.#title.textContent ?? "",
      description: this.#about.textContent ?? "",
      starters: [...this.#list.querySelectorAll("button")].map((button) => ({
        label: button.textContent?.trim() ?? "",
        data: { ...button.dataset },
      })),
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
    const { title, description } = has ? { title: "", ...agent } : this.#own;
    const starters = has ? (agent.starters ?? []).map((label) => ({ label, data: {} })) : this.#own.starters;
    setText(this.#title, title || (agent?.name ?? ""));
    setText(this.#about, description);
    this.#list.replaceChildren(
      ...starters.map(({ label, data }) => {
        const button = element("button", { type: "button", dir: "auto" }, label);
        Object.assign(button.dataset, data);
        return element("li", {}, button);
      }),
    );
    this.#listen();
  }

  #listen() {
    for (const button of this.#list.querySelectorAll("button")) {
      const { text = button.textContent?.trim() ?? "", file } = button.dataset;
      button.addEventListener("click", () => this.#suggest(text, file));
    }
  }
}
