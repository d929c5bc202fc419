/** Formulas. KaTeX and its style sheet are fetched when the first one is shown. */

import { inTurn } from "./scheduler.js";

/** With macros of its own a short formula could become a million signs. */
const DEFINES = /\\(?:[egx]?def|(?:re|provide)?(?:new)?command|let|futurelet)(?![a-z])/i;
/** Laying out nested elements takes the browser's stack: a formula that needs more of them stays text. */
const MAX_DEPTH = 200;

/** @type {Promise<typeof import("katex")["default"]> | null} */
let loading = null;

function load() {
  loading ??= import("katex").then(
    (module) => {
      const sheet = document.createElement("link");
      sheet.rel = "stylesheet";
      sheet.href = import.meta.resolve("katex").replace(/[^/]+$/, "katex.min.css");
      document.head.append(sheet);
      return module.default;
    },
    (error) => {
      // The next formula asks again.
      loading = null;
      throw error;
    },
  );
  return loading;
}

/**
 * @param {Element} code with the formula as its text, which stays where KaTeX does not know it
 */
export async function typeset(code) {
  const formula = code.textContent ?? "";
  if (DEFINES.test(formula)) return;
  const katex = await load().catch(() => null);
  if (katex) inTurn(() => replace(code, formula, katex));
}

/**
 * @param {Element} code
 * @param {string} formula
 * @param {typeof import("katex")["default"]} katex
 */
function replace(code, formula, katex) {
  const node = document.createElement("span");
  try {
    // As DOM, since the policy of the page forbids style attributes; for the same reason without the two commands
    // that make one.
    katex.render(formula, node, {
      displayMode: code.classList.contains("display"),
      throwOnError: true,
      trust: false,
      strict: "ignore",
      maxSize: 20,
      maxExpand: 200,
      macros: { "\\pmb": "\\boldsymbol", "\\fcolorbox": "\\relax" },
    });
  } catch {
    return;
  }
  if (depth(node) > MAX_DEPTH) return;
  node.tabIndex = code.classList.contains("display") ? 0 : -1;
  node.className = code.className;
  node.dir = "ltr";
  code.replaceWith(node);
}

/**
 * @param {Element} root
 * @returns {number} how many elements stand one inside the other
 */
function depth(root) {
  let [deepest, level] = [0, 0];
  /** @type {Element | null} */
  let at = root;
  while (at) {
    deepest = Math.max(deepest, level);
    if (at.firstElementChild) {
      at = at.firstElementChild;
      level += 1;
      continue;
    }
    while (at && at !== root && !at.nextElementSibling) {
      at = at.parentElement;
      level -= 1;
    }
    at = at === root ? null : (at?.nextElementSibling ?? null);
  }
  return deepest;
}
