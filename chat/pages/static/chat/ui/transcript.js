/** The open thread: its exchanges, and below them what is not sent yet. */

import { answerOf, path } from "../state/branches.js";
import { inQueue, unfinished } from "../state/model.js";
import { arrange } from "./element.js";
import { Exchange } from "./exchange.js";
import { Pending } from "./pending.js";

/**
 * @typedef {import("../state/branches.js").Exchange} Shown
 * @typedef {import("../state/model.js").Run} Run
 * @typedef {import("../state/model.js").Message} Message
 * @typedef {import("../state/model.js").Thread} Thread
 * @typedef {import("../state/model.js").Unsent} Unsent
 * @typedef {import("../state/model.js").Attachment} Attachment
 *
 * @typedef {object} MessageActions
 * @property {(run_id: string) => void} stop
 * @property {(client_msg_id: string, content?: string) => void} retryMessage with other words, where there are some
 * @property {(client_msg_id: string) => void} discardMessage
 * @property {(client_msg_id: string) => void} rewrite give it up, and edit it as a new message
 * @property {(content: string, attachments: Attachment[]) => void} send
 * @property {(message: Message, content: string) => void} edit send it changed, as a sibling
 * @property {(run_id: string, content: string | null) => void} requeue change what waits; null: take it out
 * @property {(answer_id: string) => void} regenerate
 * @property {(answer_id: string, rating: 1 | -1 | null, comment: string) => Promise<boolean>} rate null: take it back
 * @property {(step: import("../state/model.js").CheckedStep, isDone: boolean) => void} check a step of an answer
 * @property {(message_id: string) => void} branch go on from there in a new conversation
 * @property {(id: string) => void} choose this message or run among its siblings
 * @property {(attachment: Attachment) => void} look
 * @property {(attachment: Attachment) => Promise<string | null>} picture the address of a small one; null: it has none
 * @property {(card: import("./card.js").Card) => void} inspect show the steps of a run beside it, or leave them
 *
 * @typedef {MessageActions & Omit<import("./request.js").Decider, "owns" | "thread_id">} Actions
 */

export class Transcript {
  #root;
  #actions;
  #thread_id = "";
  /** @type {Thread | undefined} */
  #thread;
  /** @type {Shown[]} */
  #path = [];
  /** @type {Map<string, Exchange>} */
  #exchanges = new Map();
  #pending;
  /** The sibling that was chosen here and is not shown yet. */
  #chosen = "";

  /**
   * @param {HTMLElement} root
   * @param {Actions} actions
   */
  constructor(root, actions) {
    this.#root = root;
    this.#actions = {
      ...actions,
      choose: (/** @type {string} */ id) => {
        this.#chosen = id;
        actions.choose(id);
      },
    };
    this.#pending = new Pending(this.#actions);
  }

  /** Change the newest message that is shown. */
  editLast() {
    const last = this.#path.at(-1);
    if (last && (!last.run || !unfinished(last.run) || last.run.status === "queued")) {
      this.#exchanges.get(last.message.id)?.edit();
    }
  }

  /**
   * @param {Thread | undefined} thread
   * @param {Unsent[]} unsent of this thread
   * @param {Pick<import("../state/model.js").State, "answers" | "feedback" | "checklist">} state
   * @param {boolean} online
   * @param {number} now the server's time in milliseconds
   * @returns {boolean} it must be called again soon: an answer's newest text is not shown yet
   */
  render(thread, unsent, state, online, now) {
    if ((thread?.id ?? "") !== this.#thread_id) {
      this.#thread_id = thread?.id ?? "";
      for (const exchange of this.#exchanges.values()) exchange.remove();
      this.#exchanges.clear();
      this.#pending.clear();
    }
    if (thread !== this.#thread) {
      this.#thread = thread;
      this.#path = thread && (thread.loaded || thread.last > 0) ? path(thread) : [];
    }
    const first = thread?.runs.find(inQueue);
    let late = false;
    const nodes = this.#path.map((shown) => {
      const exchange = this.#exchange(shown.message);
      const { run } = shown;
      const waits = run !== null && run.status === "queued" && first !== undefined && first.id !== run.id;
      const answer_id = thread && run && !unfinished(run) ? answerOf(thread, run) : null;
      try {
        late = exchange.update(shown, answer_id ?? "", waits, state.answers, online, now) || late;
        exchange.mark(state.feedback.get(answer_id ?? "") ?? null, state.checklist);
      } catch (error) {
        // What is wrong with one is no reason to hide the others.
        exchange.plain(shown);
        reportError(error);
      }
      return exchange.node;
    });
    arrange(this.#root, [...nodes, ...unsent.map((message) => this.#pending.node(message, online))]);
    const chosen = this.#path.find(({ message, run }) => [message.id, run?.id].includes(this.#chosen));
    if (chosen) {
      this.#exchange(chosen.message).focus(this.#chosen);
      this.#chosen = "";
    }
    return late;
  }

  /**
   * @param {string} message_id
   * @returns {HTMLElement | null} the exchange that has this message or answer, if it is shown
   */
  exchangeOf(message_id) {
    const thread = this.#thread;
    const found = this.#path.find(
      ({ message, run }) => message.id === message_id || (thread && run && answerOf(thread, run) === message_id),
    );
    return found ? this.#exchange(found.message).node : null;
  }

  /** @returns {HTMLElement | undefined} the newest open input request, if it was not asked for before */
  newRequest() {
    const fresh = /** @type {NodeListOf<HTMLElement>} */ (
      this.#root.querySelectorAll("section.request:not([data-shown])")
    );
    for (const request of fresh) request.dataset.shown = "";
    return [...fresh].at(-1);
  }

  /** @param {number} now */
  tick(now) {
    for (const exchange of this.#exchanges.values()) exchange.tick(now);
  }

  /** @param {Message} message */
  #exchange(message) {
    const exchange = this.#exchanges.get(message.id) ?? new Exchange(message, this.#actions);
    this.#exchanges.set(message.id, exchange);
    return exchange;
  }
}
