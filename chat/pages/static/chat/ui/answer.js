/** What becomes of a message: the card of its run, charts, the answer and a failure. */

import { writer } from "../markdown/lazy.js";
import { unfinished } from "../state/model.js";
import { understood, withoutChips } from "../state/typed.js";
import { sentenceOf, verdictOf, withoutSteps } from "../state/verdict.js";
import { parts, t, told } from "../text/strings.js";
import { copy } from "./browser.js";
import { Card } from "./card.js";
import { chartsOf, Figure } from "./charts.js";
import { Chips } from "./chips.js";
import { arrange, element, setText } from "./element.js";
import { Requests } from "./requests.js";
import { VerdictCard } from "./verdict.js";

/**
 * @typedef {import("../state/model.js").Run} Run
 * @typedef {import("../state/model.js").State} State
 */

/** Drawing an answer takes at most this share of the time, so that the page stays smooth. */
const MAX_DRAWING_SHARE = 0.3;
/** How many charts are shown until the user asks for the others. */
const SHOWN_CHARTS = 2;

/** @param {Element} row */
const labelOf = (row) => row.firstElementChild?.textContent?.trim() ?? "";

/** One run: its line, input requests, verdict, charts, answer, what was understood, and failure. */
export class Answer {
  card;
  article = element("article", { class: "message", "data-role": "assistant", "aria-label": "Netra" });
  failure = element("p", { class: "failure", dir: "auto" });
  reference = element("p", { class: "reference" });
  charts = element("div", { class: "charts" });
  /** @type {Chips | null} */
  chips = null;
  /** @type {VerdictCard | null} it has the charts and the chips */
  verdict = null;
  /** @type {import("../state/verdict.js").Verdict | null} */
  #verdict = null;
  #ask;
  #check;
  /** @type {import("../markdown/markdown.js").Writing | null} */
  #writing = null;
  /** @type {Map<string, Figure>} */
  #figures = new Map();
  #more = element("button", { type: "button", class: "link" });
  /** @type {Run | null} */
  #run = null;
  #shown = "";
  #sentence = "";
  #wasFinal = false;
  #all = false;
  #next = 0;
  #live = false;
  /** @type {string | null} what the reader points at in a table */
  #label = null;

