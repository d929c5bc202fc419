import assert from "node:assert/strict";
import test from "node:test";

import { change, sentenceOf, verdictOf } from "../../chat/pages/static/chat/state/verdict.js";

const figure = (id, value, unit = "USD") => ({ id, label: id, text: `$${value}`, value, unit, formula: "as stated" });
const RESULT = {
  figures: [figure("spend", 5000), figure("saving", 1500), figure("rest", 3500), figure("share", 30, "%")],
  verdict: { figure: "saving", before: "spend", after: "rest", beside: ["share", "gone"] },
};

test("a verdict has the figure that was asked for, what is compared, and what stands beside it", () => {
  const found = verdictOf(RESULT);
  assert.equal(found.figure.text, "$1500");
  assert.deepEqual([found.compared.before.id, found.compared.after.id], ["spend", "rest"]);
  assert.deepEqual(
    found.beside.map(({ id }) => id),
    ["share"],
  );
  assert.equal(change(found.compared.before, found.compared.after), -30);
});

test("a result without a figure that can be shown has no verdict", () => {
  const wrong = [
    null,
    5,
    {},
    { ...RESULT, figures: {} },
    { ...RESULT, verdict: null },
    { ...RESULT, verdict: "saving" },
  ];
  wrong.push({ ...RESULT, verdict: { figure: "evil" } }, { ...RESULT, figures: [{ ...figure("saving", 1), text: 5 }] });
  wrong.push({ ...RESULT, figures: [figure("saving", Number.POSITIVE_INFINITY)] });
  for (const result of wrong) assert.equal(verdictOf(result), null);
});

test("figures of two units, or one of nothing, are not compared", () => {
  for (const [before, after] of [
    ["spend", "share"],
    ["spend", "gone"],
    ["none", "rest"],
  ]) {
    const figures = [...RESULT.figures, figure("none", 0)];
    assert.equal(verdictOf({ figures, verdict: { figure: "saving", before, after } }).compared, null);
  }
});

test("the first paragraph of an answer is its sentence", () => {
  assert.deepEqual(sentenceOf("**$1** a day.\n\n| a |\n\nrest"), ["**$1** a day.", "| a |\n\nrest"]);
  assert.deepEqual(sentenceOf("**$1** a day.\n"), ["**$1** a day.\n", ""]);
});
