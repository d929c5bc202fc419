/** Where messages are written: text and files of each thread, sent together. */

import { keep, named } from "../net/storage.js";
import { parts, t } from "../text/strings.js";
import { element, found, setText } from "./element.js";
import { size, typed, visible } from "./text.js";
import { Uploads } from "./uploads.js";

/**
 * @typedef {import("../state/model.js").Attachment} Attachment
 * @typedef {import("../state/model.js").Run} Run
 *
 * @typedef {object} Owner
 * @property {(content: string, attachments: Attachment[]) => void} send
 * @property {(file: File, progress: (share: number) => void, signal: AbortSignal) => Promise<Attachment>} upload
 * @property {(attachment: Attachment, file?: File) => void} look
 * @property {() => void} stop the run that is answering
 * @property {() => void} editLast change the newest message
 * @property {(message: string) => void} notice
 */

/** A longer message does not fit into a frame of 64 KiB with what goes beside it. In bytes of its JSON. */
const MAX_CONTENT_SIZE = 60 * 1024;
/** The key of the text that is being written, which outlives a reload: thread id (empty: a new one) to text. */
const DRAFTS = named("netra.drafts");

/** @returns {Record<string, string>} */
const drafts = () => JSON.parse(sessionStorage.getItem(DRAFTS) ?? "{}");

export class Composer {
  #owner;
  #uploads;
  /** @type {string | null} null: none was shown yet */
  #thread_id = null;
  #form = found("#ask", HTMLFormElement);
  #field = found("#composer", HTMLTextAreaElement);
  #send = found("#send", HTMLButtonElement);
  #held = found("#held", HTMLElement);
  #stop = found("#stop", HTMLButtonElement);
  #stopText = found("#stop-text", HTMLElement);
  #file = found("#file", HTMLInputElement);
  #narrow = matchMedia("(max-width: 52rem)");
  #touch = matchMedia("(hover: none) and (pointer: coarse)");

  /** @param {Owner} owner */
  constructor(owner) {
    this.#owner = owner;
    this.#uploads = new Uploads(found("#drafts", HTMLElement), owner.upload, owner.look, () => this.#controls());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#field.addEventListener("input", () => this.#changed());
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#stop.addEventListener("click", owner.stop);
    this.#takeFiles(found("main", HTMLElement));
    this.#field.enterKeyHint = this.#touch.matches ? "enter" : "send";
    let width = 0;
    new ResizeObserver(([{ contentRect }]) => {
      // Its own change of height is no reason to measure it again.
      if (contentRect.width !== width) this.#fit();
      width = contentRect.width;
    }).observe(this.#form);
  }

  /** Put the focus here, where no keyboard comes up over the page by that. */
  focus() {
    if (!this.#narrow.matches) this.#field.focus();
  }

  /** Put the focus here because a person asked for it. */
  enter() {
    this.#field.focus();
  }

  /** @param {string} thread_id whose text and files are shown (empty: a new one) */
  show(thread_id) {
    // What was typed before the page's scripts were there belongs to the thread that is shown first.
    const typed = this.#thread_id === null ? this.#field.value : "";
    this.#thread_id = thread_id;
    this.#field.value = drafts()[thread_id] ?? typed;
    this.#uploads.show(thread_id);
    this.#fit();
  }

  /**
   * @param {Run | undefined} run that a stop would reach
   * @param {boolean} hidden
   */
  update(run, hidden) {
    this.#form.hidden = hidden;
    this.#stop.hidden = !run;
    this.#stop.disabled = run?.stopping === true;
    setText(this.#stopText, run?.stopping ? t("stopping") : t("stop"));
    this.#send.title = run ? t("composer.queue") : t("send");
    this.#controls();
  }

  /** Drop all that is being written: the next user must not read it. */
  forget() {
    sessionStorage.removeItem(DRAFTS);
    this.#field.value = "";
    this.#uploads.forget();
    this.#fit();
  }

  /**
   * @param {string} text to start from
   * @param {string} [file] address of a sample that is attached
   */
  async suggest(text, file) {
    this.#field.value = text;
    this.#fit();
    this.#field.focus();
    if (file === undefined) return;
    const answer = await fetch(file).catch(() => null);
    if (answer?.ok) this.#uploads.add([new File([await answer.blob()], "sample-usage.csv", { type: "text/csv" })]);
  }

  /**
   * @param {string} thread_id
   * @param {Attachment[]} attachments for its next message
   */
  attach(thread_id, attachments) {
    this.#uploads.restore(attachments, thread_id);
  }

  /**
   * Put what was not sent before what is being written.
   * @param {string} content
   * @param {Attachment[]} attachments
   */
  compose(content, attachments) {
    const { value } = this.#field;
    this.#field.value = value ? `${content}\n\n${value}` : content;
    this.#uploads.restore(attachments);
    this.#changed();
    this.#field.focus();
  }

  #submit() {
    const content = typed(this.#field.value);
    if (!visible(content)) return;
    this.#hold(this.#obstacle(content));
    if (!this.#held.hidden) return;
    this.#field.value = "";
    this.#changed();
    this.#owner.send(content, this.#uploads.take());
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    // A keyboard on the screen has no Shift+Enter: there the button sends.
    if (event.key === "Enter" && !event.shiftKey && !this.#touch.matches) {
      event.preventDefault();
      this.#form.requestSubmit();
    } else if (
      event.key === "ArrowUp" &&
      !event.ctrlKey &&
      !event.metaKey &&
      !event.altKey &&
      this.#field.value === ""
    ) {
      event.preventDefault();
      this.#owner.editLast();
    }
  }

  #changed() {
    this.#fit();
    const thread_id = this.#thread_id ?? "";
    const { [thread_id]: _, ...others } = drafts();
    const { value } = this.#field;
    keep(DRAFTS, JSON.stringify(value ? { ...others, [thread_id]: value } : others));
  }

  /** Make the field as high as its text, within the bounds of the style sheet. */
  #fit() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
    this.#controls();
  }

  #controls() {
    this.#send.disabled = !visible(this.#field.value);
    if (!this.#held.hidden && !this.#obstacle(typed(this.#field.value))) this.#hold(null);
  }

  /**
   * @param {string} content
   * @returns {(Node | string)[] | null} why the message cannot be sent now, in words
   */
  #obstacle(content) {
    const [failed] = this.#uploads.failed;
    const [busy] = this.#uploads.busy;
    // A name has a direction of its own.
    if (failed) return parts("composer.lost_file", { file: element("bdi", {}, failed) });
    if (busy) return parts("composer.busy_file", { file: element("bdi", {}, busy) });
    const bytes = new Blob([JSON.stringify(content)]).size;
    if (bytes <= MAX_CONTENT_SIZE) return null;
    const attach = element("button", { type: "button", class: "link" }, t("composer.attach"));
    attach.addEventListener("click", () => {
      this.#field.value = "";
      this.#uploads.add([new File([content], "message.txt", { type: "text/plain" })]);
      this.#changed();
      this.#field.focus();
    });
    return parts("composer.too_long", { size: size(bytes), limit: size(MAX_CONTENT_SIZE), attach });
  }

  /** @param {(Node | string)[] | null} why a message stays here; null: nothing keeps it */
  #hold(why) {
    this.#held.hidden = why === null;
    this.#held.replaceChildren(...(why ?? []));
  }

