/** The difference of two texts, word by word. Pure. */

/** @typedef {{kind: "same" | "removed" | "added", text: string}} Span */

const WORDS = /\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu;
const LINES = /[^\n]*\n|[^\n]+/g;
/** Above this product of the numbers of words, lines are compared, and above it for lines nothing is. */
const MAX_CELLS = 1_000_000;
/** Of equal text this much is kept beside a change, in characters. */
const CONTEXT_CHARACTERS = 60;

/**
 * @param {string} before
 * @param {string} after
 * @returns {Span[]} in the order of the text; without the added ones it is `before`, without the removed ones `after`
 */
export function difference(before, after) {
  for (const pattern of [WORDS, LINES]) {
    const old = before.match(pattern) ?? [];
    const fresh = after.match(pattern) ?? [];
    let start = 0;
    while (start < old.length && start < fresh.length && old[start] === fresh[start]) start += 1;
    let end = 0;
    while (end < Math.min(old.length, fresh.length) - start && old.at(-1 - end) === fresh.at(-1 - end)) end += 1;
    const middle = [old.slice(start, old.length - end), fresh.slice(start, fresh.length - end)];
    if (middle[0].length * middle[1].length > MAX_CELLS) continue;
    /** @type {Span[]} */
    const spans = [];
    for (const part of old.slice(0, start)) add(spans, "same", part);
    compare(spans, middle[0], middle[1]);
    for (const part of old.slice(old.length - end)) add(spans, "same", part);
    return spans;
  }
  return [
    { kind: "removed", text: before },
    { kind: "added", text: after },
  ];
}

/**
 * Add the spans of two sequences, by their longest common subsequence.
 * @param {Span[]} spans
 * @param {string[]} old
 * @param {string[]} fresh
 */
function compare(spans, old, fresh) {
  const width = fresh.length + 1;
  const common = new Uint32Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = fresh.length - 1; j >= 0; j -= 1) {
      const [below, right] = [common[(i + 1) * width + j], common[i * width + j + 1]];
      common[i * width + j] = old[i] === fresh[j] ? common[(i + 1) * width + j + 1] + 1 : Math.max(below, right);
    }
  }
  let [i, j] = [0, 0];
  while (i < old.length || j < fresh.length) {
    if (i < old.length && j < fresh.length && old[i] === fresh[j]) {
      add(spans, "same", old[i]);
      i += 1;
      j += 1;
    } else if (j >= fresh.length || (i < old.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      add(spans, "removed", old[i]);
      i += 1;
    } else {
      add(spans, "added", fresh[j]);
      j += 1;
    }
  }
}

/**
 * @param {Span[]} spans
 * @param {Span["kind"]} kind
 * @param {string} text
 */
function add(spans, kind, text) {
  const last = spans.at(-1);
  if (last?.kind === kind) last.text += text;
  else spans.push({ kind, text });
}

/**
 * Shorten equal text that is far from a change.
 * @param {Span[]} spans
 * @returns {Span[]}
 */
export const excerpt = (spans) =>
  spans.map(({ kind, text }, index) => {
    const letters = [...text];
    const isFirst = index === 0;
    const isLast = index === spans.length - 1;
    const kept = CONTEXT_CHARACTERS * (isFirst || isLast ? 1 : 2);
    if (kind !== "same" || letters.length <= kept + 1) return { kind, text };
    const head = isFirst ? "" : letters.slice(0, CONTEXT_CHARACTERS).join("");
    const tail = isLast ? "" : letters.slice(-CONTEXT_CHARACTERS).join("");
    return { kind, text: `${head}…${tail}` };
  });
