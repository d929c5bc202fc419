/**
 * Markdown as blocks of HTML. Pure. Any text of n characters takes time in the order of n and gives HTML whose depth has
 * a bound: markdown-it parses without backtracking, and what is nested deeper than `MAX_DEPTH` stays text. Raw HTML is
 * shown as text, an image becomes a link.
 */

import MarkdownIt from "markdown-it";

/**
 * @typedef {import("markdown-it").Token} Token
 * @typedef {{raw: string, tokens: Token[]}} Block `raw`: its text, with the empty lines and definitions before it
 */

/** Quotes and lists nested deeper than this are shown as text; a level of a list counts twice. */
const MAX_DEPTH = 16;
/** The end of a formula is looked for within so many characters, which bounds the cost of a missing end. */
const MAX_FORMULA_CHARACTERS = { inline: 1_000, block: 4_000 };

const md = new MarkdownIt({ html: false, breaks: true, linkify: true });
// Only what is an address for certain: neither `README.md` nor a comment is one.
md.linkify
  .set({ fuzzyLink: false, fuzzyIP: false })
  .add("ftp:", null)
  .add("//", null)
  .add("www.", {
    validate(text, position, { re }) {
      const rest = re.get_relative_proto_validator();
      rest.lastIndex = position;
      return rest.exec(text)?.[0].length ?? 0;
    },
    normalize(match) {
      match.url = `http://${match.url}`;
    },
  });

const { escapeHtml } = md.utils;

md.block.ruler.before("table", "deep", (state, startLine, endLine) => {
  if (state.level < MAX_DEPTH) return false;
  state.push("paragraph_open", "p", 1).map = [startLine, endLine];
  const text = state.push("inline", "", 0);
  text.content = state.getLines(startLine, endLine, state.blkIndent, false).trim();
  text.map = [startLine, endLine];
  text.children = [];
  state.push("paragraph_close", "p", -1);
  state.line = endLine;
  return true;
});

/**
 * A folded part: `<details>` and `<summary>Title</summary>` on one line or two, blocks, and `</details>` on a line of its
 * own. `open` is of no effect: what an agent folds, a person unfolds.
 */
const FOLD = /^<details(?: open)?>\s*<summary>([^<]{1,200})<\/summary>$/i;

md.block.ruler.before("table", "fold", (state, startLine, endLine, silent) => {
  const line = (/** @type {number} */ at) =>
    state.src.slice(state.bMarks[at] + state.tShift[at], state.eMarks[at]).trim();
  if (state.level > 0 || !line(startLine).toLowerCase().startsWith("<details")) return false;
  const alone = !line(startLine).includes("<summary>");
  const head = alone && startLine + 1 < endLine ? `${line(startLine)}${line(startLine + 1)}` : line(startLine);
  const title = FOLD.exec(head)?.[1];
  if (title === undefined) return false;
  if (silent) return true;
  const begin = startLine + (alone ? 2 : 1);
  let end = begin;
  while (end < endLine && line(end).toLowerCase() !== "</details>") end += 1;
  const last = Math.min(end + 1, endLine);
  state.push("fold_open", "details", 1).map = [startLine, last];
  state.push("summary_open", "summary", 1);
  const text = state.push("inline", "", 0);
  text.content = title;
  text.map = [startLine, startLine + 1];
  text.children = [];
  state.push("summary_close", "summary", -1);
  const whole = state.lineMax;
  state.lineMax = end;
  state.md.block.tokenize(state, begin, end);
  state.lineMax = whole;
  state.push("fold_close", "details", -1);
  state.line = last;
  return true;
});

/** The text of a footnote: `[^1]: text`, until an empty line or the next footnote. */
const NOTE = /^\[\^(\d{1,3})\]:\s*(?=\S)/;

