/** The only module that makes HTML of an agent's text. Its result has no script and no style. */

import "dompurify";

const CLASSES = { CODE: /^(?:language-[\w+#.-]+|math|math display)$/, SPAN: /^hljs-[\w -]+$/ };

const ADDRESS = /^(?:https?:\/\/|www\.|mailto:)\S+$/i;

// Only this form of the library is minified: the other has 50 kB more. It is no module and names itself globally.
const { DOMPurify } = /** @type {{DOMPurify: typeof import("dompurify").default}} */ (
  /** @type {unknown} */ (globalThis)
);

const purify = DOMPurify(window);

purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
    // An address says nothing about the direction of the text that it begins.
    if (ADDRESS.test(node.textContent ?? "")) node.setAttribute("dir", "ltr");
  }
  const known = node.tagName === "CODE" || node.tagName === "SPAN" ? CLASSES[node.tagName] : null;
  if (node.hasAttribute("class") && !known?.test(node.className)) node.removeAttribute("class");
});

/**
 * @param {string} html complete in itself
 * @param {string[]} tags
 * @returns {DocumentFragment}
 */
export const clean = (html, tags) =>
  purify.sanitize(html, {
    ALLOWED_TAGS: tags,
    ALLOWED_ATTR: ["align", "class", "href", "start", "title"],
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
    ADD_URI_SAFE_ATTR: ["align", "start"],
    ALLOW_ARIA_ATTR: false,
    ALLOW_DATA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
