/** Files that go with the next message of a thread: sent to the server at once, kept over a reload of the tab. */

import { ApiError } from "../net/http.js";
import { keep, named } from "../net/storage.js";
import { t } from "../text/strings.js";
import { gist, label } from "./attachments.js";
import { element, icon, setText } from "./element.js";
import { size } from "./text.js";

/**
 * @typedef {import("../state/model.js").Attachment} Attachment
 *
 * @typedef {object} Draft
 * @property {string} name
 * @property {HTMLElement} node
 * @property {AbortController} controller
 * @property {Attachment | null} attachment once it is stored
 * @property {boolean} failed
 */

/** The largest file that the server takes, in bytes. */
const MAX_SIZE = 25 * 1024 * 1024;

/** Where the files that are stored and not sent yet outlive a reload: thread id (empty: a new one) to attachments. */
const KEPT = named("netra.files");
/** The names of those that are not stored: what is written with them must not go without them after a reload. */
const LOST = named("netra.lost");

/** @param {number} share from 0 to 1 */
const percent = (share) => `${Math.floor(share * 100)} %`;

/** The files of each thread's next message. */
export class Uploads {
  #root;
  #upload;
  #look;
  #changed;
  /** @type {Map<string, Draft[]>} thread id (empty: a new one) to its files */
  #all = new Map();
  #thread_id = "";

  /**
   * @param {HTMLElement} root
   * @param {(file: File, progress: (share: number) => void, signal: AbortSignal) => Promise<Attachment>} upload
   * @param {(attachment: Attachment, file?: File) => void} look
   * @param {() => void} changed
   */
  constructor(root, upload, look, changed) {
    this.#root = root;
    this.#upload = upload;
    this.#look = look;
    this.#changed = changed;
    /** @type {Record<string, Attachment[]>} */
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    /** @type {Record<string, string[]>} */
    const lost = JSON.parse(sessionStorage.getItem(LOST) ?? "{}");
    for (const [thread_id, attachments] of Object.entries(kept)) {
      for (const attachment of attachments) this.#stored(this.#draft(thread_id, attachment.name), attachment);
    }
    for (const [thread_id, names] of Object.entries(lost)) {
      for (const name of names) this.#fail(this.#draft(thread_id, name), t("file.not_stored"));
    }
  }

