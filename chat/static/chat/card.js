/** One run as a card: who works now, what was thought, which tools were called with what, nested by sub-agent. */

import { arrange, element, icon, setAttribute, setText } from "./element.js";
import { unfinished } from "./reducer.js";

/**
 * @typedef {import("./reducer.js").Run} Run
 * @typedef {import("./reducer.js").Part} Part
 * @typedef {import("./reducer.js").Step} Step
 * @typedef {import("./reducer.js").ToolCall} ToolCall
 */

/** What fits on one line of parameters, in characters. */
const BRIEF = 160;
/** A shorter thought is not said to have taken time. */
const LONG_MS = 100;

/**
 * @param {number} ms
 * @returns {string}
 */
export function duration(ms) {
  if (ms < 1) return "< 1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/**
 * @param {number} count
 * @param {string} noun
 */
const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/**
 * @param {unknown} value
 * @returns {string}
 */
const json = (value) => (value === undefined ? "" : JSON.stringify(value, null, 2));

/**
 * The parameters on one line.
 * @param {unknown} parameters
 */
function brief(parameters) {
  if (parameters === null || typeof parameters !== "object") return "";
  const pairs = Object.entries(parameters).map(
    ([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return pairs.join(", ").slice(0, BRIEF);
}

/** @param {Run} run */
function headline(run) {
  switch (run.status) {
    case "queued":
      return "Waiting for an agent";
    case "completed":
      return "Done";
    case "cancelled":
      return "Stopped";
    case "failed":
      return "Failed";
    case "running": {
      if (run.stopping) return "Cancelling…";
      const call = run.steps.findLast((step) => step.kind === "tool" && step.status === "running");
      if (call?.kind === "tool") return `is running ${call.tool_name}`;
      return run.text ? "is writing the answer" : "is thinking";
    }
  }
}

/** @param {Run} run the agent at work: the innermost part that is not done */
const worker = (run) =>
  run.status === "running" && !run.stopping ? (run.parts.findLast((part) => !part.done)?.agent_name ?? run.agent) : "";

/** @param {Run} run */
function tally(run) {
  const agents = new Set(run.parts.map((part) => part.agent_name)).size;
  const tools = run.steps.filter((step) => step.kind === "tool").length;
  return [agents > 1 && counted(agents, "agent"), tools > 0 && counted(tools, "tool call")].filter(Boolean).join(" · ");
}

export class Card {
  #who = element("strong", { class: "who" });
  #what = element("span", { class: "what" });
  #tally = element("span", { class: "tally" });
  #time = element("span", { class: "time" });
  #restarted = element("p", { class: "restarted", hidden: true });
  #work = element("ol", { class: "work" });
  /** @type {Map<string, {about: Part | Step, node: HTMLLIElement, list: HTMLOListElement | null}>} */
  #rows = new Map();
  /** @type {Run | null} */
  #run = null;
  #touched = false;
  node = element(
    "details",
    { class: "run" },
    element(
      "summary",
      {},
      element("span", { class: "pulse", "aria-hidden": "true" }),
      element("span", { class: "headline" }, this.#who, this.#what),
      this.#tally,
      this.#time,
      icon("chevron"),
    ),
    this.#restarted,
    this.#work,
  );

  constructor() {
    /** @type {Element} */ (this.node.firstElementChild).addEventListener("click", () => {
      this.#touched = true;
    });
    // A run that is over can have thousands of steps: they are made when somebody looks.
    this.node.addEventListener("toggle", () => {
      if (this.node.open && this.#run) this.#arrange(this.#run);
    });
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
      setText(this.#tally, tally(run));
      this.#restarted.hidden = run.restarted === null;
      setText(
        this.#restarted,
        `Restarted, attempt ${run.attempt}${run.restarted ? `: ${run.restarted.replaceAll("_", " ")}` : ""}`,
      );
      this.#fold(run);
      if (this.node.open) this.#arrange(run);
    }
    this.tick(now);
  }

  /**
   * Open while there is something to watch, folded away once there is an answer to read; a person's choice stays.
   * @param {Run} run
   */
  #fold(run) {
    if (this.#touched) return;
    const worked = run.steps.length > 0 || run.parts.length > 1;
    const open = worked && (unfinished(run) || run.status === "failed" || run.text === "");
    if (this.node.open !== open) this.node.open = open;
  }

  /** @param {number} now */
  tick(now) {
    const run = this.#run;
    if (!run) return;
    const since = run.started_at && unfinished(run) ? Math.max(0, now - Date.parse(run.started_at)) : null;
    const ms = run.duration_ms ?? since;
    setText(this.#time, ms === null ? "" : unfinished(run) ? `${Math.floor(ms / 1000)} s` : duration(ms));
  }

  /** @param {Run} run */
  #arrange(run) {
    const rows = [...run.parts, ...run.steps].sort((a, b) => a.key - b.key);
    const old = this.#rows;
    this.#rows = new Map();
    for (const about of rows) {
      const id = "kind" in about ? `step-${about.key}` : `part-${about.key}`;
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
    for (const { about, list } of this.#rows.values()) if (list) arrange(list, children.get(about.key) ?? []);
    arrange(this.#work, children.get(0) ?? []);
  }
}

/**
 * @param {Part | Step} about
 * @returns {{node: HTMLLIElement, list: HTMLOListElement | null}}
 */
function made(about) {
  if (!("kind" in about)) {
    const list = element("ol");
    const head = element(
      "p",
      { class: "part-head" },
      element("span", { class: "agent" }, about.agent_name),
      element("span", { class: "task" }),
      element("span", { class: "time" }),
    );
    return { node: element("li", { class: "part", "data-agent": about.agent_name }, head, list), list };
  }
  if (about.kind === "thought") {
    const summary = element(
      "summary",
      {},
      icon("thought"),
      element("span", { class: "gist" }, about.text),
      element("span", { class: "time" }),
    );
    return { node: element("li", { class: "thought" }, element("details", {}, summary)), list: null };
  }
  const details = element(
    "details",
    {},
    element(
      "summary",
      {},
      element("span", { class: "mark", role: "img" }),
      element("code", { class: "tool" }, about.tool_name),
      element("span", { class: "gist" }, brief(about.parameters)),
      element("span", { class: "badge" }),
      element("span", { class: "time" }),
    ),
    element("div", { class: "exchanged" }),
  );
  const node = element("li", { class: "step", "data-tool": about.tool_name }, details);
  return { node, list: null };
}

/**
 * @param {HTMLLIElement} node
 * @param {Part | Step} about
 */
function refresh(node, about) {
  if (!("kind" in about)) return refreshPart(node, about);
  if (about.kind === "tool") return refreshCall(node, about);
  const time = /** @type {Element} */ (node.querySelector(".time"));
  setText(time, (about.duration_ms ?? 0) < LONG_MS ? "" : duration(about.duration_ms ?? 0));
}

/**
 * @param {HTMLLIElement} node
 * @param {Part} part
 */
function refreshPart(node, part) {
  node.toggleAttribute("data-done", part.done);
  const head = /** @type {HTMLElement} */ (node.firstElementChild);
  // The task of the run's own agent is the message, which stands right above.
  setText(head.children[1], part.summary ?? (part.parent === null ? "" : (part.task ?? "")));
  setText(head.children[2], part.duration_ms === null ? "" : duration(part.duration_ms));
}

/**
 * @param {HTMLLIElement} node
 * @param {ToolCall} call
 */
function refreshCall(node, call) {
  node.dataset.status = call.status;
  const [summary, exchanged] = /** @type {HTMLElement} */ (node.firstElementChild).children;
  const [mark, , , badge, time] = summary.children;
  mark.replaceChildren(
    call.status === "running"
      ? element("span", { class: "spinner" })
      : icon(call.status === "completed" ? "check" : "cross"),
  );
  setAttribute(mark, "title", call.status);
  setAttribute(mark, "aria-label", call.status);
  setText(
    badge,
    [call.status === "interrupted" && "interrupted", call.status === "failed" && "failed", call.reused && "reused"]
      .filter(Boolean)
      .join(", "),
  );
  setText(time, call.duration_ms === null ? "" : duration(call.duration_ms));
  const details = /** @type {HTMLDetailsElement} */ (node.firstElementChild);
  const show = () => exchanged.replaceChildren(...what(call).flat());
  details.ontoggle = () => details.open && show();
  if (details.open) show();
}

/** @param {ToolCall} call */
function what(call) {
  const shown = [block("Parameters", json(call.parameters))];
  if (call.error) shown.push(block("Error", call.error));
  else if (call.status !== "running") shown.push(block(call.truncated ? "Result, cut" : "Result", json(call.result)));
  return shown;
}

/**
 * @param {string} title
 * @param {string} text
 */
const block = (title, text) => [
  element("p", { class: "label" }, title),
  element("pre", { tabindex: "0" }, text || "nothing"),
];
