/** The page as it is to be seen for a state. It changes nothing but the DOM; what a person does goes to `Actions`. */

import { element, found, setText } from "./element.js";
import { unfinished } from "./reducer.js";
import { Sidebar, titleOf } from "./sidebar.js";
import { Transcript } from "./transcript.js";

/**
 * @typedef {import("./reducer.js").State} State
 * @typedef {import("./reducer.js").Thread} Thread
 * @typedef {import("./reducer.js").Run} Run
 *
 * @typedef {object} Model
 * @property {State} state
 * @property {string | null} open the thread that is shown; null: a new one
 * @property {import("./socket.js").Status} connection
 * @property {string} account who is signed in
 * @property {boolean} more the server has older threads than those listed
 *
 * @typedef {object} PageActions
 * @property {(content: string) => void} send
 * @property {(thread_id: string | null) => void} open
 * @property {(title: string) => void} rename
 * @property {() => void} remove
 * @property {() => void} reconnect
 * @property {() => void} signOut
 * @property {() => void} moreThreads
 *
 * @typedef {import("./transcript.js").Actions & PageActions} Actions
 */

/** Nearer to the bottom than this, the transcript follows what is written. In pixels. */
const NEAR = 60;
const NOTICE_MS = 8_000;

export class View {
  #actions;
  /** @type {Model | null} */
  #model = null;
  #due = false;
  /** How much the server's clock is ahead of this machine's, in milliseconds. */
  #skew = 0;
  #follows = true;
  /** @type {string | null | undefined} */
  #open = undefined;
  /** @type {Map<string, Run["status"]>} */
  #heard = new Map();

  #page = document.body;
  #sidebar = found("#sidebar", HTMLElement);
  #main = found("main", HTMLElement);
  #menu = found("#menu", HTMLButtonElement);
  #title = found("#title", HTMLElement);
  #threadMenu = found("#thread-actions", HTMLElement);
  #connection = found("#connection", HTMLElement);
  #connectionText = found("#connection-text", HTMLElement);
  #scroller = found("#scroller", HTMLElement);
  #welcome = found("#welcome", HTMLElement);
  #missing = found("#missing", HTMLElement);
  #loading = found("#loading", HTMLElement);
  #newest = found("#newest", HTMLButtonElement);
  #ask = found("#ask", HTMLFormElement);
  #composer = found("#composer", HTMLTextAreaElement);
  #send = found("#send", HTMLButtonElement);
  #stop = found("#stop", HTMLButtonElement);
  #stopText = found("#stop-text", HTMLElement);
  #status = found("#status", HTMLElement);
  #notices = found("#notices", HTMLElement);
  #account = found("#account", HTMLElement);
  #more = found("#more-threads", HTMLButtonElement);
  #renaming = found("#renaming", HTMLDialogElement);
  #newTitle = found("#new-title", HTMLInputElement);
  #removing = found("#removing", HTMLDialogElement);
  #narrow = matchMedia("(max-width: 52rem)");
  #threads = new Sidebar(found("#threads", HTMLElement));
  #transcript;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#transcript = new Transcript(found("#transcript", HTMLElement), actions);
    this.#listen();
    this.#drawer(false);
    setInterval(() => this.#tick(), 1_000);
  }

  /** @param {Model} model shown with the next frame */
  render(model) {
    this.#model = model;
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  }

  /** @param {string} server_time */
  clock(server_time) {
    this.#skew = Date.parse(server_time) - Date.now() || 0;
  }

  /** @param {string} message shown for a while, and read out */
  notice(message) {
    const close = element("button", { type: "button", class: "link" }, "Dismiss");
    const notice = element("p", { class: "notice", role: "alert" }, message, " ", close);
    close.addEventListener("click", () => notice.remove());
    setTimeout(() => notice.remove(), NOTICE_MS);
    this.#notices.append(notice);
  }

