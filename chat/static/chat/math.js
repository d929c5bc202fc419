/** Formulas. KaTeX and its style sheet are fetched when the first one is shown. */

/** @type {Promise<typeof import("katex")["default"]> | null} */
let loading = null;

function load() {
  loading ??= import("katex").then((module) => {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = import.meta.resolve("katex").replace(/[^/]+$/, "katex.min.css");
    document.head.append(sheet);
    return module.default;
  });
  return loading;
}

/**
 * @param {Element} code with the formula as its text, which stays where KaTeX does not know it
 */
export async function typeset(code) {
  const katex = await load();
  const formula = code.textContent ?? "";
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
  node.tabIndex = code.classList.contains("display") ? 0 : -1;
  node.className = code.className;
  code.replaceWith(node);
}
