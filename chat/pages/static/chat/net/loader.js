/** Reads threads: their list, their logs and, where a log no longer reaches back far enough, their messages. */

import { keptChoices } from "./choices.js";

/**
 * @typedef {object} Owner
 * @property {(work: () => Promise<unknown>, failed?: (error: import("./http.js").ApiError) => void) => Promise<void>} attempt
 * @property {() => string | null} open the thread that is shown
 * @property {() => boolean} online there is a socket
 * @property {(thread_id: string) => void} resume ask the socket for the rest of the thread's log
 */

/** How soon reading is tried again where the server is not well, in milliseconds. */
const RETRY_MS = 3_000;

export class Loader {
  #api;
  #store;
  #owner;
  #pages = 0;
  /** The thread whose log is being read without a socket. */
  #reading = "";
  /** Threads whose messages are being read. */
  #fetching = new Set();
  /** The server has older threads than those listed. */
  more = false;

  /**
   * @param {import("./api.js").Api} api
   * @param {import("../state/store.js").Store} store
   * @param {Owner} owner
   */
  constructor(api, store, owner) {
    this.#api = api;
    this.#store = store;
    this.#owner = owner;
  }

  /** @returns {boolean} the list of threads is known */
  get listed() {
    return this.#pages > 0;
  }

  /** @param {number} page of the list, from 1 */
  async list(page) {
    // Pinned ones and those of projects are listed at once, however old they are. All are awaited at once: otherwise the
    // failure of one would leave that of another to nobody.
    const first = page === 1 ? [this.#api.pinned(), this.#api.inProjects()] : [];
    const [{ threads, has_more }, projects, ...others] = await Promise.all([
      this.#api.threads(page),
      page === 1 ? this.#api.projects() : null,
      ...first,
    ]);
    if (projects) this.#store.dispatch({ type: "projects_listed", projects });
    this.#pages = Math.max(this.#pages, page);
    if (page === this.#pages) this.more = has_more;
    this.#store.dispatch({ type: "threads_listed", threads: [...threads, ...others.flat()] });
  }

  listMore() {
    return this.list(this.#pages + 1);
  }

  /** @param {string} thread_id */
  async readThread(thread_id) {
    this.#store.dispatch({ type: "threads_listed", threads: [await this.#api.thread(thread_id)] });
  }

  /**
   * Read what a thread's log does not have: how its answers were rated, what is checked
   * in them, and its usage. It is shown without where it fails.
   * @param {string} thread_id
   */
  readBesides(thread_id) {
    this.readUsage(thread_id);
    const read = async () => {
      const [feedback, checklist] = await Promise.all([this.#api.feedback(thread_id), this.#api.checklist(thread_id)]);
      this.#store.dispatch({ type: "feedback_listed", feedback });
      this.#store.dispatch({ type: "checklist_listed", checklist });
    };
    void this.#owner.attempt(read, () => {});
  }

  /** @param {string} thread_id */
  readUsage(thread_id) {
    const read = () => this.readThread(thread_id);
    void this.#owner.attempt(read, () => {});
  }

  /**
   * @param {string} thread_id
   * @returns {boolean} it is being read some other way than by the socket
   */
  isReading(thread_id) {
    return this.#reading === thread_id;
  }

  /**
   * @param {string} thread_id
   * @returns {boolean}
   */
  isFetching(thread_id) {
    return this.#fetching.has(thread_id);
  }

  /**
   * Follow a thread's log from where the page has it.
   * @param {string} thread_id
   * @param {boolean} fresh it is new: there is no log to read
   */
  follow(thread_id, fresh) {
    const chosen = fresh ? [] : keptChoices(thread_id);
    this.#store.dispatch({ type: "thread_opened", thread_id, at: new Date().toISOString(), fresh, chosen });
    if (fresh) return;
    if (this.#owner.online()) this.#owner.resume(thread_id);
    else if (!this.#store.state.unsent.some((one) => one.thread_id === thread_id)) void this.#readAhead(thread_id);
  }

  /**
   * Read the messages of a thread whose log does not answer from where the page is, then the rest of the log.
   * @param {string} thread_id
   * @param {number} first the seq that the log begins with
   */
  async readMessages(thread_id, first) {
    if (this.#fetching.has(thread_id)) return;
    this.#fetching.add(thread_id);
    const resume = () => this.#owner.resume(thread_id);
    await this.#owner.attempt(
      async () => {
        const messages = await this.#api.messages(thread_id);
        this.#store.dispatch({ type: "thread_fetched", thread_id, first, messages });
        resume();
      },
      ({ status }) => {
        if (status === 404) this.#store.dispatch({ type: "thread_missing", thread_id });
        else setTimeout(resume, RETRY_MS);
      },
    );
    this.#fetching.delete(thread_id);
  }

  /**
   * Read a stored thread before there is a socket, which then goes on where this ends.
   * @param {string} thread_id
   */
  async #readAhead(thread_id) {
    this.#reading = thread_id;
    const store = this.#store;
    await this.#owner.attempt(
      async () => {
        for (let rest = true; rest && this.#owner.open() === thread_id; ) {
          const { events, head, more } = await this.#api.events(thread_id, store.last(thread_id));
          store.replay(events);
          const after = store.last(thread_id);
          // Where the log's start is pruned the socket says what to do.
          rest = more && after >= (events.at(-1)?.seq ?? 0);
          if (events.length === 0 || after >= events[0].seq) {
            store.dispatch({ type: "resumed", thread_id, after, head, more: rest });
          }
        }
      },
      ({ status }) => {
        if (status === 404) store.dispatch({ type: "thread_missing", thread_id });
      },
    );
    if (this.#reading === thread_id) this.#reading = "";
    if (this.#owner.open() === thread_id) this.#owner.resume(thread_id);
  }
}
