/** Code in an answer: a frame with its language and a button that copies it, and colours once it is complete. */

import { t } from "../text/strings.js";
import { copy } from "../ui/browser.js";
import { element } from "../ui/element.js";
import { clean } from "./purify.js";
import { inTurn } from "./scheduler.js";

/** Longer code stays without colours, because colouring it would block the page for seconds. */
const MAX_COLOURED_CHARACTERS = 20_000;
/** The grammars of some languages look through a line once for each of its letters. In characters. */
const LONG_LINE = /.{2000}/;

/**
 * @param {Element} code inside its `pre`
 * @param {boolean} complete it gets its colours
 */
export function frame(code, complete) {
  const pre = /** @type {HTMLElement} */ (code.parentElement);
  const language = /^language-(\S+)$/.exec(code.className)?.[1] ?? "";
  const button = element("button", { type: "button", class: "copy" }, t("copy"));
  button.addEventListener("click", () => void copy(code.textContent ?? "", button));
  const framed = element(
    "div",
    { class: "code" },
    element("div", { class: "code-head" }, element("span", { dir: "auto" }, language || t("code.text")), button),
  );
  pre.dir = "ltr";
  pre.tabIndex = 0;
  pre.replaceWith(framed);
  framed.append(pre);
  const text = code.textContent ?? "";
  if (complete && language && text.length <= MAX_COLOURED_CHARACTERS && !LONG_LINE.test(text))
    void colour(code, language);
}

/**
 * @param {Element} code
 * @param {string} language
 */
async function colour(code, language) {
  // @ts-expect-error the package has no types
  const library = await import("highlight.js").catch(() => null);
  const hljs = library?.default;
  if (!hljs?.getLanguage(language)) return;
  inTurn(() => {
    const { value } = hljs.highlight(code.textContent ?? "", { language, ignoreIllegals: true });
    code.replaceChildren(clean(value, ["span"]));
  });
}
