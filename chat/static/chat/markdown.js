/**
 * An agent's text as DOM. Its text is not trusted: raw HTML in it is shown as text, images become links, and what
 * marked made of the rest is sanitised as a whole.
 */

import DOMPurify from "dompurify";
import { Marked } from "marked";

/** @param {string} text */
const escaped = (text) => text.replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => (/^<br\s*\/?>$/i.test(text.trim()) ? "<br>" : escaped(text)),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const purify = DOMPurify(window);

purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  }
  if (node.hasAttribute("class") && !(node.tagName === "CODE" && /^language-[\w+#.-]+$/.test(node.className))) {
    node.removeAttribute("class");
  }
});

const ALLOWED = {
  ALLOWED_TAGS:
    "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre strong table tbody td th thead tr ul".split(" "),
  ALLOWED_ATTR: ["align", "class", "href", "start", "title"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ADD_URI_SAFE_ATTR: ["align", "start"],
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
};

/**
 * @param {string} text Markdown
 * @returns {DocumentFragment}
 */
export function fragment(text) {
  const clean = purify.sanitize(marked.parse(text, { async: false }), { ...ALLOWED, RETURN_DOM_FRAGMENT: true });
  for (const table of clean.querySelectorAll("table")) {
    const scroller = document.createElement("div");
    scroller.className = "table";
    table.replaceWith(scroller);
    scroller.append(table);
  }
  // What scrolls sideways must be in reach of the keyboard.
  for (const wide of clean.querySelectorAll(".table, pre")) wide.setAttribute("tabindex", "0");
  return clean;
}

/**
 * Put the text into `node`, leaving the blocks that did not change where they are.
 * @param {Element} node
 * @param {string} text Markdown
 */
export function show(node, text) {
  const blocks = [...fragment(text).childNodes];
  const old = [...node.childNodes];
  let same = 0;
  while (same < blocks.length && same < old.length && old[same].isEqualNode(blocks[same])) same += 1;
  for (const gone of old.slice(same)) gone.remove();
  node.append(...blocks.slice(same));
}
