/** The page as it is to be seen for a state. It changes nothing but the DOM; what a person does goes to `Actions`. */

import { Drafts } from "./attachments.js";
import { path } from "./branches.js";
import { element, found, setText } from "./element.js";
import { menu } from "./menu.js";
import { unfinished } from "./reducer.js";
import { Search } from "./search.js";
import { Sidebar, titleOf } from "./sidebar.js";
import { Transcript } from "./transcript.js";

/**
 * @typedef {import("./reducer.js").State} State
 * @typedef {import("./reducer.js").Thread} Thread
 * @typedef {import("./reducer.js").Run} Run
 * @typedef {import("./reducer.js").Attachment} Attachment
 *
 * @typedef {object} Model
 * @property {State} state
 * @property {string | null} open the thread that is shown; null: a new one
 * @property {import("./socket.js").Status} connection
 * @property {string} account who is signed in
 * @property {boolean} more the server has older threads than those listed
 * @property {Set<string>} removing threads that are about to be deleted
 * @property {import("./api.js").Agent[]} agents
 * @property {string} agent the one that the next message goes to; empty: not known yet
 *
 * @typedef {object} PageActions
 * @property {(content: string, attachments: Attachment[]) => void} send
 * @property {(file: File, progress: (share: number) => void, signal: AbortSignal) => Promise<Attachment>} upload
 * @property {(attachment: Attachment, file?: File) => void} look
 * @property {(agent: string) => void} chooseAgent
 * @property {(thread_id: string | null) => void} open
 * @property {(words: string) => Promise<import("./search.js").Found>} search
 * @property {(title: string) => void} rename
 * @property {() => void} remove
 * @property {(format: "md" | "json") => void} exportThread
 * @property {() => void} reconnect
 * @property {() => void} signOut
 * @property {() => void} moreThreads
 *
 * @typedef {import("./transcript.js").Actions & PageActions} Actions
 */

/** Nearer to the bottom than this, the transcript follows what is written. In pixels. */
const NEAR = 60;
const NOTICE_MS = 8_000;
/** When it goes on with what is not shown yet, in milliseconds. */
const LATE_MS = 10;
/** What is being written outlives a reload: thread id (empty: a new one) to text. */
const DRAFTS = "netra.drafts";