  get #drafts() {
    return this.#all.get(this.#thread_id) ?? [];
  }

  /** @returns {string[]} the names of those that are still on their way */
  get busy() {
    return this.#drafts.filter(({ attachment, failed }) => !attachment && !failed).map(({ name }) => name);
  }

  /** @returns {string[]} the names of those that could not be stored */
  get failed() {
    return this.#drafts.filter(({ failed }) => failed).map(({ name }) => name);
  }

  /** @param {string} thread_id whose files are shown, and get those that are added (empty: a new one) */
  show(thread_id) {
    this.#thread_id = thread_id;
    this.#root.replaceChildren(...this.#drafts.map(({ node }) => node));
  }

  /** @param {Iterable<File>} files */
  add(files) {
    for (const file of files) void this.#send(file, this.#draft(this.#thread_id, file.name));
  }

  /**
   * @param {Attachment[]} attachments that are stored already
   * @param {string} [thread_id] whose next message they go with; absent: that of the thread that is shown
   */
  restore(attachments, thread_id = this.#thread_id) {
    for (const attachment of attachments) this.#stored(this.#draft(thread_id, attachment.name), attachment);
  }

  /** @returns {Attachment[]} those of the thread that is shown, which are forgotten here */
  take() {
    const taken = this.#drafts.flatMap(({ attachment }) => attachment ?? []);
    this.#all.delete(this.#thread_id);
    this.#root.replaceChildren();
    this.#keep();
    return taken;
  }

  /** All of them are forgotten. */
  forget() {
    for (const draft of [...this.#all.values()].flat()) draft.controller.abort();
    this.#all.clear();
    this.#root.replaceChildren();
    this.#keep();
  }

  #keep() {
    /** @param {(draft: Draft) => unknown[]} pick */
    const kept = (pick) => {
      const picked = [...this.#all].map(([thread_id, drafts]) => [thread_id, drafts.flatMap(pick)]);
      return JSON.stringify(Object.fromEntries(picked.filter(([, found]) => found.length > 0)));
    };
    keep(
      KEPT,
      kept(({ attachment }) => (attachment ? [attachment] : [])),
    );
    keep(
      LOST,
      kept(({ attachment, name }) => (attachment ? [] : [name])),
    );
    this.#changed();
  }

  /**
   * @param {string} thread_id
   * @param {string} name
   */
  #draft(thread_id, name) {
    const remove = element(
      "button",
      { type: "button", class: "chip-remove", "aria-label": t("remove.named", { name }), title: t("remove") },
      icon("close"),
    );
    const open = element(
      "button",
      { type: "button", class: "chip-open", disabled: true },
      icon("file"),
      label(name, percent(0)),
    );
    const node = element("li", { class: "chip draft" }, open, remove);
    /** @type {Draft} */
    const draft = { name, node, controller: new AbortController(), attachment: null, failed: false };
    remove.addEventListener("click", () => {
      draft.controller.abort();
      const rest = (this.#all.get(thread_id) ?? []).filter((one) => one !== draft);
      if (rest.length > 0) this.#all.set(thread_id, rest);
      else this.#all.delete(thread_id);
      node.remove();
      this.#keep();
    });
    this.#all.set(thread_id, [...(this.#all.get(thread_id) ?? []), draft]);
    if (thread_id === this.#thread_id) this.#root.append(node);
    return draft;
  }

  /**
   * @param {Draft} draft
   * @param {Attachment} attachment
   * @param {File} [file]
   */
  #stored(draft, attachment, file) {
    draft.attachment = attachment;
    draft.node.dataset.state = "ready";
    const open = /** @type {HTMLButtonElement} */ (draft.node.firstElementChild);
    open.disabled = false;
    open.title = t("preview");
    open.addEventListener("click", () => this.#look(attachment, file));
    setText(/** @type {Element} */ (draft.node.querySelector(".chip-about")), gist(attachment));
    this.#keep();
  }

  /**
   * @param {File} file
   * @param {Draft} draft
   */
  async #send(file, draft) {
    const about = /** @type {Element} */ (draft.node.querySelector(".chip-about"));
    draft.failed = false;
    delete draft.node.dataset.state;
    about.removeAttribute("role");
    setText(about, percent(0));
    this.#keep();
    try {
      if (file.size > MAX_SIZE) throw new Error(t("file.too_large", { size: size(file.size) }));
      if (file.size === 0) throw new Error(t("file.empty"));
      const attachment = await this.#upload(
        file,
        (share) => {
          draft.node.style.setProperty("--share", String(share));
          setText(about, share < 1 ? percent(share) : t("reading"));
        },
        draft.controller.signal,
      );
      this.#stored(draft, attachment, file);
    } catch (error) {
      this.#fail(draft, error instanceof Error ? error.message : String(error));
      if (error instanceof ApiError && (error.status === 0 || error.status >= 429)) this.#offer(file, draft);
    }
  }

  /**
   * @param {Draft} draft
   * @param {string} why
   */
  #fail(draft, why) {
    draft.failed = true;
    draft.node.dataset.state = "failed";
    const about = /** @type {Element} */ (draft.node.querySelector(".chip-about"));
    about.setAttribute("role", "alert");
    setText(about, why);
    this.#keep();
  }

  /**
   * What failed may succeed another time.
   * @param {File} file
   * @param {Draft} draft
   */
  #offer(file, draft) {
    const again = element("button", { type: "button", class: "link" }, t("try_again"));
    again.addEventListener("click", () => {
      again.remove();
      void this.#send(file, draft);
    });
    draft.node.lastElementChild?.before(again);
  }
}
