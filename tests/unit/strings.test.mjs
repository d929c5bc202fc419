/** The tables of texts: each language has the same ones, with the same places for values. */

import assert from "node:assert/strict";
import { test } from "node:test";
import german, { language, server } from "../../chat/pages/static/chat/text/de.js";
import english from "../../chat/pages/static/chat/text/en.js";
import { day, moment, number, parts, t, told } from "../../chat/pages/static/chat/text/strings.js";

/** @param {string} text */
const places = (text) => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort();

test("the German table has the texts of the English one, in its order, with the same places for values", () => {
  assert.deepEqual(Object.keys(german), Object.keys(english));
  for (const [key, text] of Object.entries(english)) {
    const own = german[key];
    if (typeof text === "string") {
      assert.deepEqual(places(own), places(text), key);
      assert.ok(own.trim(), key);
    } else {
      const forms = new Intl.PluralRules(language).resolvedOptions().pluralCategories;
      assert.deepEqual(Object.keys(own).sort(), [...forms].sort(), key);
      assert.deepEqual(places(own.other), places(text.other), key);
    }
  }
});

test("a sentence of the server has no other places for values in German", () => {
  for (const [sentence, own] of Object.entries(server)) {
    for (const place of places(own)) assert.ok(places(sentence).includes(place), sentence);
  }
});

test("a text has its values, and the plural form of its count", () => {
  assert.equal(t("remove.named", { name: "{count} $& file.csv" }), "Remove {count} $& file.csv");
  assert.equal(t("file.rows", { count: 1 }), "1 row");
  assert.equal(t("file.rows", { count: 1234 }), "1,234 rows");
  assert.equal(t("chart.more", { count: 3 }), "Show 3 more");
});

test("a text with elements has them in its places", () => {
  const [run, copy] = [{ tag: "code" }, { tag: "button" }];
  const made = parts("failure.reference", { run, copy });
  assert.deepEqual(made, ["If you report this, name run ", run, ". ", copy]);
});

test("numbers and times are written as the reader's locale has them", () => {
  assert.equal(number(1234.5), "1,234.5");
  assert.equal(day("2026-11-30T12:00:00Z"), "Nov 30, 2026");
  assert.match(moment("2026-11-30T12:00:00Z"), /^Nov 30, 2026, /);
});

test("what the server says stays as it is where the table has no other words", () => {
  assert.equal(told("There is no such thread."), "There is no such thread.");
  assert.equal(told(""), "");
});
