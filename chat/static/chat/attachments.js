/** Files: those that are being attached to the next message, chips of those that came with one, and a look inside. */

import { dsvFormat } from "d3-dsv";
import { element, found, icon, setText, size } from "./element.js";

/**
 * @typedef {import("./reducer.js").Attachment} Attachment
 *
 * @typedef {object} Draft
 * @property {File} file
 * @property {HTMLElement} node
 * @property {AbortController} controller
 * @property {Attachment | null} attachment once it is stored
 * @property {boolean} failed
 */

const MAX_SIZE = 25 * 1024 * 1024;
/** How much of a file is looked at for its preview, in bytes and rows. */
const HEAD = 64 * 1024;
const ROWS = 20;
const COLUMNS = 30;

/** @param {Attachment} attachment */
const gist = ({ recognised, size: bytes }) =>
  [recognised?.usage ? FORMATS[recognised.format] : null, size(bytes)].filter(Boolean).join(" · ");

/** @type {Record<string, string>} */
const FORMATS = {
  table: "Usage data",
  openai: "OpenAI usage",
  anthropic: "Anthropic usage",
  litellm: "LiteLLM log",
  langfuse: "Langfuse export",
};

/**
 * @param {string} name
 * @param {string} about
 */
const label = (name, about) =>
  element(
    "span",
    { class: "chip-text" },
    element("span", { class: "chip-name" }, name),
    element("span", { class: "chip-about" }, about),
  );

/**
 * @param {Attachment} attachment
 * @param {(attachment: Attachment) => void} look
 * @returns {HTMLElement}
 */
export function chip(attachment, look) {
  const button = element(
    "button",
    { type: "button", class: "chip", "data-attachment": attachment.id, title: "Look inside" },
    icon("file"),
    label(attachment.name, gist(attachment)),
  );
  button.addEventListener("click", () => look(attachment));
  return button;
}

/** What is to go with the next message. */
export class Drafts {
  #root;
  #upload;
  #look;
  #changed;
  /** @type {Draft[]} */
  #drafts = [];

  /**
   * @param {HTMLElement} root
   * @param {(file: File, progress: (share: number) => void, signal: AbortSignal) => Promise<Attachment>} upload
   * @param {(attachment: Attachment, file: File) => void} look
   * @param {() => void} changed
   */
  constructor(root, upload, look, changed) {
    this.#root = root;
    this.#upload = upload;
    this.#look = look;
    this.#changed = changed;
  }

  /** @returns {boolean} one is still on its way */
  get busy() {
    return this.#drafts.some((draft) => !draft.attachment && !draft.failed);
  }

  /** @returns {Attachment[]} */
  get ready() {
    return this.#drafts.flatMap(({ attachment }) => attachment ?? []);
  }

  /** @param {Iterable<File>} files */
  add(files) {
    for (const file of files) this.#add(file);
  }

  /** @returns {Attachment[]} those that are ready; all are forgotten here */
  take() {
    const { ready } = this;
    for (const draft of this.#drafts) draft.node.remove();
    this.#drafts = [];
    this.#changed();
    return ready;
  }

  /** @param {File} file */
  #draft(file) {
    const remove = element(
      "button",
      { type: "button", class: "chip-remove", "aria-label": `Remove ${file.name}` },
      icon("close"),
    );
    const open = element(
      "button",
      { type: "button", class: "chip-open", disabled: true },
      icon("file"),
      label(file.name, "0 %"),
    );
    const node = element("li", { class: "chip draft" }, open, remove);
    /** @type {Draft} */
    const draft = { file, node, controller: new AbortController(), attachment: null, failed: false };
    remove.addEventListener("click", () => {
      draft.controller.abort();
      this.#drafts = this.#drafts.filter((one) => one !== draft);
      node.remove();
      this.#changed();
    });
    this.#drafts.push(draft);
    this.#root.append(node);
    this.#changed();
    return draft;
  }