  /**
   * @param {Omit<import("./request.js").Decider, "owns" | "thread_id"> & {inspect: (card: Card) => void}} actions
   *   `inspect`: show the steps of a run, or leave them
   * @param {(content: string) => void} ask send a message
   * @param {(name: string, isDone: boolean) => void} check a step
   */
  constructor({ respond, grants, revoke, inspect }, ask, check) {
    this.#ask = ask;
    this.#check = check;
    this.card = new Card(inspect);
    this.requests = new Requests({ respond, grants, revoke, owns: true, thread_id: null });
    this.article.addEventListener("mouseover", ({ target }) => {
      const row = target instanceof Element ? target.closest("tbody > tr") : null;
      const label = row ? labelOf(row) : null;
      if (label === this.#label) return;
      this.#label = label;
      for (const figure of this.#figures.values()) figure.point(label);
    });
    this.#more.addEventListener("click", () => {
      this.#all = true;
      this.#lay();
      [...this.#figures.values()][SHOWN_CHARTS]?.node.querySelector("summary")?.focus();
    });
  }

  /**
   * @param {Run} run
   * @param {State["answers"]} answers to its input requests that were given here
   * @param {boolean} online
   * @param {number} now
   * @param {number} deadline when to leave off, in `performance.now()` milliseconds
   * @returns {boolean} its newest text is still to be shown
   */
  update(run, answers, online, now, deadline) {
    this.card.update(run, now);
    this.requests.update(run.requests, answers, online, now);
    if (run.result !== this.#run?.result) this.#take(run.result);
    const late = this.#write(run, deadline);
    if (run === this.#run) return late;
    if (run.steps !== this.#run?.steps) this.#draw(run);
    this.#run = run;
    this.#live ||= run.live || unfinished(run);
    this.failure.toggleAttribute("data-live", this.#live);
    if (run.error !== null && this.#live) this.failure.setAttribute("role", "alert");
    if (run.error !== null && !this.reference.hasChildNodes()) this.#refer(run.id);
    setText(this.failure, told(run.error ?? ""));
    return late;
  }

  /** @param {unknown} result of the run */
  #take(result) {
    const found = understood(result);
    this.chips = found && new Chips(found, this.#ask);
    this.#verdict = verdictOf(result);
    this.verdict?.node.remove();
    this.verdict = this.#verdict && new VerdictCard(this.#verdict, this.#check);
    if (this.verdict) this.article.prepend(this.verdict.node);
  }

  /** @param {string} id of the run, by which an administrator finds it */
  #refer(id) {
    const button = element("button", { type: "button", class: "link", title: id }, t("failure.copy_id"));
    button.addEventListener("click", () => void copy(id, button));
    const run = element("code", {}, id.slice(0, 8));
    this.reference.append(...parts("failure.reference", { run, copy: button }));
  }

  /** @param {Run} run */
  #draw(run) {
    const charts = chartsOf(run);
    for (const key of this.#figures.keys()) if (!charts.has(key)) this.#leave(key);
    for (const [key, chart] of charts)
      if (!this.#figures.has(key)) this.#figures.set(key, new Figure(chart, (label) => this.#mark(label)));
    this.#lay();
  }

  /** @param {string | null} label whose rows are marked, as those that are meant */
  #mark(label) {
    for (const row of this.article.querySelectorAll("tbody > tr")) {
      row.toggleAttribute("data-pointed", label !== null && labelOf(row) === label);
    }
  }

  /** @param {string} key of a chart */
  #leave(key) {
    this.#figures.get(key)?.remove();
    this.#figures.delete(key);
  }

  /** @param {number} now */
  tick(now) {
    this.card.tick(now);
    this.requests.tick(now);
  }

  /** It is not shown again. */
  remove() {
    for (const key of this.#figures.keys()) this.#leave(key);
  }

  #lay() {
    const figures = [...this.#figures.values()].map(({ node }) => node);
    const rest = this.#all ? 0 : Math.max(0, figures.length - SHOWN_CHARTS);
    setText(this.#more, t("chart.more", { count: rest }));
    arrange(this.charts, rest > 0 ? [...figures.slice(0, SHOWN_CHARTS), this.#more] : figures);
    this.#place();
  }

  /** Put into the verdict what belongs to it. */
  #place() {
    this.verdict?.show(this.#sentence, [this.charts.children.length > 0 && this.charts, this.chips?.node]);
  }

  /** @param {string} text shown as it is, since what lays it out could not be loaded */
  #plain(text) {
    const plain =
      this.article.querySelector("pre.plain") ?? element("pre", { class: "plain", dir: "auto", tabindex: "0" });
    setText(plain, text);
    this.article.append(plain);
  }

  /**
   * @param {Run} run
   * @param {number} deadline
   */
  #write(run, deadline) {
    const final = !unfinished(run);
    this.article.toggleAttribute("data-streaming", !final);
    const whole = withoutSteps(withoutChips(run.text, run.result), this.#verdict);
    const Writing = whole === "" ? "loading" : writer();
    if (typeof Writing === "string") {
      if (Writing === "failed") this.#plain(whole);
      return whole !== "" && Writing === "loading";
    }
    const [sentence, text] = this.verdict ? sentenceOf(whole) : ["", whole];
    if (sentence !== this.#sentence) {
      this.#sentence = sentence;
      this.#place();
    }
    if (text === this.#shown && final === this.#wasFinal) return false;
    const begun = performance.now();
    if (final ? begun > deadline : begun < this.#next) return true;
    if (!this.#writing) {
      this.#writing = new Writing();
      this.article.querySelector("pre.plain")?.remove();
      this.article.append(this.#writing.node);
    }
    const isWhole = this.#writing.write(text, final, deadline);
    if (isWhole) {
      this.#shown = text;
      this.#wasFinal = final;
    }
    const ended = performance.now();
    this.#next = ended + (ended - begun) / MAX_DRAWING_SHARE;
    return !isWhole;
  }
}
