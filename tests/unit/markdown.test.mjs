/** Markdown as blocks of HTML: no text breaks it, none takes it long, nothing in it is lost. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { html, read } from "../../chat/pages/static/chat/markdown/blocks.js";
import { HARD, random, randomMarkdown } from "../hard.mjs";

/** @param {string} text */
const whole = (text) => read(text).blocks.map(html).join("");

/** @param {string} made HTML without void elements but br and hr */
function depth(made) {
  let [level, deepest] = [0, 0];
  for (const [, close] of made.matchAll(/<(\/?)(?!br>|hr>)[a-z]/g)) {
    level += close ? -1 : 1;
    deepest = Math.max(deepest, level);
    assert.ok(level >= 0, "an end without a beginning");
  }
  assert.equal(level, 0, "a beginning without an end");
  return deepest;
}

/** @param {string} made */
const words = (made) =>
  made
    .replace(/<[^>]*>/g, " ")
    .replace(/&(lt|gt|amp|quot);/g, (_, name) => ({ lt: "<", gt: ">", amp: "&", quot: '"' })[name] ?? "");

const DEEPEST = 45;

/**
 * @param {string} text
 * @returns {number} the processor's time for it in milliseconds, the less of two: what else runs here takes part
 */
function cost(text) {
  const taken = [1, 2].map(() => {
    const begun = process.cpuUsage();
    whole(text);
    return process.cpuUsage(begun).user / 1_000;
  });
  return Math.min(...taken);
}

for (const [name, make] of Object.entries(HARD)) {
  test(`hard text: ${name}`, () => {
    const [small, large] = [make(15_000), make(120_000)];
    assert.ok(depth(whole(large)) <= DEEPEST);
    // Eight times the text: eight times as long where time is linear, sixty-four times where it is quadratic.
    assert.ok(cost(large) <= 30 * Math.max(cost(small), 15));
  });
}

test("random text: every block is made, in bounded depth, and the blocks' texts are the text", () => {
  const next = random(1);
  for (let round = 0; round < 300; round += 1) {
    const text = randomMarkdown(next, 20 + 2 ** (next() * 13)).replace(/\r\n?/g, "\n");
    const { blocks } = read(text);
    assert.ok(text.startsWith(blocks.map(({ raw }) => raw).join("")));
    for (const block of blocks) assert.ok(depth(html(block)) <= DEEPEST);
  }
});

test("words in nested quotes and lists are all there, however deep they stand", () => {
  const next = random(2);
  for (let round = 0; round < 200; round += 1) {
    const lines = Array.from({ length: 8 }, (_, at) => {
      const markers = Array.from(
        { length: next() * 90 },
        () => ["> ", ">", "- ", "1. ", "**", "*"][Math.floor(next() * 6)],
      );
      return `${markers.join("")}word${at}`;
    });
    const made = words(whole(lines.join(next() < 0.5 ? "\n" : "\n\n")));
    for (const at of lines.keys()) assert.ok(made.includes(`word${at}`), `word${at} of\n${lines.join("\n")}`);
  }
});

test("a block that is read alone is the block that is read with the others", () => {
  const next = random(3);
  for (let round = 0; round < 200; round += 1) {
    const text = randomMarkdown(next, 400).replace(/\r\n?/g, "\n");
    const { blocks, defines } = read(text);
    if (defines) continue;
    let from = 0;
    for (const block of blocks) {
      const [alone] = read(text.slice(from)).blocks;
      assert.equal(alone.raw, block.raw);
      assert.equal(html(alone), html(block));
      from += block.raw.length;
    }
  }
});

test("what Markdown is for: headings, lists, tasks, tables, code, links, formulas", () => {
  const made = (/** @type {string} */ text) => whole(text).replaceAll("\n", "");
  assert.equal(
    made("# a\n\nb **c** *d* ~~e~~ `f`\ng"),
    "<h1>a</h1><p>b <strong>c</strong> <em>d</em> <s>e</s> <code>f</code><br>g</p>",
  );
  assert.equal(made("- [ ] a\n- [x] b\n- [y] c"), "<ul><li>☐ a</li><li>☑ b</li><li>[y] c</li></ul>");
  assert.equal(made("3. a\n4. b"), '<ol start="3"><li>a</li><li>b</li></ol>');
  assert.equal(
    made("|a|b|\n|-|-:|\n|c<br>d|e|"),
    '<table><thead><tr><th>a</th><th align="right">b</th></tr></thead><tbody><tr><td>c<br>d</td><td align="right">e</td></tr></tbody></table>',
  );
  assert.equal(made("```js\na < b\n```"), '<pre><code class="language-js">a &lt; b</code></pre>');
  assert.equal(
    made("[a](https://b.c) https://d.e/f x@y.zz README.md //g"),
    '<p><a href="https://b.c">a</a> <a href="https://d.e/f">https://d.e/f</a> <a href="mailto:x@y.zz">x@y.zz</a> README.md //g</p>',
  );
  assert.equal(made('![a "b](https://c.d/e.png)'), '<p><a href="https://c.d/e.png">a &quot;b</a></p>');
  assert.equal(made("<script>a</script> <b>c</b>"), "<p>&lt;script&gt;a&lt;/script&gt; &lt;b&gt;c&lt;/b&gt;</p>");
  assert.equal(
    made("$5 and $10, $x^2$, \\(a\\)"),
    '<p>$5 and $10, <code class="math">x^2</code>, <code class="math">a</code></p>',
  );
  assert.equal(made("> \\[\n> a_1\n> \\]"), '<blockquote><p><code class="math display">a_1</code></p></blockquote>');
});