  /** @param {HTMLElement} zone where files can be dropped */
  #takeFiles(zone) {
    found("#attach", HTMLElement).addEventListener("click", () => this.#file.click());
    this.#file.addEventListener("change", () => {
      this.#uploads.add(this.#file.files ?? []);
      this.#file.value = "";
      this.#field.focus();
    });
    this.#field.addEventListener("paste", (event) => {
      // A table or a page that is copied comes with its picture too: then its text is meant.
      const text = event.clipboardData?.types.includes("text/plain");
      const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => !text || !type.startsWith("image/"));
      if (files.length === 0) return;
      event.preventDefault();
      this.#uploads.add(files);
    });
    // Elsewhere the browser would leave the page for a file that is dropped there.
    for (const name of /** @type {const} */ (["dragover", "drop"])) {
      addEventListener(name, (event) => {
        if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        event.dataTransfer.dropEffect = "none";
      });
    }
    const carries = (/** @type {DragEvent} */ event) =>
      event.dataTransfer?.types.includes("Files") && !this.#form.hidden;
    zone.addEventListener("dragover", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      zone.dataset.dropping = "";
    });
    zone.addEventListener("dragleave", (event) => {
      if (!(event.relatedTarget instanceof Node && zone.contains(event.relatedTarget))) delete zone.dataset.dropping;
    });
    zone.addEventListener("drop", (event) => {
      delete zone.dataset.dropping;
      if (!carries(event)) return;
      event.preventDefault();
      const items = [...(event.dataTransfer?.items ?? [])].filter(({ kind }) => kind === "file");
      const folders = items.filter((item) => item.webkitGetAsEntry()?.isDirectory);
      for (const folder of folders) {
        this.#owner.notice(t("composer.folder", { name: folder.getAsFile()?.name ?? "" }));
      }
      this.#uploads.add(items.flatMap((item) => (folders.includes(item) ? [] : (item.getAsFile() ?? []))));
      this.#field.focus();
    });
  }
}
