/** Messages as a person writes, changes and takes them back: what each of them follows, and what is sent again. */

import { uuid } from "../net/uuid.js";
import { atEnd, leaf, path } from "../state/branches.js";

/**
 * @typedef {import("../state/model.js").Message} Message
 * @typedef {import("../state/model.js").Unsent} Unsent
 * @typedef {import("../state/model.js").Written} Written
 */

export class Messages {
  #store;
  #flush;

  /**
   * @param {import("../state/store.js").Store} store
   * @param {() => void} flush sends what is unsent
   */
  constructor(store, flush) {
    this.#store = store;
    this.#flush = flush;
  }

  /**
   * @param {Pick<Written, "thread_id" | "content" | "attachments"> & Partial<Written>} what
   * @returns {string} its client_msg_id
   */
  write(what) {
    const client_msg_id = uuid();
    const written = { follows: null, agent: null, regenerates: null, ...what, client_msg_id };
    this.#store.dispatch({ type: "message_written", written: { ...written, content: what.content.toWellFormed() } });
    this.#flush();
    return client_msg_id;
  }

  /** @param {Pick<Written, "thread_id" | "content" | "attachments" | "agent">} what goes to the end of what is shown */
  append(what) {
    this.write({ ...what, ...this.#place(what.thread_id) });
  }

  /** @param {string} run_id */
  stop(run_id) {
    this.#store.dispatch({ type: "stop_asked", run_id });
    this.#flush();
  }

  /** @param {import("../state/model.js").GivenAnswer} answer to an input request */
  respond(answer) {
    this.#store.dispatch({ type: "answer_given", answer });
    this.#flush();
  }

  /**
   * Stop a run of a thread. What waits behind it is held here until a person sends or discards it: the next message
   * would start at once, as if nothing had been stopped.
   * @param {string} thread_id
   * @param {string} run_id
   */
  halt(thread_id, run_id) {
    const waiting = path(this.#store.thread(thread_id)).filter(
      ({ run, versions }) => run?.status === "queued" && run.id !== run_id && versions.length === 1,
    );
    for (const { run } of waiting.toReversed()) if (run) this.stop(run.id);
    this.stop(run_id);
    for (const { message, run } of waiting) {
      const { content, attachments } = message;
      /** @type {Written} */
      const written = {
        client_msg_id: uuid(),
        thread_id,
        content,
        attachments,
        agent: run?.agent || null,
        follows: null,
        at_end: true,
        regenerates: null,
      };
      this.#store.dispatch({ type: "message_written", written, held: true });
    }
  }

  /**
   * @param {string} client_msg_id
   * @param {string} [content] instead of its own
   */
  retry(client_msg_id, content) {
    const change = content === undefined ? {} : { change: { content: content.toWellFormed() } };
    this.#store.dispatch({ type: "message_retried", client_msg_id, ...change });
    this.#flush();
  }

  /**
   * @param {string} client_msg_id
   * @returns {Unsent | undefined} what it was
   */
  discard(client_msg_id) {
    const message = this.#store.state.unsent.find((one) => one.client_msg_id === client_msg_id);
    this.#store.dispatch({ type: "message_discarded", client_msg_id });
    this.#flush();
    return message;
  }

  /**
   * Change a message that waits in the queue, or take it out. Those behind it follow it: they are sent again, so that
   * nothing they are answered from has it any more.
   * @param {string} thread_id
   * @param {string} run_id
   * @param {string | null} content null: take it out
   * @param {(message: Message, content: string) => void} edit
   */
  requeue(thread_id, run_id, content, edit) {
    const exchanges = path(this.#store.thread(thread_id));
    const at = exchanges.findIndex(({ run }) => run?.id === run_id);
    if (at < 0) return;
    const [changed, ...behind] = exchanges.slice(at);
    if (changed.versions.length > 1) {
      // Only another answer waits: its message and all that follows it stay.
      this.stop(run_id);
      if (content !== null) edit(changed.message, content);
      return;
    }
    const waiting = [changed, ...behind.filter(({ run }) => run?.status === "queued")];
    for (const { run } of waiting.toReversed()) if (run) this.stop(run.id);
    /** @type {Partial<Written>} */
    let place = { parent_id: waiting[0].message.parent_id };
    for (const [index, { message, run }] of waiting.entries()) {
      const text = index > 0 ? message.content : content;
      if (text === null) continue;
      const { attachments } = message;
      place = { follows: this.write({ thread_id, content: text, attachments, agent: run?.agent || null, ...place }) };
    }
  }

  /**
   * What a new message follows: the last one that the log does not have yet, or the last one that is shown.
   * @param {string} thread_id
   * @returns {Partial<Written>}
   */
  #place(thread_id) {
    const before = this.#store.state.unsent.findLast(
      (one) => one.thread_id === thread_id && !one.regenerates && one.status !== "failed" && one.status !== "held",
    );
    const thread = this.#store.thread(thread_id);
    // Another tab may have sent something that this one has not heard of: what belongs at the end goes behind that.
    const at_end = before ? before.at_end === true : atEnd(thread);
    if (before && !before.message_id) return { follows: before.client_msg_id, at_end };
    if (at_end) return { at_end };
    if (before?.message_id) return { parent_id: before.message_id };
    const parent_id = leaf(thread);
    return parent_id === undefined ? {} : { parent_id };
  }
}
