/** A look into a file: what it is and how it begins. */

import { dsvFormat } from "d3-dsv";
import { t } from "../text/strings.js";
import { isPicture } from "./attachments.js";
import { element, found, icon, setText } from "./element.js";
import { addressOf } from "./pictures.js";
import { size } from "./text.js";

/** @typedef {import("../state/model.js").Attachment} Attachment */

/** How much of a file its preview reads and shows. */
const PREVIEW_BYTES = 64 * 1024;
const PREVIEW_ROWS = 20;
const PREVIEW_COLUMNS = 30;

/** A number, maybe with a currency or a percent sign. */
const NUMBER = /^[-+−]?\p{Sc}?\s?\d[\d.,'’\s]*(?:e[-+]?\d+)?\s?(?:%|\p{Sc})?$/iu;

/**
 * Count the rows of a table. A line break between quotation marks is none.
 * @param {Blob} blob in an encoding that has ASCII's bytes
 * @returns {Promise<number>} without the head
 */
async function countRows(blob) {
  let [rows, quoted, empty] = [0, false, true];
  const reader = blob.stream().getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    for (const byte of next.value) {
      // An empty line is no row: so is what stands between the two ends of a line of Windows.
      if ((byte === 0x0a || byte === 0x0d) && !quoted) {
        if (!empty) rows += 1;
        empty = true;
      } else {
        if (byte === 0x22) quoted = !quoted;
        empty = false;
      }
    }
  }
  return Math.max(0, rows + (empty ? 0 : 1) - 1);
}

/**
 * @param {Blob} blob
 * @param {number} shown rows
 * @returns {Promise<string>} how much of a table is shown
 */
async function extent(blob, shown) {
  const wide = isWide(new Uint8Array(await blob.slice(0, 2).arrayBuffer()));
  const all = wide ? 0 : await countRows(blob);
  const counted = t("file.rows", { count: all });
  return all > shown ? t("file.first_of", { shown, rows: counted }) : wide ? t("file.first") : counted;
}

/**
 * @param {Uint8Array} bytes
 * @returns {boolean} the text is in UTF-16
 */
const isWide = ([first, second]) => (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);

/**
 * @param {Uint8Array} bytes that a file begins with
 * @returns {boolean} they are no text: an archive, a workbook, Parquet
 */
const isBinary = (bytes) => (bytes[0] === 0x1f && bytes[1] === 0x8b) || (bytes.includes(0) && !isWide(bytes));

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
    .slice(0, PREVIEW_ROWS + 1)
    .map((row) => row.slice(0, PREVIEW_COLUMNS));
}

const DIALOG = {
  dialog: () => found("#preview", HTMLDialogElement),
  title: () => found("#preview-title", HTMLElement),
  body: () => found("#preview-body", HTMLElement),
};

/**
 * Show what a file is and how it begins.
 * @param {Attachment} attachment
 * @param {Promise<Blob>} content
 * @param {(blob: Blob) => void} store saves it
 */
export async function preview(attachment, content, store) {
  const { recognised } = attachment;
  const body = DIALOG.body();
  setText(DIALOG.title(), attachment.name);
  const waiting = element("p", { class: "dim" }, t("reading"));
  body.replaceChildren(element("p", {}, recognised?.words ?? ""), waiting);
  DIALOG.dialog().showModal();
  const blob = await content.catch(() => null);
  if (!blob) return waiting.replaceChildren(t("file.unreadable"));
  const save = element("button", { type: "button", class: "plain" }, icon("download"), t("download"));
  save.addEventListener("click", () => store(blob));
  if (isPicture(attachment) || attachment.media_type === "application/pdf") {
    const shown = isPicture(attachment)
      ? [element("img", { class: "picture", src: await addressOf(blob), alt: attachment.name })]
      : [];
    const about = element("span", { class: "dim" }, size(attachment.size));
    return waiting.replaceWith(...shown, element("p", { class: "foot" }, about, save));
  }
  const bytes = new Uint8Array(await blob.slice(0, PREVIEW_BYTES).arrayBuffer());
  if (isBinary(bytes)) {
    const about = element("span", { class: "dim" }, size(attachment.size));
    return waiting.replaceWith(element("p", { class: "foot" }, about, save));
  }
  const text = decoded(bytes);
  // What is no usage data has the layout of a table too.
  const isUsage = recognised?.layout === "csv" && recognised.columns.length > 0;
  const table = /csv|tab-separated/.test(attachment.media_type) || isUsage;
  const read = table ? rows(text, blob.size > PREVIEW_BYTES) : [];
  const about = table
    ? `${await extent(blob, Math.max(0, read.length - 1))}, ${size(attachment.size)}`
    : size(attachment.size);
  waiting.replaceWith(
    table ? grid(read, recognised) : element("pre", { tabindex: "0", dir: "auto" }, text.slice(0, 8_000)),
    element("p", { class: "foot" }, element("span", { class: "dim" }, about), save),
  );
}

/**
 * @param {string[][]} read the head, then rows
 * @param {Record<string, any> | null} recognised
 */
function grid([head = [], ...body], recognised) {
  /** @type {Map<string, string>} */
  const roles = new Map((recognised?.columns ?? []).map((/** @type {any} */ one) => [one.name, one.role]));
  const numeric = head.map((_, at) => {
    const cells = body.map((row) => row[at]?.trim()).filter(Boolean);
    return cells.length > 0 && cells.every((cell) => NUMBER.test(cell));
  });
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
          ...head.map((name, at) =>
            element(
              "th",
              { scope: "col", dir: "auto", class: numeric[at] && "number" },
              name,
              element("span", { class: "role" }, roles.get(name)?.replaceAll("_", " ") ?? ""),
            ),
          ),
        ),
      ),
      element(
        "tbody",
        {},
        ...body.map((row) =>
          element(
            "tr",
            {},
            ...row.map((cell, at) => element("td", { dir: "auto", class: numeric[at] && "number" }, cell)),
          ),
        ),
      ),
    ),
  );
}
