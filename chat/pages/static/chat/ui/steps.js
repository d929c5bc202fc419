/** Rows of the panel: the agents at work in a run, their thoughts, and their tool calls with what went in and came out. */

import { t } from "../text/strings.js";
import { duration } from "./duration.js";
import { element, icon, setAttribute, setText } from "./element.js";

/**
 * @typedef {import("../state/model.js").Part} Part
 * @typedef {import("../state/model.js").Step} Step
 * @typedef {import("../state/model.js").GrowingThought} GrowingThought
 * @typedef {import("../state/model.js").ToolCall} ToolCall
 */

/** @typedef {{kind: "growing"} & GrowingThought} Growing */

/** So many characters of parameters fit on one line. */
const MAX_PARAMETER_CHARACTERS = 160;
/** The duration of a shorter thought is not shown. */
const MIN_THOUGHT_MS = 100;

/**
 * @param {unknown} value
 * @returns {string}
 */
function json(value) {
  try {
    return value === undefined ? "" : JSON.stringify(value, null, 2);
  } catch {
    return t("too_deep");
  }
}

/**
 * The parameters on one line.
 * @param {unknown} parameters
 */
function brief(parameters) {
  if (parameters === null || typeof parameters !== "object") return "";
  const pairs = Object.entries(parameters).map(
    ([name, value]) => `${name}: ${typeof value === "string" ? value : json(value).replace(/\n */g, " ")}`,
  );
  return pairs.join(", ").slice(0, MAX_PARAMETER_CHARACTERS);
}

/**
 * A thought keeps its row when it has come to its end.
 * @param {Part | Step | Growing} about
 * @returns {string}
 */
export function rowId(about) {
  if (!("kind" in about)) return `part-${about.key}`;
  return about.kind !== "tool" && about.id ? `thought-${about.id}` : `step-${"key" in about ? about.key : ""}`;
}

/** @param {GrowingThought} thought */
const growing = ({ from, text }) => (from > 0 ? "… " : "") + text;

/**
 * @param {Part | Step | Growing} about
 * @returns {{node: HTMLLIElement, list: HTMLOListElement | null}}
 */
export function made(about) {
  if (!("kind" in about)) {
    const list = element("ol");
    const head = element(
      "p",
      { class: "part-head" },
      element("span", { class: "agent", dir: "auto" }, about.agent_name),
      element("span", { class: "task", dir: "auto" }),
      element("span", { class: "time" }),
    );
    return { node: element("li", { class: "part", "data-agent": about.agent_name }, head, list), list };
  }
  if (about.kind !== "tool") {
    const summary = element(
      "summary",
      {},
      icon("thought"),
      element("span", { class: "gist", dir: "auto" }),
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
      element("code", { class: "tool", dir: "ltr" }, about.tool_name),
      element("span", { class: "gist", dir: "auto" }, brief(about.parameters)),
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
 * @param {Part | Step | Growing} about
 */
export function refresh(node, about) {
  if (!("kind" in about)) return refreshPart(node, about);
  if (about.kind === "tool") return refreshCall(node, about);
  setText(/** @type {Element} */ (node.querySelector(".gist")), about.kind === "growing" ? growing(about) : about.text);
  if (about.kind === "growing") return;
  const time = /** @type {Element} */ (node.querySelector(".time"));
  setText(time, (about.duration_ms ?? 0) < MIN_THOUGHT_MS ? "" : duration(about.duration_ms ?? 0));
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
  const status = t(`step.${call.status}`);
  setAttribute(mark, "title", status);
  setAttribute(mark, "aria-label", status);
  setText(
    badge,
    [(call.status === "interrupted" || call.status === "failed") && status, call.reused && t("step.reused")]
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
  const shown = [block(t("parameters"), json(call.parameters), "ltr")];
  if (call.error) shown.push(block(t("step.error"), call.error, "auto"));
  else if (call.status !== "running")
    shown.push(block(call.truncated ? t("step.truncated") : t("step.result"), json(call.result), "ltr"));
  return shown;
}

/**
 * @param {string} title
 * @param {string} text
 * @param {"ltr" | "auto"} dir
 */
const block = (title, text, dir) => [
  element("p", { class: "label" }, title),
  element("pre", { dir, tabindex: "0" }, text || t("empty")),
];
