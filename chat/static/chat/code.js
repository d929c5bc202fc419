/** Code in an answer: a frame with its language and a button that copies it, and colours once it is complete. */

import { copy, element } from "./element.js";
import { clean } from "./purify.js";

/** Longer code stays without colours: they would take longer than anybody waits. In characters. */
const LONGEST = 60_000;

/**
 * @param {Element} code inside its `pre`
 * @param {boolean} complete it gets its colours
 */
export function frame(code, complete) {
  const pre = /** @type {HTMLElement} */ (code.parentElement);
  const language = /^language-(\S+)$/.exec(code.className)?.[1] ?? "";
  const button = element("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", () => void copy(code.textContent ?? "", button));
  const framed = element(
    "div",
    { class: "code" },
    element("div", { class: "code-head" }, element("span", {}, language || "text"), button),
  );
  pre.tabIndex = 0;
  pre.replaceWith(framed);
  framed.append(pre);
  if (complete && language && (code.textContent ?? "").length <= LONGEST) void colour(code, language);
}

/**
 * @param {Element} code
 * @param {string} language
 */
async function colour(code, language) {
  // @ts-expect-error the package has no types
  const { default: hljs } = await import("highlight.js");
  if (!hljs.getLanguage(language)) return;
  const { value } = hljs.highlight(code.textContent ?? "", { language, ignoreIllegals: true });
  code.replaceChildren(clean(value, ["span"]));
}
