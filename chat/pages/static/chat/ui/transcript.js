/** The open thread: its exchanges, and below them what is not sent yet. */

import { path } from "../state/branches.js";
import { inQueue, unfinished } from "../state/model.js";
import { arrange, element, found } from "./element.js";
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

/** Drawing leaves off after so long, so that the page can answer. */
const MAX_STEP_MS = 25;
/** So many exchanges at the end are drawn before those of which nothing is near the view. */
const NEWEST = 3;

export class Transcript {
  #root;
  #actions;
  #thread_id = "";
  /** @type {Thread | undefined} */
  #thread;
  /** @type {Shown[]} */
  #path = [];
  /** @type {Map<string | null, string>} the ids of runs to those of their answers */
  #answers = new Map();
  /** @type {Map<string, HTMLElement>} where each exchange stands, before it is drawn as well */
  #places = new Map();
  /** @type {Set<Element>} the places in or near the view */
  #near = new Set();
  #observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) this.#near.add(target);
        else this.#near.delete(target);
      }
    },
    { root: found("#scroller", HTMLElement), rootMargin: "100% 0px" },
  );
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
   * @param {number} [deadline] when to leave off, in `performance.now()` milliseconds
   * @returns {"near" | "far" | "nothing"} what is still to be drawn, if it is called again soon: `near` the view or of a
   *   run at work, or `far` from it only
   */
  render(thread, unsent, state, online, now, deadline = performance.now() + MAX_STEP_MS) {
    if ((thread?.id ?? "") !== this.#thread_id) {
      this.#thread_id = thread?.id ?? "";
      for (const exchange of this.#exchanges.values()) exchange.remove();
      this.#exchanges.clear();
      this.#observer.disconnect();
      this.#near.clear();
      this.#places.clear();
      this.#pending.clear();
    }
    if (thread !== this.#thread) {
      this.#thread = thread;
      this.#path = thread && (thread.loaded || thread.last > 0) ? path(thread) : [];
      const said = thread?.messages.filter(({ role }) => role === "assistant") ?? [];
      this.#answers = new Map(said.map(({ run_id, id }) => [run_id, id]));
    }
    const places = this.#path.map(({ message }) => this.#place(message.id));
    arrange(this.#root, [...places, ...unsent.map((message) => this.#pending.node(message, online))]);
    const first = thread?.runs.find(inQueue);
    /** @type {"near" | "far" | "nothing"} */
    let rest = "nothing";
    const [near, far] = this.#inOrder();
    for (const [at, shown] of [...near, ...far].entries()) {
      const { run, message } = shown;
      let isDrawn = this.#exchanges.has(message.id) || performance.now() <= deadline;
      if (isDrawn) {
        const exchange = this.#exchange(message);
        const waits = run !== null && run.status === "queued" && first !== undefined && first.id !== run.id;
        const answer_id = (run && !unfinished(run) && this.#answers.get(run.id)) || "";
        try {
          isDrawn = !exchange.update(shown, answer_id, waits, state.answers, online, now, deadline);
          exchange.mark(state.feedback.get(answer_id) ?? null, state.checklist);
        } catch (error) {
          // What is wrong with one is no reason to hide the others.
          exchange.plain(shown);
          reportError(error);
        }
      }
      if (!isDrawn && rest !== "near") rest = at < near.length ? "near" : "far";
    }
    const chosen = this.#path.find(({ message, run }) => [message.id, run?.id].includes(this.#chosen));
    if (chosen) {
      this.#exchange(chosen.message).focus(this.#chosen);
      this.#chosen = "";
    }
    return rest;
  }

  /** @returns {[Shown[], Shown[]]} those to be drawn first, and the others, each the newest first */
  #inOrder() {
    /** @type {[Shown[], Shown[]]} */
    const order = [[], []];
    const newest = this.#path.length - NEWEST;
    for (const [at, shown] of this.#path.entries()) {
      const { message, run } = shown;
      const isFirst =
        at >= newest ||
        (run && unfinished(run)) ||
        this.#near.has(/** @type {Element} */ (this.#places.get(message.id)));
      order[isFirst ? 0 : 1].push(shown);
    }
    return [order[0].reverse(), order[1].reverse()];
  }

  /** @returns {boolean} there is nothing of the thread to show */
  get isEmpty() {
    return this.#path.length === 0;
  }

  /**
   * @param {string} message_id
   * @returns {HTMLElement | null} the exchange that has this message or answer, if it is shown
   */
  exchangeOf(message_id) {
    const found = this.#path.find(
      ({ message, run }) => message.id === message_id || (run && this.#answers.get(run.id) === message_id),
    );
    return found ? this.#place(found.message.id) : null;
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

  /** @param {string} id of a message */
  #place(id) {
    const known = this.#places.get(id);
    if (known) return known;
    const place = element("section", { class: "exchange" });
    this.#places.set(id, place);
    this.#observer.observe(place);
    return place;
  }

  /** @param {Message} message */
  #exchange(message) {
    const exchange = this.#exchanges.get(message.id) ?? new Exchange(message, this.#actions, this.#place(message.id));
    this.#exchanges.set(message.id, exchange);
    return exchange;
  }
}
