/**
 * One run as a line: who works now, how far it is, how long it took. It opens the panel, which has what was thought and
 * which tools were called with what, nested by sub-agent.
 */

import { isMine } from "../state/inputs.js";
import { unfinished } from "../state/model.js";
import { asks } from "../state/requests.js";
import { spent } from "../state/spent.js";
import { waited } from "../state/thread.js";
import { t } from "../text/strings.js";
import { duration, remaining } from "./duration.js";
import { arrange, element, icon, setAttribute, setText } from "./element.js";
import { used, usedBy } from "./spent.js";
import { made, refresh, rowId } from "./steps.js";

/**
 * @typedef {import("../state/model.js").Run} Run
 * @typedef {import("../state/model.js").Part} Part
 * @typedef {import("../state/model.js").Step} Step
 * @typedef {import("./steps.js").Growing} Growing
 * @typedef {import("../state/model.js").ToolCall} ToolCall
 */

/**
 * @param {Run} run
 * @returns {ToolCall | undefined} the newest tool call at work
 */
const running = (run) =>
  /** @type {ToolCall[]} */ (run.steps.filter(({ kind }) => kind === "tool")).findLast(
    ({ status }) => status === "running",
  );

/** @param {Run} run that asks */
function waits(run) {
  const mine = run.requests.some((request) => request.resolution === null && isMine({ ...request, own: true }));
  return mine ? t("run.waits_for_you") : t("run.waits");
}

/** @param {Run} run */
function headline(run) {
  switch (run.status) {
    case "queued":
      return t("queued");
    case "completed":
      return run.agent ? t("run.answered") : t("run.done");
    case "cancelled":
      if (run.stopped_by) return run.agent ? t("run.was_stopped.administrator") : t("run.stopped.administrator");
      return run.agent ? t("run.was_stopped") : t("run.stopped");
    case "failed":
      return run.agent ? t("run.has_failed") : t("run.failed");
    case "waiting":
      if (run.stopping) return t("stopping");
      return asks(run) ? waits(run) : t("run.resumes");
    case "running": {
      if (run.stopping) return t("stopping");
      if (asks(run)) return waits(run);
      if (running(run)) return t("run.uses");
      return run.text ? t("run.writes") : t("run.thinks");
    }
  }
}

/** @param {Run} run whose agent at work is named, the innermost one that is not done; once it is over, its own agent */
function worker(run) {
  if (run.status === "queued" || run.stopping) return "";
  return run.parts.findLast((part) => !part.done)?.agent_name ?? run.agent;
}

/** @param {Run} run */
function tally(run) {
  const agents = new Set(run.parts.map((part) => part.agent_name)).size;
  const tools = run.steps.filter((step) => step.kind === "tool").length;
  const figures = [
    agents > 1 && t("run.agents", { count: agents }),
    tools > 0 && t("run.tools", { count: tools }),
    ...used(run.usage),
  ];
  return figures.filter(Boolean).join(" · ");
}

/** So long at least the steps of a run are seen at work, however fast it is. In milliseconds. */
const MIN_STEPPER_MS = 1_500;
/** More steps than this are not drawn beside each other. */
const MAX_STEPPER_STEPS = 16;

/**
 * @param {Run} run
 * @returns {{name: string, done: boolean}[]} its sub-agents, or its tool calls if it has none
 */
function stages(run) {
  const root = run.parts[0]?.key;
  const parts = run.parts.filter((part) => part.parent === root && part.key !== root);
  const found =
    parts.length > 0
      ? parts.map(({ agent_name, done }) => ({ name: agent_name, done }))
      : run.steps.flatMap((step) =>
          step.kind === "tool" ? [{ name: step.tool_name, done: step.status !== "running" }] : [],
        );
  return found.slice(-MAX_STEPPER_STEPS);
}

