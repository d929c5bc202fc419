/** The page of all open input requests: those of the user's own runs, and those of others that the user may decide. */

import { BASE } from "../net/base.js";
import { isMine, waitingInputs } from "../state/inputs.js";
import { LOCALE, moment, t } from "../text/strings.js";
import { arrange, element, found, setAttribute, setText } from "./element.js";
import { askToNotify, canAskToNotify } from "./notify.js";
import { Asked } from "./requests.js";
import { exact, unturned } from "./values.js";

/**
 * @typedef {import("../state/model.js").Input} Input
 * @typedef {import("../state/model.js").State} State
 *
 * @typedef {object} Row
 * @property {Asked} asked
 * @property {HTMLElement} node
 * @property {HTMLElement} about
 * @property {HTMLElement} body
 */

const MINUTE_MS = 60_000;
const RELATIVE = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" });

/**
 * @param {number} ms
 * @returns {string}
 */
function ago(ms) {
  const minutes = Math.floor(ms / MINUTE_MS);
  if (minutes < 1) return t("inputs.just_now");
  if (minutes < 60) return RELATIVE.format(-minutes, "minute");
  return minutes < 24 * 60
    ? RELATIVE.format(-Math.floor(minutes / 60), "hour")
    : RELATIVE.format(-Math.floor(minutes / 60 / 24), "day");
}

/** @param {"yours" | "others" | "elsewhere"} name */
function group(name) {
  const list = element("ul", { class: "inputs" });
  const id = `inputs-${name}`;
  const heading = element("h2", { id }, t(`inputs.${name}`));
  return { node: element("section", { "aria-labelledby": id }, heading, list), list };
}

export class InputsPage {
  #root = found("#inputs", HTMLElement);
  #nothing = found("#inputs-nothing", HTMLElement);
  #count = found("#inputs-count", HTMLElement);
  #notify = found("#notify", HTMLElement);
  #lists = found("#inputs-lists", HTMLElement);
  #own = group("yours");
  #others = group("others");
  #elsewhere = group("elsewhere");
  #decide;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** The request that the address names and that is still to be shown; empty: the first one. @type {string | null} */
  #sought = null;

  /** @param {Omit<import("./request.js").Decider, "owns" | "thread_id">} decide */
  constructor(decide) {
    this.#decide = decide;
    found("#ask-notify", HTMLElement).addEventListener("click", () => void askToNotify().then(() => this.#offer()));
  }

  /** The page is opened. */
  open() {
    this.#rows.clear();
    this.#sought = location.hash.slice(1);
    this.#offer();
  }

  #offer() {
    this.#notify.hidden = !canAskToNotify();
  }

  /**
   * @param {boolean} shown
   * @param {State} state
   * @param {boolean} listed the list has been read
   * @param {boolean} online
   * @param {number} now the server's time in milliseconds
   * @param {(thread_id: string) => string} titleOf
   */
  render(shown, state, listed, online, now, titleOf) {
    this.#root.hidden = !shown;
    if (!shown) return;
    this.#root.ariaBusy = String(!listed);
    const inputs = [...state.inputs.values()].sort((a, b) => Date.parse(a.expires_at) - Date.parse(b.expires_at));
    for (const input of inputs) this.#update(input, state, online, now, titleOf(input.thread_id));
    /** @param {(input: Input) => boolean} fits */
    const nodes = (fits) => inputs.filter(fits).flatMap(({ id }) => this.#rows.get(id)?.node ?? []);
    const groups = [
      { ...this.#own, nodes: nodes((input) => input.own && isMine(input)) },
      { ...this.#others, nodes: nodes(({ own }) => !own) },
      { ...this.#elsewhere, nodes: nodes((input) => !isMine(input)) },
    ];
    for (const { list, nodes } of groups) arrange(list, nodes);
    arrange(
      this.#lists,
      groups.flatMap(({ node, nodes }) => (nodes.length > 0 ? [node] : [])),
    );
    this.#nothing.hidden = !listed || inputs.length > 0;
    setText(this.#count, this.#said(waitingInputs(state).length, listed));
    this.#reveal();
    // What comes later takes no focus.
    if (listed) this.#sought = null;
  }

  /**
   * @param {number} count
   * @param {boolean} listed
   */
  #said(count, listed) {
    if (!listed) return t("inputs.loading");
    return count === 0 ? t("inputs.nothing") : t("inputs.waiting", { count });
  }

  /**
   * @param {Input} input
   * @param {State} state
   * @param {boolean} online
   * @param {number} now
   * @param {string} title
   */
  #update(input, state, online, now, title) {
    const row = this.#rows.get(input.id) ?? this.#row(input);
    const { asked, body } = row;
    asked.update(input, state.answers, online, now);
    arrange(body, [asked.node]);
    const [where, when] = row.about.children;
    const group = input.decided_by.replace(/^group:/, "");
    // A line says what was decided; what was asked is said above it.
    const about = asked.isOpen ? t("inputs.group", { group: exact(group) }) : unturned(input.message);
    setText(where, input.own ? title || t("inputs.open") : about);
    setText(when, ago(now - Date.parse(input.created_at)));
    setAttribute(when, "title", moment(input.created_at));
  }

  /** @param {Input} input */
  #row(input) {
    const where = input.own
      ? element("a", { href: `${BASE}/c/${input.thread_id}`, "data-thread": input.thread_id, dir: "auto" })
      : element("span", { dir: "auto" });
    const about = element("p", { class: "where dim" }, where, element("time", { datetime: input.created_at }));
    const body = element("div");
    const node = element("li", { "data-input": input.id }, about, body);
    const row = {
      asked: new Asked({ ...this.#decide, owns: input.own, thread_id: input.thread_id }),
      node,
      about,
      body,
    };
    this.#rows.set(input.id, row);
    return row;
  }

  /** Put the focus on the request that the address names, or on the first one, once. */
  #reveal() {
    if (this.#sought === null) return;
    const sought = this.#rows.get(this.#sought)?.node ?? this.#lists.querySelector("li");
    const request = sought?.querySelector("section.request, summary");
    if (!(request instanceof HTMLElement)) return;
    this.#sought = null;
    request.scrollIntoView({ block: "nearest" });
    request.focus({ preventScroll: true });
  }

  /** @param {number} now */
  tick(now) {
    if (this.#root.hidden) return;
    for (const { asked } of this.#rows.values()) asked.tick(now);
  }
}
