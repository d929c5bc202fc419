/**
 * An agent's text as DOM. Its text is not trusted: raw HTML in it is shown as text, images become links, and what
 * marked made of a block is sanitised as a whole before it comes onto the page.
 */

import { Marked } from "marked";
import { frame } from "./code.js";
import { typeset } from "./math.js";
import { clean } from "./purify.js";

/**
 * @typedef {import("marked").Token} Token
 * @typedef {import("marked").TokenizerAndRendererExtension} Extension
 */

/** @param {string} text */
const escaped = (text) => text.replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);

/** No formula is longer, so that one whose end is still to come is not looked for all over again with every delta. */
const LONGEST = { inline: 1_000, block: 4_000 };

/**
 * Between dollars is an amount more often than a formula: a formula has a sign that no amount has.
 * @type {Extension}
 */
const inlineMath = {
  name: "inline_math",
  level: "inline",
  // A line of text is a token of its own: what comes after it is asked for then.
  start: (text) => text.slice(0, text.indexOf("\n") + 1 || undefined).search(/\$|\\\(/),
  tokenizer(text) {
    if (text.startsWith("\\(")) {
      const end = text.slice(0, LONGEST.inline).indexOf("\\)", 3);
      return end < 0 ? undefined : { type: "inline_math", raw: text.slice(0, end + 2), formula: text.slice(2, end) };
    }
    const match = /^\$(?=[^\s$])((?:\\.|[^$\\\n]){1,500}?)(?<!\s)\$(?![\d\w$])/.exec(text);
    if (!match || !/[\\^_={}]|^[A-Za-z]$/.test(match[1])) return undefined;
    return { type: "inline_math", raw: match[0], formula: match[1] };
  },
  renderer: ({ formula }) => `<code class="math">${escaped(formula)}</code>`,
};

/**
 * As in TeX, a formula ends with its paragraph: what is behind it can be shown for good while it is still being written.
 * @param {string} text
 */
function display(text) {
  const opened = /^ {0,3}(\$\$|\\\[)/.exec(text);
  if (!opened) return undefined;
  const begin = opened[0].length;
  const end = text.slice(0, LONGEST.block).indexOf(opened[1] === "$$" ? "$$" : "\\]", begin + 1);
  const formula = text.slice(begin, end);
  const rest = end < 0 || /\n[ \t]*\n/.test(formula) ? null : /^ *(?:\n+|$)/.exec(text.slice(end + 2));
  return rest ? { type: "block_math", raw: text.slice(0, end + 2) + rest[0], formula: formula.trim() } : undefined;
}

/** @type {Extension} */
const blockMath = {
  name: "block_math",
  level: "block",
  start(text) {
    const paragraph = text.slice(0, text.indexOf("\n\n") + 1 || undefined);
    // Each of these cuts a paragraph, which is then read again from there.
    return [...paragraph.matchAll(/^ {0,3}(?:\$\$|\\\[)/gm)].find(({ index }) => display(text.slice(index)))?.index;
  },
  tokenizer: display,
  renderer: ({ formula }) => `<p><code class="math display">${escaped(formula)}</code></p>`,
};

const marked = new Marked({
  gfm: true,
  breaks: true,
  extensions: [inlineMath, blockMath],
  renderer: {
    html: ({ text }) => (/^<br\s*\/?>$/i.test(text.trim()) ? "<br>" : escaped(text)),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const TAGS = "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre strong table tbody td th thead tr ul".split(
  " ",
);

/**
 * @param {Token} block
 * @returns {DocumentFragment}
 */
function rendered(block) {
  const made = clean(marked.parser([block]), TAGS);
  for (const table of made.querySelectorAll("table")) {
    const scroller = document.createElement("div");
    scroller.className = "table";
    // What scrolls sideways must be in reach of the keyboard.
    scroller.tabIndex = 0;
    table.replaceWith(scroller);
    scroller.append(table);
  }
  return made;
}

/** A task list's items have their box in front of them; marked leaves the bullet to the style sheet. */
const TASK = /^[☑☐]/u;

/**
 * @param {ParentNode} written
 * @param {boolean} complete it does not change any more
 */
function finish(written, complete) {
  for (const item of written.querySelectorAll("li")) if (TASK.test(item.textContent ?? "")) item.className = "todo";
  for (const code of written.querySelectorAll("pre > code")) frame(code, complete);
  if (complete) for (const formula of written.querySelectorAll("code.math")) void typeset(formula);
}

const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;
const LINE_ENDS = /\r\n?/g;
/** Blocks at the end that more text may still change: what follows a list can turn out to belong to it. */
const OPEN_BLOCKS = 2;

/** A text that is written into `node` block by block: a block that is complete is never touched again. */
export class Writing {
  node = document.createElement("div");
  #text = "";
  #final = false;
  /** What the blocks are of that will not change any more. */
  #done = "";
  /** @type {ChildNode[]} */
  #open = [];
  /** @type {Token[]} blocks that are still to be written, and how many of them will not change any more */
  #rest = [];
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
    if (text !== this.#text || final !== this.#final) this.#read(text, final);
    for (let block = this.#rest.shift(); block; block = this.#rest.shift()) {
      const closed = this.#closed > 0;
      if (closed || final) this.#done += block.raw;
      if (block.type === "space") continue;
      const fragment = rendered(block);
      finish(fragment, closed);
      if (closed) this.#closed -= 1;
      else this.#open.push(...fragment.childNodes);
      this.node.append(fragment);
      if (performance.now() > deadline) return this.#rest.length === 0;
    }
    return true;
  }

  /**
   * @param {string} text
   * @param {boolean} final
   */
  #read(text, final) {
    // A definition gives links in blocks before it their address: once, at the end, since it is to be done all anew.
    const defines = final && DEFINITION.test(text);
    if (defines || !text.startsWith(this.#done)) {
      this.#done = "";
      this.node.replaceChildren();
    }
    for (const node of this.#open) node.remove();
    this.#open = [];
    this.#text = text;
    this.#final = final;
    this.#rest = marked.lexer(text.slice(this.#done.length));
    const blocks = this.#rest.filter(({ type }) => type !== "space").length;
    this.#closed = final ? blocks : Math.max(0, blocks - OPEN_BLOCKS);
  }
}