  /**
   * @param {Draft} draft
   * @param {Attachment} attachment
   * @param {() => void} look
   */
  #stored(draft, attachment, look) {
    draft.attachment = attachment;
    draft.node.dataset.state = "ready";
    const open = /** @type {HTMLButtonElement} */ (draft.node.firstElementChild);
    open.disabled = false;
    open.title = "Look inside";
    open.addEventListener("click", look);
    setText(/** @type {Element} */ (draft.node.querySelector(".chip-about")), gist(attachment));
    this.#changed();
  }

  /** @param {File} file */
  async #add(file) {
    const draft = this.#draft(file);
    const about = /** @type {Element} */ (draft.node.querySelector(".chip-about"));
    try {
      if (file.size > MAX_SIZE) throw new Error(`${size(file.size)} is more than the 25 MB that a file may have.`);
      if (file.size === 0) throw new Error("The file is empty.");
      const attachment = await this.#upload(
        file,
        (share) => {
          draft.node.style.setProperty("--share", String(share));
          setText(about, share < 1 ? `${Math.floor(share * 100)} %` : "Reading…");
        },
        draft.controller.signal,
      );
      this.#stored(draft, attachment, () => this.#look(attachment, file));
    } catch (error) {
      draft.failed = true;
      draft.node.dataset.state = "failed";
      about.setAttribute("role", "alert");
      setText(about, error instanceof Error ? error.message : String(error));
      this.#changed();
    }
  }
}

/** @param {Uint8Array} bytes */
function decoded(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

/**
 * The rows of a table.
 * @param {string} text
 * @param {boolean} cut the last line may be incomplete
 * @returns {string[][]}
 */
export function rows(text, cut) {
  const whole = cut ? text.slice(0, text.lastIndexOf("\n") + 1) || text : text;
  const first = whole.slice(0, whole.search(/\n|$/));
  const [delimiter] = [",", ";", "\t", "|"].sort((a, b) => first.split(b).length - first.split(a).length);
  return dsvFormat(delimiter)
    .parseRows(whole)
    .slice(0, ROWS + 1)
    .map((row) => row.slice(0, COLUMNS));
}

const LOOK = {
  dialog: () => found("#preview", HTMLDialogElement),
  title: () => found("#preview-title", HTMLElement),
  body: () => found("#preview-body", HTMLElement),
};

/**
 * Show what a file is and how it begins.
 * @param {Attachment} attachment
 * @param {Promise<Blob>} content
 * @param {(blob: Blob) => void} keep saves it
 */
export async function preview(attachment, content, keep) {
  const { recognised } = attachment;
  const body = LOOK.body();
  setText(LOOK.title(), attachment.name);
  const waiting = element("p", { class: "dim" }, "Reading…");
  body.replaceChildren(element("p", {}, recognised?.words ?? ""), waiting);
  LOOK.dialog().showModal();
  const blob = await content.catch(() => null);
  if (!blob) return waiting.replaceChildren("The file cannot be read now.");
  const text = decoded(new Uint8Array(await blob.slice(0, HEAD).arrayBuffer()));
  const table = /csv|tab-separated/.test(attachment.media_type) || recognised?.layout === "csv";
  const save = element("button", { type: "button", class: "plain" }, icon("download"), "Save the file");
  save.addEventListener("click", () => keep(blob));
  waiting.replaceWith(
    table ? grid(rows(text, blob.size > HEAD), recognised) : element("pre", { tabindex: "0" }, text.slice(0, 8_000)),
    element("p", { class: "dim" }, `${size(attachment.size)}${table ? `, the first rows of it` : ""}`),
    element("p", { class: "buttons" }, save),
  );
}

/**
 * @param {string[][]} read the head, then rows
 * @param {Record<string, any> | null} recognised
 */
function grid([head = [], ...body], recognised) {
  /** @type {Map<string, string>} */
  const roles = new Map((recognised?.columns ?? []).map((/** @type {any} */ one) => [one.name, one.role]));
  return element(
    "div",
    { class: "table", tabindex: "0" },
    element(
      "table",
      {},
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          ...head.map((name) =>
            element(
              "th",
              { scope: "col" },
              name,
              element("span", { class: "role" }, roles.get(name)?.replaceAll("_", " ") ?? ""),
            ),
          ),
        ),
      ),
      element("tbody", {}, ...body.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))))),
    ),
  );
}
