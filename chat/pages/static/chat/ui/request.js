/** An open input request as a card: the question with a form, an approval or a link. */

import { answers as drafts } from "../net/drafts.js";
import { moment, parts, t, told } from "../text/strings.js";
import { remaining } from "./duration.js";
import { element, setAttribute, setText } from "./element.js";
import { Fields, INPUT } from "./fields.js";
import { addressLink, brief, exact, isObject, unturned, valuesTable } from "./values.js";

/**
 * @typedef {import("../state/model.js").Request} Request
 * @typedef {import("../state/model.js").GivenAnswer} GivenAnswer
 * @typedef {import("../net/api.js").Grant} Grant
 * @typedef {GivenAnswer & {refused: {field: string | null, message: string} | null}} Given
 *
 * @typedef {object} Decider the person at the page
 * @property {(answer: GivenAnswer) => void} respond
 * @property {boolean} owns the run that asks is theirs
 * @property {string | null} thread_id of the run; null: the open one
 * @property {(thread_id: string | null) => Promise<Grant[]>} grants the tools that need no approval there
 * @property {(grant_id: string) => Promise<boolean>} revoke such a grant; false: it did not work
 */

/** @type {Record<Request["kind"], import("../text/strings.js").Key>} how to accept */
const ACCEPT = { form: "request.answer", approval: "request.approve", link: "request.done" };
/** How much of the default is shown, in characters. */
const MAX_DEFAULT_CHARACTERS = 160;
const MINUTE_MS = 60_000;
const TYPING = "input:not([type='checkbox']), select, textarea";

/**
 * @param {string} label
 * @param {() => void} act
 * @param {string} kind of the button: its class
 */
function button(label, act, kind = "plain") {
  const made = element("button", { type: "button", class: kind }, label);
  made.addEventListener("click", act);
  return made;
}

/** @param {string} tool_name */
const codeOf = (tool_name) => element("code", { dir: "ltr" }, exact(tool_name));

/** An open request. It is made once, so that what is being written stays. */
export class RequestCard {
  #id;
  #request;
  #decider;
  #fields;
  #remember = element("input", { type: "checkbox" });
  #expiry = element("p", { class: "expiry dim" });
  #error = element("p", { class: "wrong", role: "alert", hidden: true });
  #form;
  #parameters = element("div");
  #accept;
  #buttons = element("p", { class: "buttons" });
  #reason = element("input", { type: "text", dir: "auto", maxlength: "2000", autocomplete: "off" });
  #declining;
  #edits = false;
  /** @type {Given | undefined} */
  #given;
  node;

