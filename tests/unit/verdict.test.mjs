import assert from "node:assert/strict";
import test from "node:test";

import { change, sentenceOf, verdictOf, withoutSteps } from "../../chat/pages/static/chat/state/verdict.js";

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

const measure = (lever, high, proven = false, text = `${lever} saves $${high}.`) => ({ lever, high, proven, text });

test("a verdict has one step for each of three levers: first what rows show, then what changes no answer", () => {
  const measures = [
    measure("model", 400, false, "If it ran on gpt\\-5: $400."),
    measure("model", 90),
    measure("batch", 250),
    measure("failures", 5, true),
    measure("output", 900),
    { lever: "magic", high: 1, proven: true, text: "evil" },
    { ...measure("cache", 1), text: 5 },
  ];
  const { steps } = verdictOf({ ...RESULT, measures });
  assert.deepEqual(
    steps.map(({ lever }) => lever),
    ["failures", "batch", "output"],
  );
  const [model] = verdictOf({ ...RESULT, measures: measures.slice(0, 2) }).steps;
  assert.equal(model.text, "If it ran on gpt-5: $400.");
  const text = "Saved.\n\n- model saves $90.\n- If it ran on gpt\\-5: $400.\n";
  assert.equal(withoutSteps(text, { steps: [model] }), "Saved.\n\n- model saves $90.\n");
  assert.deepEqual(verdictOf({ ...RESULT, measures: "evil" }).steps, []);
});

test("a verdict says what its figure rests on", () => {
  const of = (more, measures = []) => {
    const figures = [{ ...figure("saving", 1500), ...more }];
    return verdictOf({ figures, verdict: { figure: "saving" }, measures }).confidence;
  };
  assert.deepEqual(of({}), { rows: 0, priced: "", isEstimate: false });
  assert.deepEqual(of({ prices: ["gpt-4, 2026-13-45"] }), { rows: 0, priced: "", isEstimate: false });
  assert.deepEqual(of({ rows: 12, prices: ["gpt-4: $30 in, 2026-12-01", 5] }), {
    rows: 12,
    priced: "2026-12-01",
    isEstimate: false,
  });
  assert.equal(of({}, [measure("batch", 1)]).isEstimate, true);
  assert.equal(of({}, [measure("failures", 1, true)]).isEstimate, false);
});