export class Card {
  #who = element("strong", { class: "who", dir: "auto" });
  #what = element("span", { class: "what" });
  #tool = element("code", { class: "tool", dir: "ltr", hidden: true });
  #stepper = element("span", { class: "stepper", "aria-hidden": "true" });
  #tally = element("span", { class: "tally" });
  #time = element("span", { class: "time" });
  #waited = element("span", { class: "tally waited" });
  #restarted = element("p", { class: "restarted", hidden: true });
  #status = element("p", { class: "run-status" });
  #work = element("ol", { class: "work" });
  #spent = element("ul", { class: "spent", "aria-label": t("run.spent") });
  /** @type {Map<string, {about: Part | Step | Growing, node: HTMLLIElement, list: HTMLOListElement | null}>} */
  #rows = new Map();
  /** @type {Run | null} */
  #run = null;
  #isShown = false;
  #isWatched = false;
  #made = performance.now();
  /** What the panel shows of the run. */
  body = element("div", { class: "run-body" }, this.#status, this.#work, this.#spent);
  line = element(
    "button",
    { type: "button", class: "run-line", "aria-expanded": "false", "aria-controls": "panel" },
    element("span", { class: "pulse", "aria-hidden": "true" }),
    element("span", { class: "headline" }, this.#who, " ", this.#what, " ", this.#tool),
    this.#stepper,
    this.#tally,
    this.#waited,
    this.#time,
    icon("after"),
  );
  node = element("div", { class: "run" }, this.line, this.#restarted);

  /** @param {(card: Card) => void} open show the steps, or leave them */
  constructor(open) {
    this.line.addEventListener("click", () => open(this));
  }

  /** @returns {string} who answers */
  get title() {
    return this.#run?.agent || t("run.steps");
  }

  /** @param {boolean} isShown the panel shows `body` */
  show(isShown) {
    this.#isShown = isShown;
    this.line.ariaExpanded = String(isShown);
    // A run that is over can have thousands of steps: they are made when somebody looks.
    if (isShown && this.#run) this.#arrange(this.#run);
    this.#say();
  }

  /**
   * @param {Run} run
   * @param {number} now the server's time in milliseconds
   */
  update(run, now) {
    if (run !== this.#run) {
      this.#run = run;
      this.node.dataset.run = run.id;
      this.node.dataset.status = run.status;
      this.node.toggleAttribute("data-stopping", run.stopping);
      setText(this.#who, worker(run));
      setText(this.#what, headline(run));
      const call = run.status === "running" && !run.stopping && !asks(run) ? running(run) : undefined;
      this.#tool.hidden = call === undefined;
      setText(this.#tool, call?.tool_name ?? "");
      setText(this.#tally, tally(run));
      this.#restarted.hidden = run.restarted === null;
      setText(this.#restarted, t("run.restarted", { attempt: run.attempt }));
      this.#step(run);
      if (this.#isShown) this.#arrange(run);
    }
    this.tick(now);
  }

  /**
   * Show a mark for each stage while the run is at work, and a little longer if that was too short to be seen.
   * @param {Run} run
   */
  #step(run) {
    if (unfinished(run)) this.#isWatched = true;
    const left = MIN_STEPPER_MS - (performance.now() - this.#made);
    const lingers = !unfinished(run) && (run.live || this.#isWatched) && left > 0;
    if (lingers) {
      setTimeout(() => {
        this.node.removeAttribute("data-lingers");
        this.#stepper.replaceChildren();
      }, left);
    }
    this.node.toggleAttribute("data-lingers", lingers);
    const found = unfinished(run) || lingers ? stages(run) : [];
    while (this.#stepper.children.length > found.length) this.#stepper.lastElementChild?.remove();
    found.forEach(({ name, done }, at) => {
      const mark = this.#stepper.children[at] ?? this.#stepper.appendChild(element("i"));
      setAttribute(mark, "title", name);
      mark.toggleAttribute("data-done", done);
    });
  }

  /** @param {number} now */
  tick(now) {
    const run = this.#run;
    if (!run) return;
    const waiting = waited(run, now);
    const since = run.started_at && unfinished(run) ? Math.max(0, now - Date.parse(run.started_at) - waiting) : null;
    const ms = run.duration_ms ?? since;
    setText(
      this.#time,
      ms === null ? "" : unfinished(run) ? t("duration.s", { count: Math.floor(ms / 1000) }) : duration(ms),
    );
    // Waiting for a person is no work of the agent's.
    setText(this.#waited, waiting < 1000 ? "" : t("run.waited", { time: remaining(waiting) }));
    this.#say();
  }

  /** Say in the panel what the line says. */
  #say() {
    if (!this.#isShown) return;
    const said = [this.#who, this.#what, this.#tool].map(({ textContent }) => textContent).filter(Boolean);
    const rest = [this.#tally, this.#waited, this.#time].map(({ textContent }) => textContent);
    setText(this.#status, [said.join(" "), ...rest].filter(Boolean).join(" · "));
  }

  /** @param {Run} run */
  #arrange(run) {
    /** @type {(Part | Step | Growing)[]} */
    const rows = [...run.parts, ...run.steps].sort((a, b) => a.key - b.key);
    rows.push(...run.thinking.map((thought) => ({ kind: /** @type {const} */ ("growing"), ...thought })));
    const old = this.#rows;
    this.#rows = new Map();
    for (const about of rows) {
      const id = rowId(about);
      const row = old.get(id) ?? { about: null, ...made(about) };
      if (row.about !== about) refresh(row.node, about);
      this.#rows.set(id, { ...row, about });
    }
    /** @type {Map<number, HTMLLIElement[]>} */
    const children = new Map();
    for (const { about, node } of this.#rows.values()) {
      const above = "kind" in about ? about.part : (about.parent ?? 0);
      const list = children.get(above);
      if (list) list.push(node);
      else children.set(above, [node]);
    }
    for (const { about, list } of this.#rows.values()) {
      if (list && "key" in about) arrange(list, children.get(about.key) ?? []);
    }
    arrange(this.#work, children.get(0) ?? []);
    const models = spent(run.usage)?.models ?? [];
    this.#spent.hidden = models.length === 0;
    this.#spent.replaceChildren(...models.map((one) => element("li", { dir: "ltr" }, usedBy(one))));
  }
}
