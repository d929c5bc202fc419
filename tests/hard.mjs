/**
 * Markdown that breaks renderers, by size: a function of a number of characters each. The kinds are those of the public
 * lists of pathological input (CommonMark's implementations, reports of quadratic time and of full stacks) and those of
 * formulas and code.
 */

const times = (/** @type {string} */ piece) => (/** @type {number} */ size) => piece.repeat(size / piece.length);
const around = (/** @type {string} */ open, /** @type {string} */ close) => (/** @type {number} */ size) =>
  open.repeat(size / 2 / open.length) + "a" + close.repeat(size / 2 / close.length);
const numbered = (/** @type {(at: number) => string} */ piece) => (/** @type {number} */ size) => {
  let text = "";
  for (let at = 0; text.length < size; at += 1) text += piece(at);
  return text;
};

/** @type {Record<string, (size: number) => string>} */
export const HARD = {
  quotes: (size) => ">".repeat(size),
  "quotes with spaces": (size) => "> ".repeat(size / 2) + "a",
  "quotes that change their depth": numbered((at) => ">".repeat((at % 70) + 1) + "a\n"),
  "lazy quotes": (size) => ">".repeat(100) + "a\n" + "a\n".repeat(size / 2),
  "lazy quotes again and again": times(">".repeat(99) + "a\nb\n"),
  "lists in a line": (size) => "- ".repeat(size / 2) + "x",
  "numbered lists in a line": (size) => "1. ".repeat(size / 3) + "x",
  "lists with stars": (size) => "* ".repeat(size / 2) + "a",
  "lists in quotes": (size) => "> - ".repeat(size / 4) + "a",
  "lists by indentation": numbered((at) => `${" ".repeat((at * 2) % 500)}- a\n`),
  "empty lines in a deep list": (size) => `${"- ".repeat(30)}x${"\n".repeat(size)}y`,
  "list items": times("- [ ] a\n"),
  "numbered list": numbered((at) => `${at}. a\n`),
  brackets: around("[", "]"),
  "open brackets": times("["),
  "closed brackets": times("]"),
  "brackets on lines": times("]([" + "\n"),
  "nested links": around("[a ", "](b)"),
  "nested links of brackets": around("[a](", ")"),
  "open links": times("[a](b"),
  "open links with angles": times("[a](<b"),
  "open links with titles": times('[a](b "'),
  "empty links": times("[]("),
  "empty links with parentheses": times("[](("),
  "images in brackets": times("![[]()"),
  "images in links": times("[![a](b)](c)"),
  "emphasis that opens": times("*a **a "),
  "emphasis that closes": times("a** a* "),
  "nested emphasis": around("*a **a ", " a** a*"),
  "emphasis of two kinds": times("*_"),
  "emphasis of three kinds": times("**_* "),
  "strikethrough that opens": times("~~a "),
  stars: (size) => "*".repeat(size) + " a",
  underscores: times("a_"),
  backticks: times("`"),
  "backticks of all lengths": numbered((at) => `e${"`".repeat(at)}`),
  "backticks of two lengths": times("` `` "),
  tildes: times("~"),
  fences: times("```\n"),
  "code in one line": (size) => "```js\n" + "a(b,".repeat(size / 4) + "\n```",
  "code that does not end": (size) => "```python\n" + "x = 1\n".repeat(size / 6),
  "indented code": times("    a\n"),
  angles: times("<"),
  "open addresses": times("<a:"),
  comments: times("a <!-- "),
  declarations: times("a <!A"),
  "processing instructions": times("a <? "),
  "character data": times("a <![CDATA["),
  "open tags": times("<div>\n"),
  "tags with attributes": times('<a b="'),
  "line breaks": times("<br>"),
  ampersands: times("&"),
  entities: times("&amp;&#x;&#99999999;"),
  columns: (size) => ["|a", "|-", "|b"].map((cell) => cell.repeat(size / 6)).join("|\n") + "|",
  "columns and empty rows": (size) =>
    ["|a", "|-"].map((cell) => cell.repeat(Math.sqrt(size))).join("|\n") + "|\n|".repeat(size / 2),
  rows: (size) => "|a|b|\n|-|-|\n" + "|c|d|\n".repeat(size / 6),
  pipes: times("|"),
  "rules for tables": times("|-"),
  "addresses without a scheme": times("www."),
  "addresses that are none": times("www.-/"),
  definitions: numbered((at) => `[${at}]: x\n`),
  "open definitions": times("[a]: <"),
  "definitions with titles": times("[a]: b '\n"),
  "lines that may be definitions": times("[a\n"),
  references: (size) => `[a]: u\n\n${"[a]".repeat(size / 3)}`,
  schemes: times("http://"),
  addresses: times("http://a.b/"),
  "an address with stars": (size) => `https://a.com/${"*".repeat(size)}a`,
  "an address with parentheses": (size) => `https://a.com/${"(".repeat(size)}`,
  "an address with dots": (size) => `https://${"a.".repeat(size / 2)}`,
  "at signs": times("a@"),
  "a long name at a host": (size) => `${"a".repeat(size)}@${"b".repeat(9)}`,
  mails: times("mailto:"),
  colons: times(":"),
  slashes: times("/"),
  dollars: times("$"),
  "open formulas": times("$a_"),
  "open formulas in parentheses": times("\\("),
  "open formulas on lines": times("\\[\n"),
  "dollars on lines": times("$$\n"),
  formulas: times("$a_1$ "),
  "formulas on lines": times("$$\na_1\n$$\n"),
  "a formula of braces": (size) =>
    `$$\n${"{".repeat(Math.min(size / 2, 1_900))}a${"}".repeat(Math.min(size / 2, 1_900))}\n$$`,
  backslashes: times("\\"),
  hashes: times("#"),
  "a heading with hashes": (size) => `# a${" #".repeat(size / 2)}b`,
  headings: times("# a\n"),
  "a heading by a line below": (size) => "a\n".repeat(size / 2) + "=",
  "empty lines": times("\n"),
  spaces: (size) => `a${" ".repeat(size)}a`,
  "spaces at line ends": times(`a${" ".repeat(50)}\n`),
  tabs: times("\t"),
  "one word": times("a"),
  "one word of another script": times("漢"),
  "one word from right to left": times("ש"),
  emoji: times("👩‍👩‍👧"),
  "letters without width": times("\u200d\u200b"),
  "marks on a letter": (size) => `a${"\u0301".repeat(size)}`,
  "overrides of direction": times("\u202e\u2066a"),
  NUL: times("\0"),
  "halves of emoji": times("\ud83d"),
};

/**
 * A generator of numbers from 0 up to 1 that are the same for the same seed.
 * @param {number} seed
 */
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const PIECES = (
  "\n|\n\n|\n\n\n| |  |    |\t|# |## |> |>> |- |* |+ |1. |2) |10. |- [ ] |- [x] |```|```js|~~~|`|``|**|*|_|__|~~|[|]|(|)|](u)|[a]: u|[a]|![" +
  "|<|>|<br>|<b>|</b>|<!--|-->|<div>|&|&amp;|&#120;|\\|\\(|\\)|\\[|\\]|$|$$|$x^2$|\\frac{1}{2}|\\begin{a}|{|}|---|===|***|:|:-:|--:|.|!|https://a.b/c|x@y.zz" +
  "|word|other words|שלום|مرحبا|日本語|👩‍👩‍👧|\u200f|\u202e|12|3.5|=|\r\n"
)
  .split("|")
  .concat("|", "| a | b |\n|---|:-:|\n", "|c|d|\n");

/**
 * Markdown at random.
 * @param {() => number} next
 * @param {number} size in characters, about
 */
export function randomMarkdown(next, size) {
  let text = "";
  while (text.length < size) {
    const piece = PIECES[Math.floor(next() * PIECES.length)];
    text += next() < 0.01 ? piece.repeat(1 + next() * 60) : piece;
  }
  return text;
}
