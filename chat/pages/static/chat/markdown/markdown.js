/** An agent's text as DOM. Its text is not trusted: what was made of a block is sanitised before it comes onto the page. */

import { t } from "../text/strings.js";
import { element } from "../ui/element.js";
import { setFigures } from "../ui/figures.js";
import { tableTools } from "../ui/table.js";
import { html, read } from "./blocks.js";
import { frame } from "./code.js";
import { typeset } from "./math.js";
import { clean } from "./purify.js";

/** @typedef {import("./blocks.js").Block} Block */

const TAGS =
  "a blockquote br code details em h1 h2 h3 h4 h5 h6 hr kbd li mark ol p pre s small strong sub summary sup table tbody td th thead tr ul".split(
    " ",
  );
/** What has a direction of its own. */
const DIRECTED = "blockquote, h1, h2, h3, h4, h5, h6, li, ol, p, table, td, th, ul";
const LETTER = /\p{L}|[\u200e\u200f\u061c]/u;
const RIGHT_TO_LEFT =
  /\p{Script=Hebrew}|\p{Script=Arabic}|\p{Script=Syriac}|\p{Script=Thaana}|\p{Script=Nko}|\p{Script=Adlam}|\p{Script=Samaritan}|\p{Script=Mandaic}|\p{Script=Hanifi_Rohingya}|\p{Script=Mende_Kikakui}|[\u200f\u061c]/u;
/** The browser takes seconds to lay out a table of so many cells. A larger one stays text. */
const MAX_TABLE_CELLS = 20_000;
/** The browser looks for the end of a line in a word again and again. A longer word gets places to break at. */
const MAX_WORD_CHARACTERS = 4_000;
const WORD_PART_CHARACTERS = 500;

/**
 * @param {Block} block
 * @returns {DocumentFragment}
 */
function rendered(block) {
  if (block.tokens.filter(({ type }) => type === "td_open" || type === "th_open").length > MAX_TABLE_CELLS)
    return plain(block.raw.trim());
  const made = clean(html(block), TAGS);
  direct(made);
  // The page's title and the heading of each message stand above an answer's own headings.
  for (const heading of made.querySelectorAll("h1, h2, h3, h4"))
    heading.ariaLevel = String(Number(heading.tagName[1]) + 2);
  if (HAS_LONG_WORD.test(block.raw)) breakWords(made);
  for (const table of made.querySelectorAll("table")) {
    const scroller = document.createElement("div");
    scroller.className = "table";
    // What scrolls sideways must be in reach of the keyboard.
    scroller.tabIndex = 0;
    scroller.dir = table.dir;
    table.replaceWith(element("div", { class: "tabular" }, scroller));
    scroller.append(table);
    setFigures(table);
  }
  return made;
}

const HAS_LONG_WORD = new RegExp(`\\S{${MAX_WORD_CHARACTERS}}`);

/** @param {DocumentFragment} made */
function breakWords(made) {
  const texts = document.createTreeWalker(made, NodeFilter.SHOW_TEXT);
  /** @type {Text[]} */
  const long = [];
  while (texts.nextNode()) {
    const text = /** @type {Text} */ (texts.currentNode);
    if (HAS_LONG_WORD.test(text.data) && !text.parentElement?.closest("pre")) long.push(text);
  }
  for (const text of long) {
    const parts = text.data.match(new RegExp(`[^]{1,${WORD_PART_CHARACTERS}}`, "gu")) ?? [];
    text.replaceWith(...parts.flatMap((part) => [part, document.createElement("wbr")]).slice(0, -1));
  }
}

/**
 * Every block has the direction of its first letters; code has none of its own and counts for none.
 * @param {DocumentFragment} made
 */
function direct(made) {
  for (const code of made.querySelectorAll("code")) code.dir = "ltr";
  for (const block of /** @type {NodeListOf<HTMLElement>} */ (made.querySelectorAll(DIRECTED))) {
    // One "auto" inside another is skipped by it, and costs the browser a look at all of it again.
    block.dir = block.querySelector(DIRECTED) ? direction(block) : "auto";
  }
}

/**
 * @param {Element} block
 * @returns {"ltr" | "rtl"}
 */
function direction(block) {
  const texts = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const letter = text.parentElement?.closest("code") ? undefined : LETTER.exec(text.nodeValue ?? "")?.[0];
    if (letter) return RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr";
  }
  return "ltr";
}

/**
 * @param {string} text
 * @returns {DocumentFragment} it, as it is
 */
function plain(text) {
  const made = new DocumentFragment();
  made.append(element("pre", { class: "plain", dir: "auto", tabindex: "0" }, text));
  return made;
}

/** A task list's items have their box in front of them: they need no bullet. */
const TASK = /^\s*[☑☐]/u;

/**
 * @param {ParentNode} written
 * @param {boolean} complete it does not change any more
 */
