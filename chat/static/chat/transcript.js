/** The open thread: for each run the message that asked, its card and its answer; below them what is not sent yet. */

import { Card } from "./card.js";
import { arrange, element, setText } from "./element.js";
import { show } from "./markdown.js";
import { unfinished } from "./reducer.js";

/**
 * @typedef {import("./reducer.js").Run} Run
 * @typedef {import("./reducer.js").Message} Message
 * @typedef {import("./reducer.js").Thread} Thread
 * @typedef {import("./reducer.js").Unsent} Unsent
 *
 * @typedef {object} Actions
 * @property {(run_id: string) => void} stop
 * @property {(client_msg_id: string) => void} retryMessage
 * @property {(client_msg_id: string) => void} discardMessage
 */

/** Rendering an answer may take this share of the time at most, so that a long one stays smooth. */
const SHARE = 0.25;

/**
 * @param {string} content
 * @param {Record<string, string>} data
 */
const userMessage = (content, data) => {
  const node = element("article", { class: "message", "data-role": "user", "aria-label": "You" });
  Object.assign(node.dataset, data);
  node.append(element("div", { class: "text" }, content));
  return node;
};

/** What belongs to one run. */
class Exchange {
  node = element("section", { class: "exchange" });
  #card = new Card();
  #state = element("p", { class: "state" });
  #stop = element("button", { type: "button", class: "link" }, "Cancel");
  #queued = element("span", {}, "Queued, starts after the answer above");
  #answer = element("article", { class: "message", "data-role": "assistant", "aria-label": "Netra" });
  #markdown = element("div", { class: "markdown" });
  #failure = element("p", { class: "failure" });
  /** @type {HTMLElement | null} */
  #question = null;
  /** @type {Run | null} */
  #run = null;
  #shown = "";
  #nextRender = 0;
  #live = false;
  #wasLast = false;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#state.append(this.#queued, " ", this.#stop);
    this.#stop.addEventListener("click", () => this.#run && actions.stop(this.#run.id));
    this.#answer.append(this.#markdown);
  }

  /**
   * @param {Run} run
   * @param {Message | undefined} question
   * @param {boolean} behind it waits for a run before it
   * @param {boolean} last
   * @param {number} now
   * @returns {boolean} an answer's newest text is still to be shown
   */
  update(run, question, behind, last, now) {
    const changed = run !== this.#run;
    this.#run = run;
    if (last !== this.#wasLast) this.#card.node.open = this.#wasLast = last;
    this.#live ||= run.live || unfinished(run);
    if (question && !this.#question) this.#question = userMessage(question.content, { message: question.id });
    this.#card.update(run, now);
    const late = this.#write(run);
    if (changed) {
      this.#failure.toggleAttribute("data-live", this.#live);
      if (run.error !== null && this.#live) this.#failure.setAttribute("role", "alert");
      setText(this.#failure, run.error ?? "");
    }
    const waits = behind && run.status === "queued";
    const worked = run.parts.length > 0 || run.steps.length > 0 || unfinished(run);
    /** @type {(HTMLElement | null | false)[]} */
    const wanted = [
      this.#question,
      waits && this.#state,
      !waits && worked && this.#card.node,
      run.text !== "" && this.#answer,
      run.error !== null && this.#failure,
      run.status === "cancelled" && run.parts.length === 0 && this.#stopped,
    ];
    arrange(this.node, /** @type {HTMLElement[]} */ (wanted.filter(Boolean)));
    return late;
  }

  #stopped = element("p", { class: "state" }, "Cancelled before it started");

  /** @param {number} now */
  tick(now) {
    this.#card.tick(now);
  }

  /** @param {Run} run */
  #write(run) {
    const streaming = run.status === "running";
    this.#answer.toggleAttribute("data-streaming", streaming);
    if (run.text === this.#shown) return false;
    const begun = performance.now();
    if (streaming && begun < this.#nextRender) return true;
    show(this.#markdown, run.text);
    this.#shown = run.text;
    const ended = performance.now();
    this.#nextRender = ended + (ended - begun) / SHARE;
    return false;
  }
}

export class Transcript {
  #root;
  #actions;
  #thread_id = "";
  /** @type {Map<string, Exchange>} */
  #exchanges = new Map();
  /** @type {Map<string, {about: Unsent, online: boolean, node: HTMLElement}>} */
  #unsent = new Map();

  /**
   * @param {HTMLElement} root
   * @param {Actions} actions
   */
  constructor(root, actions) {
    this.#root = root;
    this.#actions = actions;
  }

  /**
   * @param {Thread | undefined} thread
   * @param {Unsent[]} unsent of this thread
   * @param {boolean} online
   * @param {number} now the server's time in milliseconds
   * @returns {boolean} it must be called again soon: an answer's newest text is not shown yet
   */
  render(thread, unsent, online, now) {
    if ((thread?.id ?? "") !== this.#thread_id) {
      this.#thread_id = thread?.id ?? "";
      this.#exchanges.clear();
      this.#unsent.clear();
    }
    const runs = thread?.loaded ? thread.runs : [];
    const questions = new Map(
      (thread?.messages ?? []).filter(({ role }) => role === "user").map((message) => [message.run_id, message]),
    );
    let behind = false;
    let late = false;
    const nodes = runs.map((run, index) => {
      const exchange = this.#exchange(run.id);
      const last = index === runs.length - 1 || unfinished(run);
      late = exchange.update(run, questions.get(run.id), behind, last, now) || late;
      behind ||= unfinished(run);
      return exchange.node;
    });
    arrange(this.#root, [...nodes, ...unsent.map((message) => this.#pending(message, online))]);
    return late;
  }

  /** @param {number} now */
  tick(now) {
    for (const exchange of this.#exchanges.values()) exchange.tick(now);
  }

  /** @param {string} run_id */
  #exchange(run_id) {
    const exchange = this.#exchanges.get(run_id) ?? new Exchange(this.#actions);
    this.#exchanges.set(run_id, exchange);
    return exchange;
  }

  /**
   * @param {Unsent} message
   * @param {boolean} online
   * @returns {HTMLElement}
   */
  #pending(message, online) {
    const known = this.#unsent.get(message.client_msg_id);
    if (known && known.about === message && known.online === online) return known.node;
    const node = element(
      "section",
      { class: "exchange" },
      userMessage(message.content, { unsent: message.client_msg_id, state: message.status }),
      this.#unsentState(message, online),
    );
    this.#unsent.set(message.client_msg_id, { about: message, online, node });
    return node;
  }

  /**
   * @param {Unsent} message
   * @param {boolean} online
   * @returns {HTMLElement}
   */
  #unsentState({ client_msg_id, status, error }, online) {
    if (status !== "failed") {
      const waiting = !online && status === "sending";
      const words = waiting ? "Not sent yet, waiting for the connection" : "Sending…";
      return element("p", { class: "state", "data-state": waiting ? "waiting" : status }, words);
    }
    const retry = element("button", { type: "button", class: "link" }, "Try again");
    const discard = element("button", { type: "button", class: "link" }, "Discard");
    retry.addEventListener("click", () => this.#actions.retryMessage(client_msg_id));
    discard.addEventListener("click", () => this.#actions.discardMessage(client_msg_id));
    return element(
      "p",
      { class: "state", "data-state": "failed", role: "alert" },
      `Not sent: ${error} `,
      retry,
      " ",
      discard,
    );
  }
}