  /**
   * @param {Request} request
   * @param {Decider} decider
   */
  constructor(request, decider) {
    this.#id = `request-${request.id}`;
    this.#request = request;
    this.#decider = decider;
    const { kind } = request;
    this.#fields = this.#newFields();
    this.#accept = element("button", { type: kind === "form" ? "submit" : "button" }, t(ACCEPT[kind]));
    if (kind !== "form") this.#accept.addEventListener("click", () => this.#send());
    this.#form = element("form", { novalidate: true, autocomplete: "off" });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      // Enter in a field of an approval does not approve.
      if (kind === "form") this.#send();
    });
    this.#form.addEventListener("input", () => this.#keep());
    this.#remember.id = `${this.#id}-remember`;
    this.#reason.id = `${this.#id}-reason`;
    this.#declining = element(
      "div",
      { class: "declining", hidden: true },
      element(
        "label",
        { for: this.#reason.id },
        `${t("request.reason")} `,
        element("span", { class: "dim" }, t("optional")),
      ),
      this.#reason,
      element(
        "p",
        { class: "buttons" },
        button(t("request.back"), () => this.#decline(false)),
        button(t("request.decline"), () => this.#send(true), "danger"),
      ),
    );
    this.node = this.#made();
    this.node.addEventListener("keydown", (event) => this.#key(event));
    this.#restore();
  }

  #newFields() {
    const { kind, schema, parameters } = this.#request;
    const isApproval = kind === "approval";
    return new Fields(
      kind === "link" ? null : schema,
      isApproval && isObject(parameters) ? parameters : {},
      isApproval,
    );
  }

  /** Keep what is being written for a reload of the tab. */
  #keep() {
    const [fields, reason] = [this.#fields.draft(), this.#reason.value];
    drafts.set(this.#request.id, { fields, edits: this.#edits, declines: !this.#declining.hidden, reason });
  }

  /** Go on where it was before a reload. The focus stays where it is. */
  #restore() {
    const draft = drafts.get(this.#request.id);
    if (!draft) return;
    this.#fields.restore(draft.fields);
    this.#reason.value = draft.reason;
    this.#declining.hidden = !draft.declines;
    this.#buttons.hidden = draft.declines;
    if (!draft.edits) return;
    this.#edits = true;
    this.#showParameters();
    this.#showButtons();
  }

  /** It is resolved. */
  remove() {
    drafts.set(this.#request.id, null);
  }

  #made() {
    const { kind, schema, tool_name, agent_name, reason, message, four_eyes, decided_by, may_remember } = this.#request;
    const title = element("p", { class: "asked", id: this.#id, dir: "auto" }, unturned(message));
    const asking = kind === "approval" ? "request.needs" : "request.asks";
    const agent = element("bdi", {}, agent_name);
    const from = element(
      "p",
      { class: "from dim" },
      ...(tool_name ? parts(`${asking}.tool`, { agent, tool: codeOf(tool_name) }) : parts(asking, { agent })),
    );
    const group = decided_by.startsWith("group:") ? decided_by.slice("group:".length) : "";
    this.#form.append(from, title);
    if (reason) this.#form.append(element("p", { class: "why" }, t("request.why", { reason: unturned(reason) })));
    if (kind === "form") this.#form.append(this.#fields.node);
    if (kind === "approval") this.#form.append(this.#parameters);
    if (kind === "link") this.#form.append(addressLink(String(schema?.url ?? "")));
    const { owns } = this.#decider;
    if (group) {
      const rule = !owns ? "request.group.member" : four_eyes ? "request.group" : "request.group.yours";
      this.#form.append(element("p", { class: "dim" }, ...parts(rule, { group: element("bdi", {}, group) })));
    }
    // What others decide, what is to be seen by two, and what the policy says so of, is asked each time.
    if (kind === "approval" && tool_name && owns && !group && !four_eyes && may_remember) {
      const allow = parts("request.remember", { tool: codeOf(tool_name) });
      const label = element("label", { for: this.#remember.id }, ...allow);
      this.#form.append(element("div", { class: "check" }, this.#remember, label));
    }
    if (four_eyes && owns) this.#form.append(element("p", { class: "dim" }, t("request.four_eyes")));
    const otherwise = unanswered(this.#request);
    const ends = element("div", {}, this.#expiry, otherwise && element("p", { class: "dim", dir: "auto" }, otherwise));
    const buttons = four_eyes && owns ? [] : [this.#buttons];
    this.#form.append(this.#error, element("div", { class: "foot" }, ends, ...buttons), this.#declining);
    if (kind === "approval") this.#showParameters();
    this.#showButtons();
    return element(
      "section",
      {
        class: "request",
        role: "group",
        tabindex: "0",
        "aria-labelledby": this.#id,
        "data-request": this.#request.id,
        "data-kind": kind,
      },
      this.#form,
    );
  }

  #showParameters() {
    const { parameters, schema } = this.#request;
    this.#parameters.replaceChildren(
      this.#edits ? this.#fields.node : valuesTable(parameters, t("parameters"), schema),
    );
  }

  #showButtons() {
    const { kind, editable, parameters } = this.#request;
    if (kind !== "form") setAttribute(this.#accept, "aria-keyshortcuts", "a");
    const edit = button(this.#edits ? t("request.edit.cancel") : t("edit"), () => this.#edit(!this.#edits));
    const decline = button(t("request.decline"), () => this.#decline(true));
    setAttribute(decline, "aria-keyshortcuts", "d");
    setText(this.#accept, t(this.#edits ? "request.approve.edited" : ACCEPT[kind]));
    this.#buttons.replaceChildren(decline, ...(editable && isObject(parameters) ? [edit] : []), this.#accept);
  }

  /** @param {boolean} edits the parameters are fields */
  #edit(edits) {
    this.#edits = edits;
    if (!edits) this.#fields = this.#newFields();
    this.#showParameters();
    this.#showButtons();
    this.#keep();
    const target = edits ? this.#fields.node.querySelector(INPUT) : this.#buttons.children[1];
    if (target instanceof HTMLElement) target.focus();
  }

  /** @param {boolean} declines ask for the reason */
  #decline(declines) {
    this.#declining.hidden = !declines;
    this.#buttons.hidden = declines;
    this.#keep();
    const target = declines ? this.#reason : this.#buttons.firstElementChild;
    if (target instanceof HTMLElement) target.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { key, target } = event;
    if (key === "Escape") {
      // It leaves the card, and stops no run.
      event.stopPropagation();
      if (!this.#declining.hidden) return this.#decline(false);
      this.node.focus();
      document.getElementById("composer")?.focus();
    } else if (
      !event.ctrlKey &&
      !event.metaKey &&
      !event.altKey &&
      !(target instanceof Element && target.matches(TYPING))
    ) {
      this.#shortcut(event);
    } else if (key === "Enter" && target === this.#reason) {
      event.preventDefault();
      this.#send(true);
    } else if (
      key === "Enter" &&
      !event.shiftKey &&
      target instanceof HTMLTextAreaElement &&
      this.#request.kind === "form"
    ) {
      event.preventDefault();
      this.#form.requestSubmit();
    }
  }

  /**
   * `a` leads to what accepts and `d` to the reason; the answer is sent by Enter there.
   * @param {KeyboardEvent} event
   */
  #shortcut(event) {
    if ((event.key !== "a" && event.key !== "d") || !this.#buttons.isConnected || this.#buttons.hidden) return;
    event.preventDefault();
    if (event.key === "d") return this.#decline(true);
    const field = this.#request.kind === "form" ? this.#fields.node.querySelector(INPUT) : null;
    (field instanceof HTMLElement ? field : this.#accept).focus();
  }

  #send(declines = false) {
    const { id: request_id, kind, parameters } = this.#request;
    if (this.#given && !this.#given.refused) return;
    const reason = this.#reason.value.trim().toWellFormed();
    if (declines) return this.#decider.respond({ request_id, action: "decline", ...(reason ? { reason } : {}) });
    /** @type {GivenAnswer} */
    const answer = { request_id, action: "accept" };
    if (kind === "form" || this.#edits) {
      const values = this.#fields.read();
      if (!values) return;
      if (kind === "form") answer.content = values;
      else if (!isEqual(values, parameters)) answer.parameters = values;
    }
    if (this.#remember.checked) answer.remember = "thread";
    this.#decider.respond(answer);
  }

  /**
   * @param {Given | undefined} given what was answered here
   * @param {boolean} online
   */
  update(given, online) {
    const isSent = given !== undefined && !given.refused;
    // What is disabled loses the focus, which is to go on with the decision.
    if (isSent && this.node.contains(document.activeElement)) this.node.focus({ preventScroll: true });
    for (const one of this.node.querySelectorAll("button")) one.disabled = isSent;
    this.#fields.disable(isSent);
    this.#reason.disabled = isSent;
    this.#remember.disabled = isSent;
    if (isSent) setText(this.#expiry, online ? t("request.sending") : t("request.offline"));
    if (given === this.#given) return;
    this.#given = given;
    this.#refuse(given?.refused ?? null);
  }

  /** @param {{field: string | null, message: string} | null} refused */
  #refuse(refused) {
    this.#error.hidden = true;
    if (!refused) return;
    const { field, message } = refused;
    const place = field?.replace(/^(content|parameters)\./, "") ?? "";
    const isShown = this.#request.kind === "form" || this.#edits;
    // The message begins with the field, which its label names here.
    const said = field && message.startsWith(field) ? message.slice(field.length).replace(/^:? /, "") : message;
    if (isShown && place && place !== field && this.#fields.refuse(place, told(said))) return;
    this.#error.hidden = false;
    setText(this.#error, told(message));
  }

  /** @param {number} now the server's time in milliseconds */
  tick(now) {
    if (this.#given && !this.#given.refused) return;
    const left = Date.parse(this.#request.expires_at) - now;
    setText(this.#expiry, left > 0 ? t("request.expires", { time: remaining(left) }) : t("request.over"));
    setAttribute(this.#expiry, "title", moment(this.#request.expires_at));
    this.#expiry.toggleAttribute("data-soon", left < MINUTE_MS);
  }
}

/**
 * @param {unknown} a
 * @param {unknown} b
 * @returns {boolean} the same JSON, in any order of names
 */
function isEqual(a, b) {
  if (!isObject(a) || !isObject(b)) return JSON.stringify(a) === JSON.stringify(b);
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every((name) => Object.hasOwn(a, name) && Object.hasOwn(b, name) && isEqual(a[name], b[name]));
}

/**
 * @param {Request} request
 * @returns {string} what happens without an answer; empty: the agent decides
 */
function unanswered({ kind, default: value }) {
  if (kind === "approval") return t("request.unanswered");
  return value === undefined || value === null
    ? ""
    : t("request.default", { value: brief(value).slice(0, MAX_DEFAULT_CHARACTERS) });
}