function finish(written, complete) {
  for (const item of written.querySelectorAll("li")) if (TASK.test(item.textContent ?? "")) item.className = "todo";
  for (const code of written.querySelectorAll("pre > code")) frame(code, complete);
  if (complete) for (const table of written.querySelectorAll("table")) addTools(table);
  if (complete) for (const formula of written.querySelectorAll("code.math")) void typeset(formula);
}

/** @param {HTMLTableElement} table that is complete */
function addTools(table) {
  const box = table.closest(".tabular");
  // Its file is named after the heading above it.
  box?.append(tableTools(table, () => headingBefore(box)));
}

/** @param {Element} node */
function headingBefore(node) {
  const headings = [...(node.closest(".markdown")?.querySelectorAll("h1, h2, h3, h4, h5, h6") ?? [])];
  const before = (/** @type {Element} */ one) => one.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING;
  return headings.findLast(before)?.textContent ?? "";
}

const LINE_ENDS = /\r\n?/g;
/** Blocks at the end that more text may still change: what follows a list can turn out to belong to it. */
const OPEN_BLOCKS = 2;
/** So many complete blocks get an element of their own: every sibling adds time to each frame. */
const STRETCH_BLOCKS = 100;

/** A text that is written into `node` block by block: a block that is complete is not touched again. */
export class Writing {
  node = document.createElement("div");
  #text = "";
  #final = false;
  #broken = false;
  /** A block on the page may depend on a definition in another one. */
  #defines = false;
  /** What the blocks are of that are complete, and those blocks with their nodes. */
  #done = "";
  /** @type {{raw: string, nodes: ChildNode[]}[]} */
  #complete = [];
  /** @type {HTMLElement[]} with `STRETCH_BLOCKS` of the complete blocks each, from the first one on */
  #stretches = [];
  /** @type {ChildNode[]} those of the other blocks */
  #open = [];
  /** @type {Block[]} blocks of the last reading, how many of them are written, and how many are complete */
  #rest = [];
  #at = 0;
  #closed = 0;

  constructor() {
    this.node.className = "markdown";
  }

  /**
   * @param {string} raw the whole Markdown so far
   * @param {boolean} final nothing will be added
   * @param {number} deadline when to leave off, in `performance.now()` milliseconds
   * @returns {boolean} all of it is shown; if not, it goes on at the next call
   */
  write(raw, final, deadline) {
    const text = raw.replace(LINE_ENDS, "\n");
    if (!this.#broken) {
      try {
        return this.#write(text, final, deadline);
      } catch (error) {
        this.#broken = true;
        reportError(error);
      }
    }
    this.node.replaceChildren(element("p", { class: "dim" }, t("answer.plain")), plain(text));
    return true;
  }

  /**
   * @param {string} text
   * @param {boolean} final
   * @param {number} deadline
   */
  #write(text, final, deadline) {
    if (text !== this.#text || final !== this.#final) this.#read(text, final);
    while (this.#at < this.#rest.length) {
      const block = this.#rest[this.#at];
      const fragment = rendered(block);
      const complete = this.#at < this.#closed;
      this.#at += 1;
      finish(fragment, complete);
      const nodes = [...fragment.childNodes];
      this.node.append(fragment);
      if (complete) {
        this.#done += block.raw;
        this.#complete.push({ raw: block.raw, nodes });
        if (this.#complete.length % STRETCH_BLOCKS === 0) this.#together();
      } else {
        this.#open.push(...nodes);
      }
      if (performance.now() > deadline) return this.#at === this.#rest.length;
    }
    return true;
  }

  /** Put the last complete blocks together. */
  #together() {
    const blocks = this.#complete.slice(-STRETCH_BLOCKS).flatMap(({ nodes }) => nodes);
    const stretch = element("div", { class: "stretch" });
    stretch.append(...blocks);
    this.#stretches.push(stretch);
    this.node.append(stretch);
  }

  /**
   * @param {string} text
   * @param {boolean} final
   */
  #read(text, final) {
    // The end is read as a whole, so that the same comes of it however it arrived.
    const begin = !final && text.startsWith(this.#done) ? this.#complete.length : 0;
    const { blocks, defines } = read(begin > 0 ? text.slice(this.#done.length) : text);
    this.#defines ||= defines;
    let same = begin;
    if (final && !this.#defines)
      while (same < blocks.length && blocks[same].raw === this.#complete[same]?.raw) same += 1;
    for (const one of this.#stretches.splice(Math.floor(same / STRETCH_BLOCKS))) one.replaceWith(...one.childNodes);
    const dropped = this.#complete.splice(same);
    for (const { nodes } of dropped) for (const node of nodes) node.remove();
    for (const node of this.#open) node.remove();
    this.#open = [];
    if (dropped.length > 0) this.#done = this.#complete.map(({ raw }) => raw).join("");
    this.#text = text;
    this.#final = final;
    this.#rest = final ? blocks.slice(same) : blocks;
    this.#at = 0;
    this.#closed = final ? this.#rest.length : Math.max(0, blocks.length - OPEN_BLOCKS);
  }
}