/** @type {[string, string[]][]} */
const ADDRESSES = [
  ["see www.example.com.", ["http://www.example.com"]],
  ["(WWW.example.com/a_b_c?x=1&y=(2))", ["http://WWW.example.com/a_b_c?x=1&amp;y=(2)"]],
  ["**www.example.com** and\n\n|a|\n|-|\n|www.example.com|", ["http://www.example.com", "http://www.example.com"]],
  ["请看www.example.com/a，谢谢 https://example.com/b。", ["https://example.com/b"]],
  ["请看 www.example.com/a，谢谢 https://example.com/b。", ["http://www.example.com/a", "https://example.com/b"]],
  ["mail foo.bar+baz@example.com", ["mailto:foo.bar+baz@example.com"]],
  ["www. www.a README.md a.py x_www.example.com www.-a.com javascript:www", []],
  ["[www.example.com](https://example.org) `www.example.com`", ["https://example.org"]],
];

test("an address without a scheme is a link where it is one for certain", () => {
  for (const [text, links] of ADDRESSES) {
    assert.deepEqual(
      [...whole(text).matchAll(/href="([^"]*)"/g)].map(([, link]) => link),
      links,
      text,
    );
  }
});

test("a folded part holds blocks, and only in the form that is declared", () => {
  const fold = "<details><summary>More *here*</summary>\n\n- one\n\n| a |\n| --- |\n| b |\n\n</details>\n\nafter";
  const made = whole(fold);
  assert.match(made, /^<details>\s*<summary>More <em>here<\/em><\/summary>/);
  assert.match(made, /<li>one<\/li>[\s\S]*<table>[\s\S]*<\/table>\s*<\/details>\s*<p>after<\/p>/);
  assert.equal(read(fold).blocks.length, 2);
  assert.match(whole("<details><summary>open"), /&lt;details&gt;/);
  assert.match(whole("<details open onclick=x><summary>a</summary>\nb\n</details>"), /&lt;details open/);
  assert.match(whole("> <details><summary>a</summary>\n> b\n> </details>"), /&lt;details&gt;/);
  assert.match(
    whole("<details><summary>a</summary>\nstill written"),
    /<details>[\s\S]*still written[\s\S]*<\/details>/,
  );
  assert.match(
    whole("<details open>\n<summary>Two lines</summary>\n\n- one\n\n</details>\n\nafter"),
    /^<details>\s*<summary>Two lines<\/summary>[\s\S]*<li>one<\/li>[\s\S]*<\/details>\s*<p>after<\/p>/,
  );
});

test("tags that Markdown has no sign for are obeyed around plain text, others are shown", () => {
  const made = (/** @type {string} */ text) => whole(text).trim();
  assert.equal(made("H<sub>2</sub>O, x<SUP>2</SUP>"), "<p>H<sub>2</sub>O, x<sup>2</sup></p>");
  assert.equal(made("Press <kbd>Ctrl</kbd>+<kbd>K</kbd>"), "<p>Press <kbd>Ctrl</kbd>+<kbd>K</kbd></p>");
  assert.equal(made("<kbd>a & b</kbd>"), "<p><kbd>a &amp; b</kbd></p>");
  assert.equal(made("| a<sub>1</sub> |\n| --- |\n| b |").match(/<sub>/g)?.length, 1);
  assert.equal(made("<sub onclick=x>a</sub>"), "<p>&lt;sub onclick=x&gt;a&lt;/sub&gt;</p>");
  assert.equal(made("<sub><b>a</b></sub>"), "<p>&lt;sub&gt;&lt;b&gt;a&lt;/b&gt;&lt;/sub&gt;</p>");
  assert.equal(made("`<sub>2</sub>`"), "<p><code>&lt;sub&gt;2&lt;/sub&gt;</code></p>");
  assert.equal(made("<sup>open"), "<p>&lt;sup&gt;open</p>");
});

test("footnotes are numbers above the line, with their texts in small print", () => {
  const made = whole(
    "A claim[^1] and more[^12].\n\n[^1]: Its *source*\ngoes on\n[^12]: https://example.com/a\n\nafter",
  );
  assert.match(made, /^<p>A claim<sup>1<\/sup> and more<sup>12<\/sup>\.<\/p>/);
  assert.match(made, /<p>\s*<small><sup>1<\/sup> Its <em>source<\/em><br>\s*goes on<\/small>\s*<\/p>/);
  assert.match(
    made,
    /<p>\s*<small><sup>12<\/sup> <a href="https:\/\/example.com\/a">[^<]*<\/a><\/small>\s*<\/p>\s*<p>after/,
  );
  assert.equal(whole("[^a] is a class, [^1](https://e.example) a link").trim().match(/<sup>/g), null);
  assert.equal(whole("`[^1]`").trim(), "<p><code>[^1]</code></p>");
});
