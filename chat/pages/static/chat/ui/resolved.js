/** A resolved input request: one line; unfolded, with all that was decided. */

import { moment, parts, t } from "../text/strings.js";
import { changes } from "./difference.js";
import { element, icon, setText } from "./element.js";
import { addressLink, brief, exact, isObject, unturned, valuesTable } from "./values.js";

/**
 * @typedef {import("../state/model.js").Request} Request
 * @typedef {import("../state/model.js").Resolution} Resolution
 * @typedef {import("./request.js").Decider} Decider
 */

/** @type {Record<Request["kind"], "answered" | "approved" | "done">} how an acceptance is said */
const ACCEPTED = { form: "answered", approval: "approved", link: "done" };
/** How much of the values the line has, in characters. */
const MAX_ANSWER_CHARACTERS = 160;
/** A text of more characters is compared with the one that was proposed. */
const LONG_CHARACTERS = 80;

/**
 * @param {Request} request
 * @param {Resolution} resolution
 * @returns {string} the decision and the person
 */
function decision({ kind, default: value }, { status, by, edited, via }) {
  /** @param {"answered" | "approved" | "approved.edited" | "done" | "declined" | "cancelled"} what */
  const done = (what) => (by ? t(`resolved.${what}.by`, { name: unturned(by) }) : t(`resolved.${what}`));
  switch (status) {
    case "accepted":
      if (via === "policy") return t("resolved.policy");
      return done(kind === "approval" && edited ? "approved.edited" : ACCEPTED[kind]);
    case "declined":
    case "cancelled":
      return done(status);
    case "expired":
      return value === undefined || value === null ? t("resolved.expired") : t("resolved.expired.default");
  }
}

/**
 * A resolved request on one line; unfolded, with all that was decided.
 * @param {Request} request
 * @param {Resolution} resolution
 * @param {Decider} decider
 * @returns {HTMLDetailsElement}
 */
export function resolvedRequest(request, resolution, decider) {
  const { kind, message, schema, tool_name, parameters } = request;
  const { status, values, reason, at } = resolution;
  const isAccepted = status === "accepted";
  const decided = decision(request, resolution);
  const more =
    isAccepted && kind === "form" ? brief(values).slice(0, MAX_ANSWER_CHARACTERS) : reason && unturned(reason);
  /** @type {HTMLElement[]} */
  const shown = [element("p", { class: "asked", dir: "auto" }, unturned(message))];
  if (tool_name) {
    const tool = element("code", { dir: "ltr" }, exact(tool_name));
    shown.push(element("p", { class: "dim" }, ...parts("resolved.tool", { tool })));
  }
  if (kind === "link") shown.push(addressLink(String(schema?.url ?? "")));
  if (kind === "approval" && resolution.edited) shown.push(...longChanges(parameters, values));
  if (kind === "approval" && (resolution.edited || !isAccepted)) {
    shown.push(valuesTable(parameters, t("resolved.proposed"), schema));
  }
  if (kind === "approval" && isAccepted) shown.push(valuesTable(values, t("resolved.as_approved"), schema));
  if (status === "expired" && request.default) shown.push(valuesTable(request.default, t("resolved.default"), schema));
  if (kind === "form" && isAccepted) shown.push(valuesTable(values, t("resolved.answer"), schema));
  if (reason) shown.push(element("p", { dir: "auto" }, t("resolved.reason", { reason: unturned(reason) })));
  shown.push(element("p", { class: "dim", dir: "auto" }, `${decided}, ${moment(at)}`));
  const line = element(
    "details",
    { class: "request resolved", "data-request": request.id, "data-status": status },
    element(
      "summary",
      {},
      icon(isAccepted ? "check" : "cross"),
      element("span", { class: "outcome", dir: "auto" }, more ? `${decided}: ${more}` : decided),
      icon("chevron"),
    ),
    element("div", { class: "decided" }, ...shown),
  );
  if (isAccepted && tool_name && decider.owns) offerRevoking(line, tool_name, decider);
  return line;
}

/**
 * Show, where the line is unfolded, whether the tool is allowed in the thread, and take that back.
 * @param {HTMLDetailsElement} line
 * @param {string} tool_name
 * @param {Decider} decider
 */
function offerRevoking(line, tool_name, { thread_id, grants, revoke }) {
  const allowed = element("p", { class: "allowed", role: "status" });
  line.addEventListener("toggle", async () => {
    if (!line.open) return;
    const valid = (await grants(thread_id)).filter((grant) => grant.tool_name === tool_name);
    allowed.remove();
    if (valid.length === 0) return;
    const until = new Date(Math.max(...valid.map(({ expires_at }) => Date.parse(expires_at))));
    const stop = element("button", { type: "button", class: "link" }, t("ask_again"));
    stop.addEventListener("click", async () => {
      const done = await Promise.all(valid.map(({ id }) => revoke(id)));
      if (!done.every(Boolean)) return;
      line.querySelector("summary")?.focus();
      setText(allowed, t("resolved.asks_again"));
    });
    const named = element("code", { dir: "ltr" }, exact(tool_name));
    allowed.replaceChildren(...parts("resolved.allowed", { tool: named, time: moment(until), stop }));
    line.lastElementChild?.append(allowed);
  });
}

/**
 * @param {unknown} proposed
 * @param {unknown} approved
 * @returns {HTMLElement[]} how long texts among the parameters were changed
 */
function longChanges(proposed, approved) {
  if (!isObject(proposed) || !isObject(approved)) return [];
  return Object.entries(approved).flatMap(([name, text]) => {
    const before = proposed[name];
    if (typeof before !== "string" || typeof text !== "string" || text === before) return [];
    if (before.length <= LONG_CHARACTERS && text.length <= LONG_CHARACTERS) return [];
    const about = { name: exact(name), text: changes(before, text) };
    return [element("p", { class: "changed", dir: "auto" }, ...parts("resolved.changed", about))];
  });
}