md.block.ruler.before(
  "reference",
  "footnote",
  (state, startLine, endLine, silent) => {
    const line = (/** @type {number} */ at) => state.src.slice(state.bMarks[at] + state.tShift[at], state.eMarks[at]);
    const mark = state.sCount[startLine] - state.blkIndent < 4 ? NOTE.exec(line(startLine)) : null;
    if (!mark) return false;
    if (silent) return true;
    let end = startLine + 1;
    while (end < endLine && !state.isEmpty(end) && !NOTE.test(line(end))) end += 1;
    state.push("paragraph_open", "p", 1).map = [startLine, end];
    state.push("note_open", "small", 1);
    const text = state.push("inline", "", 0);
    text.content = `<sup>${mark[1]}</sup> ${state.getLines(startLine, end, state.blkIndent, false).trim().slice(mark[0].length)}`;
    text.map = [startLine, end];
    text.children = [];
    state.push("note_close", "small", -1);
    state.push("paragraph_close", "p", -1);
    state.line = end;
    return true;
  },
  { alt: ["paragraph", "reference"] },
);

/** As in TeX, a formula ends with its paragraph. */
md.block.ruler.before(
  "table",
  "math",
  (state, startLine, endLine, silent) => {
    const begin = state.bMarks[startLine] + state.tShift[startLine];
    const opening = state.src.slice(begin, begin + 2);
    if ((opening !== "$$" && opening !== "\\[") || state.sCount[startLine] - state.blkIndent >= 4) return false;
    const close = opening === "$$" ? "$$" : "\\]";
    const far = Math.min(begin + MAX_FORMULA_CHARACTERS.block, state.eMarks[endLine - 1]);
    const end = state.src.slice(begin, far).indexOf(close, 3);
    if (end < 0) return false;
    let line = startLine;
    while (state.eMarks[line] < begin + end) {
      line += 1;
      if (line >= endLine || state.isEmpty(line)) return false;
    }
    if (state.src.slice(begin + end + 2, state.eMarks[line]).trim()) return false;
    if (silent) return true;
    const token = state.push("math_block", "", 0);
    const lines = state.getLines(startLine, line + 1, state.blkIndent, false).trim();
    token.content = lines.slice(2, -2).trim();
    token.map = [startLine, line + 1];
    state.line = line + 1;
    return true;
  },
  { alt: ["paragraph", "reference", "blockquote", "list"] },
);

/** Between dollars is an amount more often than a formula: a formula has a sign that no amount has. */
md.inline.ruler.before("escape", "math", (state, silent) => {
  const text = state.src.slice(state.pos, Math.min(state.posMax, state.pos + MAX_FORMULA_CHARACTERS.inline));
  /** @type {string | undefined} */
  let formula;
  if (text.startsWith("\\(")) {
    const end = text.indexOf("\\)", 3);
    formula = end < 0 ? undefined : text.slice(2, end);
  } else if (text.startsWith("$")) {
    const found = /^\$(?=[^\s$])((?:\\.|[^$\\\n]){1,500}?)(?<!\s)\$(?![\d\w$])/.exec(text)?.[1] ?? "";
    formula = /[\\^_={}]|^[A-Za-z]$/.test(found) ? found : undefined;
  }
  if (formula === undefined) return false;
  if (!silent) state.push("math_inline", "", 0).content = formula;
  state.pos += formula.length + (text.startsWith("$") ? 2 : 4);
  return true;
});

/** A tag that is obeyed: a cell of a table has no other way to begin a line. */
md.inline.ruler.before("autolink", "br", (state, silent) => {
  const tag = /^<br\s{0,9}\/?>/i.exec(state.src.slice(state.pos, Math.min(state.posMax, state.pos + 16)))?.[0];
  if (!tag) return false;
  if (!silent) state.push("hardbreak", "br", 0);
  state.pos += tag.length;
  return true;
});

/** Tags that Markdown has no sign for, around plain text. */
const INLINE_TAG = /^<(sub|sup|kbd|mark)>([^<>\n]{1,200})<\/\1>/i;