  focus() {
    if (!this.#narrow.matches) this.#composer.focus();
  }

  #listen() {
    const { send, open, rename, remove, reconnect, signOut, moreThreads } = this.#actions;
    this.#ask.addEventListener("submit", (event) => {
      event.preventDefault();
      const content = this.#composer.value.trim();
      if (!content) return;
      this.#composer.value = "";
      this.#fit();
      this.#follows = true;
      send(content);
    });
    this.#composer.addEventListener("input", () => this.#fit());
    this.#composer.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#ask.requestSubmit();
    });
    this.#stop.addEventListener("click", () => this.#stopNow());
    addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
      if (this.#page.hasAttribute("data-drawer")) this.#drawer(false);
      else this.#stopNow();
    });
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#newest.addEventListener("click", () => this.#toBottom());
    new ResizeObserver(() => this.#follows && this.#welcome.hidden && this.#toBottom()).observe(this.#scroller);
    this.#menu.addEventListener("click", () => this.#drawer(true));
    found("#scrim", HTMLElement).addEventListener("click", () => this.#drawer(false));
    found("#menu-close", HTMLElement).addEventListener("click", () => this.#drawer(false));
    this.#narrow.addEventListener("change", () => this.#drawer(false));
    document.addEventListener("click", (event) => {
      const link = event.target instanceof Element ? event.target.closest("a[data-thread], a[data-new]") : null;
      if (
        !(link instanceof HTMLAnchorElement) ||
        event.button !== 0 ||
        event.ctrlKey ||
        event.metaKey ||
        event.shiftKey
      )
        return;
      event.preventDefault();
      this.#drawer(false);
      open(link.dataset.thread ?? null);
    });
    for (const example of this.#welcome.querySelectorAll("button")) {
      example.addEventListener("click", () => {
        this.#composer.value = example.textContent?.trim() ?? "";
        this.#fit();
        this.#composer.focus();
      });
    }
    found("#reconnect", HTMLElement).addEventListener("click", reconnect);
    found("#sign-out", HTMLElement).addEventListener("click", signOut);
    this.#more.addEventListener("click", moreThreads);
    found("#rename", HTMLElement).addEventListener("click", () => {
      this.#newTitle.value = this.#title.textContent ?? "";
      this.#renaming.showModal();
      this.#newTitle.select();
    });
    this.#renaming.addEventListener("close", () => {
      const title = this.#newTitle.value.trim();
      if (this.#renaming.returnValue === "yes" && title) rename(title);
      this.#renaming.returnValue = "";
    });
    found("#remove", HTMLElement).addEventListener("click", () => this.#removing.showModal());
    this.#removing.addEventListener("close", () => {
      if (this.#removing.returnValue === "yes") remove();
      this.#removing.returnValue = "";
    });
    for (const cancel of document.querySelectorAll("dialog button[type=button]")) {
      cancel.addEventListener("click", () => cancel.closest("dialog")?.close());
    }
  }

  /** @returns {Thread | undefined} */
  #thread() {
    const model = this.#model;
    return model?.open ? model.state.threads.get(model.open) : undefined;
  }

  /** @returns {Run | undefined} the run of the open thread that a stop would reach */
  #current() {
    const thread = this.#thread();
    return thread?.loaded ? thread.runs.find(unfinished) : undefined;
  }

  #stopNow() {
    const run = this.#current();
    if (run && !run.stopping) this.#actions.stop(run.id);
  }

  #draw() {
    const model = this.#model;
    if (!model) return;
    const thread = this.#thread();
    const unsent = model.state.unsent.filter((message) => message.thread_id === model.open);
    if (model.open !== this.#open) {
      this.#open = model.open;
      this.#heard.clear();
      this.#follows = true;
    }
    const before = this.#scroller.scrollHeight;
    const late = this.#transcript.render(thread, unsent, model.connection.phase === "online", this.#now());
    const empty = (thread?.runs.length ?? 0) === 0 && unsent.length === 0;
    const missing = thread?.missing === true && unsent.length === 0;
    this.#missing.hidden = !missing;
    this.#loading.hidden = model.open === null || thread?.loaded === true || unsent.length > 0;
    this.#welcome.hidden = !empty || missing || !this.#loading.hidden;
    this.#ask.hidden = missing;
    this.#threads.render(model.state, model.open);
    this.#heading(thread, missing);
    this.#controls();
    this.#banner();
    this.#announce(thread);
    setText(this.#account, model.account);
    this.#more.hidden = !model.more;
    if (empty) this.#newest.hidden = true;
    else if (this.#follows) this.#toBottom();
    else if (this.#scroller.scrollHeight > before) this.#newest.hidden = false;
    if (late) this.render(model);
  }

  /**
   * @param {Thread | undefined} thread
   * @param {boolean} missing
   */
  #heading(thread, missing) {
    const known = thread !== undefined && !missing && (thread.title !== "" || thread.last > 0);
    const title = known ? titleOf(thread) : missing ? "Not found" : "New conversation";
    setText(this.#title, title);
    this.#threadMenu.hidden = !known;
    document.title = `${title} · Netra`;
  }

  #controls() {
    const run = this.#current();
    this.#stop.hidden = !run;
    this.#stop.disabled = run?.stopping === true;
    setText(this.#stopText, run?.stopping ? "Cancelling…" : "Stop");
    this.#send.disabled = this.#composer.value.trim() === "";
  }

  #banner() {
    const status = this.#model?.connection;
    if (!status) return;
    const lost = status.phase === "waiting" || (status.phase === "connecting" && status.attempt > 0);
    this.#connection.hidden = !lost;
    const seconds = Math.ceil((status.retry_at - Date.now()) / 1000);
    const why = navigator.onLine ? "The connection is lost." : "You are offline.";
    setText(this.#connectionText, seconds > 0 ? `${why} Trying again in ${seconds} s` : `${why} Trying again…`);
  }

  /** @param {Thread | undefined} thread */
  #announce(thread) {
    if (!thread?.loaded) return;
    for (const run of thread.runs) {
      const before = this.#heard.get(run.id);
      if (before === run.status) continue;
      this.#heard.set(run.id, run.status);
      if (run.status === "running") setText(this.#status, "Generating");
      else if (before === undefined && !run.live) continue;
      else if (run.status === "completed") setText(this.#status, "Answer complete");
      else if (run.status === "cancelled") setText(this.#status, "Answer stopped");
      else if (run.status === "failed") setText(this.#status, "The answer failed");
    }
  }

  #tick() {
    this.#banner();
    this.#transcript.tick(this.#now());
  }

  #now() {
    return Date.now() + this.#skew;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR;
    if (this.#follows) this.#newest.hidden = true;
  }

  #toBottom() {
    this.#follows = true;
    this.#newest.hidden = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** As high as its text, within the bounds of the style sheet. */
  #fit() {
    this.#composer.style.height = "auto";
    this.#composer.style.height = `${this.#composer.scrollHeight}px`;
    this.#controls();
  }

  /** @param {boolean} shown */
  #drawer(shown) {
    const had = this.#page.hasAttribute("data-drawer");
    this.#page.toggleAttribute("data-drawer", shown);
    this.#menu.setAttribute("aria-expanded", String(shown));
    this.#sidebar.inert = this.#narrow.matches && !shown;
    this.#main.inert = shown;
    if (shown) found("#new-thread", HTMLElement).focus();
    else if (had) this.#menu.focus();
  }
}
