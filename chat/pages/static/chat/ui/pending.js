/** Messages and further answers that are not in the log yet, with what keeps them from it. */

import { t, told } from "../text/strings.js";
import { editor } from "./editor.js";
import { element, icon } from "./element.js";
import { userMessage } from "./exchange.js";

/** @typedef {import("../state/model.js").Unsent} Unsent */

export class Pending {
  #actions;
  /** @type {Map<string, {about: Unsent, online: boolean, node: HTMLElement}>} */
  #known = new Map();

  /** @param {import("./transcript.js").Actions} actions */
  constructor(actions) {
    this.#actions = actions;
  }

  clear() {
    this.#known.clear();
  }

  /**
   * @param {Unsent} message
   * @param {boolean} online
   * @returns {HTMLElement}
   */
  node(message, online) {
    const known = this.#known.get(message.client_msg_id);
    const unchanged = known?.about === message && (known.online === online || known.node.querySelector(".editing"));
    if (unchanged) return known.node;
    const node = element(
      "section",
      { class: "exchange" },
      !message.regenerates &&
        userMessage(message.content, message.attachments, this.#actions, {
          unsent: message.client_msg_id,
          state: message.status,
        }),
      this.#state(message, online),
    );
    node.querySelector(".rewrite")?.addEventListener("click", () => this.#rewrite(message, node));
    this.#known.set(message.client_msg_id, { about: message, online, node });
    return node;
  }

  /**
   * What is to stand in a place of its own is changed there, what belongs at the end where messages are written.
   * @param {Unsent} message that was refused
   * @param {HTMLElement} node
   */
  #rewrite({ client_msg_id, content, parent_id, at_end }, node) {
    const question = node.querySelector(".message");
    if (!question || node.querySelector(".editing")) return;
    if (parent_id === undefined || at_end) return this.#actions.rewrite(client_msg_id);
    const { form, begin } = editor(
      content,
      (words) => this.#actions.retryMessage(client_msg_id, words),
      () => {
        form.replaceWith(question);
        /** @type {HTMLElement | null} */ (node.querySelector(".rewrite"))?.focus();
      },
    );
    question.replaceWith(form);
    begin();
  }

  /**
   * @param {Unsent} message
   * @param {boolean} online
   * @returns {HTMLElement}
   */
  #state({ client_msg_id, status, error, regenerates }, online) {
    const discard = element("button", { type: "button", class: "link" }, t("discard"));
    discard.addEventListener("click", () => this.#actions.discardMessage(client_msg_id));
    if (status === "held") {
      const send = element("button", { type: "button", class: "link" }, t("send"));
      send.addEventListener("click", () => this.#actions.retryMessage(client_msg_id));
      return element("p", { class: "state", "data-state": status }, t("unsent.held"), send, discard);
    }
    if (status !== "failed") {
      if (online || status === "accepted")
        return element("p", { class: "state", "data-state": status }, regenerates ? t("regenerating") : t("sending"));
      return element(
        "p",
        { class: "state", "data-state": "waiting" },
        icon("clock"),
        regenerates ? t("unsent.another.waiting") : t("unsent.waiting"),
        discard,
      );
    }
    const retry = element("button", { type: "button", class: "link" }, t("try_again"));
    retry.addEventListener("click", () => this.#actions.retryMessage(client_msg_id));
    const change = element("button", { type: "button", class: "link rewrite" }, t("edit"));
    return element(
      "p",
      { class: "state", "data-state": "failed", role: "alert" },
      `${t(regenerates ? "unsent.another.failed" : "unsent.failed", { error: told(error ?? "") })} `,
      retry,
      " ",
      !regenerates && change,
      !regenerates && " ",
      discard,
    );
  }
}