md.inline.ruler.before("autolink", "tag", (state, silent) => {
  if (state.src[state.pos] !== "<") return false;
  const found = INLINE_TAG.exec(state.src.slice(state.pos, Math.min(state.posMax, state.pos + 220)));
  if (!found) return false;
  if (!silent) pushTag(state, found[1].toLowerCase(), found[2]);
  state.pos += found[0].length;
  return true;
});

/** The mark of a footnote. Where one stands is not looked for: it may still be on its way. */
md.inline.ruler.before("link", "footnote_mark", (state, silent) => {
  const found = /^\[\^(\d{1,3})\](?!\()/.exec(state.src.slice(state.pos, Math.min(state.posMax, state.pos + 8)));
  if (!found) return false;
  if (!silent) pushTag(state, "sup", found[1]);
  state.pos += found[0].length;
  return true;
});

/**
 * @param {import("markdown-it").StateInline} state
 * @param {string} tag
 * @param {string} content plain text
 */
function pushTag(state, tag, content) {
  state.push(`${tag}_open`, tag, 1);
  state.push("text", "", 0).content = content;
  state.push(`${tag}_close`, tag, -1);
}

/** The box of a task list's item. */
md.core.ruler.after("inline", "task", ({ tokens }) => {
  for (let at = 2; at < tokens.length; at += 1) {
    if (tokens[at].type !== "inline" || tokens[at - 2].type !== "list_item_open") continue;
    const first = tokens[at].children?.[0];
    if (first?.type === "text")
      first.content = first.content.replace(/^\[([ xX])\](?=\s)/, (_, mark) => (mark === " " ? "☐" : "☑"));
  }
});

const { rules } = md.renderer;
rules.math_block = (tokens, at) => `<p><code class="math display">${escapeHtml(tokens[at].content)}</code></p>\n`;
rules.math_inline = (tokens, at) => `<code class="math">${escapeHtml(tokens[at].content)}</code>`;
rules.image = (tokens, at, options, env, self) => {
  const address = String(tokens[at].attrGet("src") ?? "");
  const name = self.renderInlineAsText(tokens[at].children ?? [], options, env);
  return `<a href="${escapeHtml(address)}">${escapeHtml(name || address)}</a>`;
};
for (const name of ["em", "strong", "s"]) {
  for (const side of ["open", "close"]) {
    rules[`${name}_${side}`] = (tokens, at, options, _, self) =>
      tokens[at].level < MAX_DEPTH ? self.renderToken(tokens, at, options) : "";
  }
}
for (const name of ["th_open", "td_open"]) {
  rules[name] = (tokens, at, options, _, self) => {
    // A style attribute is against the policy of the page.
    const side = /^text-align:(\w+)$/.exec(String(tokens[at].attrGet("style") ?? ""))?.[1];
    tokens[at].attrs = side ? [["align", side]] : null;
    return self.renderToken(tokens, at, options);
  };
}

/**
 * @param {string} text Markdown with `\n` as its line ends
 * @returns {{blocks: Block[], defines: boolean}} `defines`: a block may depend on a definition in another one
 */
export function read(text) {
  /** @type {import("markdown-it").Env} */
  const env = {};
  const tokens = md.parse(text, env);
  /** @type {Block[]} */
  const blocks = [];
  let [from, line, offset] = [0, 0, 0];
  for (let first = 0, at = 0; at < tokens.length; at += 1) {
    if (tokens[at].level > 0 || tokens[at].nesting > 0) continue;
    const end = tokens[first].map?.[1] ?? line;
    for (; line < end; line += 1) offset = text.indexOf("\n", offset) + 1 || text.length;
    blocks.push({ raw: text.slice(from, offset), tokens: tokens.slice(first, at + 1) });
    from = offset;
    first = at + 1;
  }
  return { blocks, defines: Object.keys(env.references ?? {}).length > 0 };
}

/**
 * @param {Block} block
 * @returns {string} its HTML, which is still to be sanitised
 */
export const html = ({ tokens }) => md.renderer.render(tokens, md.options, {});