/** @returns {Record<string, string>} */
const drafts = () => JSON.parse(sessionStorage.getItem(DRAFTS) ?? "{}");

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
  #help = found("#help", HTMLDialogElement);
  #file = found("#file", HTMLInputElement);
  #agentName = found("#agent-name", HTMLElement);
  #search;
  #drafts;
  #narrow = matchMedia("(max-width: 52rem)");
  #threads = new Sidebar(found("#threads", HTMLElement));
  #transcript;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#transcript = new Transcript(found("#transcript", HTMLElement), actions);
    this.#search = new Search(actions.search, (thread_id) => actions.open(thread_id));
    this.#drafts = new Drafts(found("#drafts", HTMLElement), actions.upload, actions.look, () => this.#controls());
    this.#listen();
    this.#shortcuts();
    this.#takeFiles();
    this.#menus();
    this.#drawer(false);
    setInterval(() => this.#tick(), 1_000);
  }

  /** @param {Model} model shown with the next frame */
  render(model) {
    this.#model = model;
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => this.#draw());
  }

  /** @param {string} server_time */
  clock(server_time) {
    this.#skew = Date.parse(server_time) - Date.now() || 0;
  }

  /** @param {string} message of something that went wrong; shown for a while, and read out */
  notice(message) {
    const close = element("button", { type: "button", class: "link" }, "Dismiss");
    const notice = element("p", { class: "notice", role: "alert" }, message, " ", close);
    close.addEventListener("click", () => notice.remove());
    setTimeout(() => notice.remove(), NOTICE_MS);
    this.#notices.append(notice);
  }

  /**
   * Something was done that can be taken back.
   * @param {string} message
   * @param {() => void} undo
   * @returns {() => void} takes the offer away
   */
  offer(message, undo) {
    const button = element("button", { type: "button", class: "link" }, "Undo");
    const toast = element("p", { class: "toast", role: "status" }, message, button);
    button.addEventListener("click", () => {
      toast.remove();
      undo();
      this.focus();
    });
    found("#toasts", HTMLElement).append(toast);
    return () => toast.remove();
  }

  /** What is being written is nobody else's to read. */
  forget() {
    sessionStorage.removeItem(DRAFTS);
    this.#composer.value = "";
    this.#fit();
  }

  focus() {
    if (!this.#narrow.matches) this.#composer.focus();
  }

  #listen() {
    const { send, open, rename, reconnect, signOut, moreThreads } = this.#actions;
    this.#ask.addEventListener("submit", (event) => {
      event.preventDefault();
      const content = this.#composer.value.trim();
      if (!content || this.#drafts.busy) return;
      this.#composer.value = "";
      this.#fit();
      this.#keepDraft();
      this.#follows = true;
      send(content, this.#drafts.take());
    });
    this.#composer.addEventListener("input", () => {
      this.#fit();
      this.#keepDraft();
    });
    this.#composer.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#ask.requestSubmit();
    });
    this.#stop.addEventListener("click", () => this.#stopNow());
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#newest.addEventListener("click", () => this.#toBottom());
    const resized = new ResizeObserver(() => this.#follows && this.#welcome.hidden && this.#toBottom());
    resized.observe(this.#scroller);
    resized.observe(found("#transcript", HTMLElement));
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
    this.#renaming.addEventListener("close", () => {
      const title = this.#newTitle.value.trim();
      if (this.#renaming.returnValue === "yes" && title) rename(title);
      this.#renaming.returnValue = "";
    });
    for (const cancel of document.querySelectorAll("dialog .close")) {
      cancel.addEventListener("click", () => cancel.closest("dialog")?.close());
    }
  }

  #shortcuts() {
    addEventListener("keydown", (event) => {
      const { key, target } = event;
      const typing = target instanceof Element && target.closest("input, textarea, select") !== null;
      if ((event.ctrlKey || event.metaKey) && !event.altKey && key.toLowerCase() === "k") {
        event.preventDefault();
        if (!document.querySelector("dialog[open]")) this.#search.show();
      }
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open], :popover-open"))
        return;
      if (key === "Escape") {
        if (this.#page.hasAttribute("data-drawer")) this.#drawer(false);
        else this.#stopNow();
      } else if (key === "/" && !typing) {
        event.preventDefault();
        this.#composer.focus();
      } else if (key === "?" && !typing) {
        this.#help.showModal();
      } else if (key === "ArrowUp" && target === this.#composer && this.#composer.value === "") {
        event.preventDefault();
        this.#transcript.editLast();
      }
    });
    found("#show-search", HTMLElement).addEventListener("click", () => {
      this.#drawer(false);
      this.#search.show();
    });
    found("#show-help", HTMLElement).addEventListener("click", () => this.#help.showModal());
  }

  #takeFiles() {
    found("#attach", HTMLElement).addEventListener("click", () => this.#file.click());
    this.#file.addEventListener("change", () => {
      this.#drafts.add(this.#file.files ?? []);
      this.#file.value = "";
      this.#composer.focus();
    });
    this.#composer.addEventListener("paste", (event) => {
      const files = event.clipboardData?.files;
      if (!files?.length) return;
      event.preventDefault();
      this.#drafts.add(files);
    });
    const carries = (/** @type {DragEvent} */ event) =>
      event.dataTransfer?.types.includes("Files") && !this.#ask.hidden;
    this.#main.addEventListener("dragover", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      this.#main.dataset.dropping = "";
    });
    this.#main.addEventListener("dragleave", (event) => {
      if (!(event.relatedTarget instanceof Node && this.#main.contains(event.relatedTarget)))
        delete this.#main.dataset.dropping;
    });
    this.#main.addEventListener("drop", (event) => {
      delete this.#main.dataset.dropping;
      if (!carries(event)) return;
      event.preventDefault();
      this.#drafts.add(event.dataTransfer?.files ?? []);
      this.#composer.focus();
    });
  }

  #menus() {
    const { remove, exportThread, chooseAgent } = this.#actions;
    menu(found("#thread-menu", HTMLButtonElement), "This conversation", () => [
      { label: "Rename", act: () => this.#rename() },
      { label: "Export as Markdown", act: () => exportThread("md") },
      { label: "Export as JSON", act: () => exportThread("json") },
      { label: "Delete", danger: true, act: remove },
    ]);
    menu(found("#agent", HTMLButtonElement), "Agent", () =>
      (this.#model?.agents ?? []).map(({ name, description, available, reason }) => ({
        label: name,
        about: available ? description : `${description} ${reason ?? "Not available now."}`,
        chosen: name === this.#model?.agent,
        disabled: !available,
        act: () => {
          chooseAgent(name);
          this.#composer.focus();
        },
      })),
    );
  }

  #rename() {
    this.#newTitle.value = this.#title.textContent ?? "";
    this.#renaming.showModal();
    this.#newTitle.select();
  }

  #keepDraft() {
    const { [this.#model?.open ?? ""]: _, ...others } = drafts();
    const { value } = this.#composer;
    sessionStorage.setItem(DRAFTS, JSON.stringify(value ? { ...others, [this.#model?.open ?? ""]: value } : others));
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
    this.#due = false;
    const model = this.#model;
    if (!model) return;
    const thread = this.#thread();
    const unsent = model.state.unsent.filter((message) => message.thread_id === model.open);
    if (model.open !== this.#open) {
      this.#open = model.open;
      this.#heard.clear();
      this.#follows = true;
      this.#composer.value = drafts()[model.open ?? ""] ?? "";
      this.#fit();
    }
    const before = this.#scroller.scrollHeight;
    const late = this.#transcript.render(thread, unsent, model.connection.phase === "online", this.#now());
    const empty = path(thread).length === 0 && unsent.length === 0;
    const missing = thread?.missing === true && unsent.length === 0;
    this.#missing.hidden = !missing;
    this.#loading.hidden = model.open === null || thread?.loaded === true || !empty;
    this.#welcome.hidden = !empty || missing || !this.#loading.hidden;
    this.#ask.hidden = missing;
    this.#threads.render(model.state, model.open, model.removing);
    this.#heading(thread, missing);
    this.#controls();
    this.#banner();
    this.#announce(thread);
    setText(this.#account, model.account);
    this.#more.hidden = !model.more;
    if (empty) this.#newest.hidden = true;
    else if (this.#follows) this.#toBottom();
    else if (this.#scroller.scrollHeight > before) this.#newest.hidden = false;
    if (!late) return;
    // Not with the next frame: where painting is slow, a long answer would take as many frames as it takes goes.
    this.#due = true;
    setTimeout(() => this.#draw(), LATE_MS);
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
    const waits = this.#drafts.busy;
    this.#send.disabled = this.#composer.value.trim() === "" || waits;
    this.#send.title = waits ? "A file is still being sent" : run ? "Send: it is queued behind the answer" : "Send";
    setText(this.#agentName, this.#model?.agent ?? "");
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
