/** A message of the user and its answers. Of siblings one is shown, and a switch leads to the others. */

import { edits } from "../net/drafts.js";
import { unfinished } from "../state/model.js";
import { fieldsOf } from "../state/typed.js";
import { t, told } from "../text/strings.js";
import { Answer } from "./answer.js";
import { chip } from "./attachments.js";
import { copy } from "./browser.js";
import { editor } from "./editor.js";
import { arrange, element, icon, setText } from "./element.js";
import { Rating } from "./rating.js";
import { Switch, tool } from "./switch.js";
import { long } from "./text.js";
import { unturned } from "./values.js";

/**
 * @typedef {import("../state/branches.js").Exchange} Shown
 * @typedef {import("../state/model.js").Message} Message
 * @typedef {import("../state/model.js").Attachment} Attachment
 * @typedef {import("./transcript.js").Actions} Actions
 */

/**
 * Fold a long text.
 * @param {HTMLElement} text
 * @returns {HTMLElement} the button that unfolds and folds it
 */
function fold(text) {
  const button = element("button", { type: "button", class: "link" });
  const show = (/** @type {boolean} */ whole) => {
    text.toggleAttribute("data-folded", !whole);
    button.ariaExpanded = String(whole);
    setText(button, whole ? t("message.fold") : t("message.unfold"));
  };
  button.addEventListener("click", () => show(text.hasAttribute("data-folded")));
  show(false);
  return button;
}

/**
 * @param {string} content
 * @param {Attachment[]} attachments
 * @param {import("./attachments.js").FileActions} actions
 * @param {Record<string, string>} data
 */
export const userMessage = (content, attachments, actions, data) => {
  const node = element("article", { class: "message", "data-role": "user", "aria-label": t("you") });
  Object.assign(node.dataset, data);
  if (attachments.length > 0) {
    node.append(element("div", { class: "chips" }, ...attachments.map((one) => chip(one, actions))));
  }
  const fields = fieldsOf(content)?.map(([name, value]) => `${name}: ${value}`);
  const text = element("div", { class: "text", dir: "auto" }, fields ? unturned(fields.join("\n")) : content);
  node.append(text);
  if (long(content)) node.append(fold(text));
  return node;
};

/** A message of the user and what became of it. */
export class Exchange {
  #actions;
  /** @type {Map<string, Answer>} */
  #answers = new Map();
  #messages;
  #versions;
  #question;
  #asked;
  #rating;
  #tools;
  #copy = tool("copy", t("answer.copy"), () => void copy(this.#shown?.run?.text ?? "", this.#copy));
  #again = tool("again", t("regenerate"), () => this.#regenerate());
  #branch = tool("branch", t("answer.branch"), () => this.#actions.branch(this.#answer_id));
  #pen = tool("pen", t("message.edit"), () => this.edit());
  #change = element("button", { type: "button", class: "link" }, t("edit"));
  #queued = element("p", { class: "state", "data-state": "queued" });
  #queuedText = element("span");
  #queuedTools = element("span", { class: "choices" });
  #stopped = element("p", { class: "state" }, t("message.removed"));
  // By headings a screen reader goes from message to message.
  #asks = element("h2", { class: "unseen" }, t("message.yours"));
  #answered = element("h2", { class: "unseen" });
  /** @type {Shown | null} */
  #shown = null;
  /** @type {unknown[]} what it was drawn of, if all of that is shown and stays as it is */
  #drawn = [];
  #answer_id = "";
  #editing = false;

  /**
   * @param {Message} message
   * @param {Actions} actions
   * @param {HTMLElement} node that is to show it
   */
  constructor(message, actions, node) {
    this.node = node;
    this.#actions = actions;
    this.#messages = new Switch("message", actions.choose);
    this.#versions = new Switch("answer", actions.choose);
    this.#question = userMessage(message.content, message.attachments, actions, { message: message.id });
    const copied = tool("copy", t("message.copy"), () => void copy(message.content, copied));
    this.#asked = element("div", { class: "tools", "data-of": "user" }, this.#messages.node, this.#pen, copied);
    this.#rating = new Rating(actions.rate, () => this.#rate());
    this.#tools = element(
      "div",
      { class: "tools", "data-of": "assistant" },
      this.#versions.node,
      this.#copy,
      this.#again,
      this.#branch,
      this.#rating.node,
    );
    const remove = element("button", { type: "button", class: "link" }, t("remove"));
    this.#change.addEventListener("click", () => this.edit());
    remove.addEventListener("click", () => {
      const run = this.#shown?.run;
      if (run) actions.requeue(run.id, null);
    });
    this.#queuedTools.append(this.#change, remove);
    this.#queued.append(icon("clock"), this.#queuedText, this.#queuedTools);
    const kept = edits.get(message.id);
    if (kept === undefined) return;
    // An edit that was begun before a reload or in another thread goes on; the focus stays where it is.
    this.node.append(this.#question);
    const { fit } = this.#open(message, kept);
    requestAnimationFrame(fit);
  }

  /** Change the message in its place. */
  edit() {
    const message = this.#shown?.message;
    if (message && !this.#editing) this.#open(message, message.content).begin();
  }

  /**
   * @param {Message} message
   * @param {string} content to begin with
   */
  #open(message, content) {
    this.#editing = true;
    const close = () => {
      this.#editing = false;
      edits.set(message.id, null);
      opened.form.replaceWith(this.#question);
    };
    const opened = editor(
      content,
      (text) => {
        close();
        const run = this.#shown?.run;
        if (run && this.#waits) this.#actions.requeue(run.id, text);
        else this.#actions.edit(message, text);
      },
      () => {
        close();
        (this.#asked.hidden ? this.#change : this.#pen).focus();
      },
      (text) => edits.set(message.id, text),
    );
    this.#question.replaceWith(opened.form);
    return opened;
  }

  /** @param {string} id one of the siblings here, a message or a run, which has the focus then */
  focus(id) {
    (id === this.#shown?.message.id ? this.#messages : this.#versions).focus();
  }

  #waits = false;

  #regenerate() {
    const shown = this.#shown;
    if (this.#answer_id) this.#actions.regenerate(this.#answer_id);
    else if (shown) this.#actions.edit(shown.message, shown.message.content);
  }

  /**
   * @param {Shown} shown
   * @param {string} answer_id empty: there is none
   * @param {boolean} waits its run stands behind another
   * @param {import("../state/model.js").State["answers"]} answers to input requests that were given here
   * @param {boolean} online
   * @param {number} now
   * @param {number} deadline when to leave off, in `performance.now()` milliseconds
   * @returns {boolean} an answer's newest text is still to be shown
   */
  update(shown, answer_id, waits, answers, online, now, deadline) {
    const { run, message } = shown;
    const drawn = [run, message, answer_id, waits, answers, online, ...shown.siblings, ...shown.versions];
    if (drawn.length === this.#drawn.length && drawn.every((one, at) => one === this.#drawn[at])) {
      this.#shown = shown;
      return false;
    }
    this.#shown = shown;
    this.#answer_id = answer_id;
    this.#waits = waits;
    setText(this.#queuedText, run?.stopping ? t("stopping") : t("queued.behind"));
    this.#queuedTools.hidden = run?.stopping === true;
    this.#messages.update(shown.siblings, message.id);
    this.#versions.update(shown.versions, run?.id ?? "");
    const over = run !== null && !unfinished(run);
    this.#asked.hidden = run !== null && !over;
    this.#copy.hidden = !run?.text;
    this.#tools.hidden = !over && shown.versions.length < 2;
    this.#again.hidden = !over;
    this.#branch.hidden = answer_id === "";
    // Where there is nothing else to be done it is said in words.
    this.#again.toggleAttribute("data-told-by-name", run?.status === "failed");
    let answer = run ? this.#answers.get(run.id) : undefined;
    if (run && !answer) {
      const check = (/** @type {string} */ name, /** @type {boolean} */ isDone) =>
        this.#actions.check({ message_id: this.#answer_id, name }, isDone);
      answer = new Answer(this.#actions, (content) => this.#actions.send(content, []), check);
      this.#answers.set(run.id, answer);
    }
    const late = run && answer ? answer.update(run, answers, online, now, deadline) : false;
    this.#drawn = late || (run && unfinished(run)) ? [] : drawn;
    const worked = run !== null && (run.parts.length > 0 || run.steps.length > 0 || unfinished(run));
    setText(this.#answered, run?.agent ? t("answer.of", { agent: run.agent }) : t("answer"));
    /** @type {(HTMLElement | null | undefined | false)[]} */
    const wanted = [
      this.#asks,
      this.#editing ? /** @type {HTMLElement} */ (this.node.querySelector(".editing")) : this.#question,
      this.#asked,
      waits && this.#queued,
      run !== null && !waits && this.#answered,
      !waits && worked && answer?.card.node,
      answer && answer.requests.resolved.children.length > 0 && answer.requests.resolved,
      answer && !answer.verdict && answer.charts.children.length > 0 && answer.charts,
      run !== null && run.text !== "" && answer?.article,
      !answer?.verdict && answer?.chips?.node,
      answer && answer.requests.open.children.length > 0 && answer.requests.open,
      run !== null && run.error !== null && answer?.failure,
      run !== null && run.error !== null && answer?.reference,
      run?.status === "cancelled" && run.parts.length === 0 && this.#stopped,
      this.#tools,
      this.#rating.isOpen && this.#rating.form,
    ];
    arrange(this.node, /** @type {HTMLElement[]} */ (wanted.filter(Boolean)));
    return late;
  }

  /**
   * Where it cannot be drawn, its words are shown as they are.
   * @param {Shown} shown
   */
  plain({ message, run }) {
    const texts = [message.content, run?.text ?? "", told(run?.error ?? "")].filter(Boolean);
    this.node.replaceChildren(
      element("p", { class: "dim", role: "note" }, t("message.plain")),
      ...texts.map((text) => element("pre", { class: "plain", dir: "auto", tabindex: "0" }, text)),
    );
  }

  /**
   * @param {import("../state/model.js").Feedback | null} feedback on the answer
   * @param {import("../state/model.js").CheckedStep[]} checklist of all answers
   */
  mark(feedback, checklist) {
    this.#rating.update(this.#answer_id, feedback);
    this.#rate();
    this.#answers.get(this.#shown?.run?.id ?? "")?.verdict?.check(this.#answer_id, checklist);
  }

  #rate() {
    const { isOpen, form } = this.#rating;
    // Where it is already it stays untouched: what is moved loses the focus.
    if (isOpen && this.#tools.nextElementSibling !== form) this.#tools.after(form);
    else if (!isOpen) form.remove();
  }

  /** It is not shown again. */
  remove() {
    for (const answer of this.#answers.values()) answer.remove();
  }

  /** @param {number} now */
  tick(now) {
    for (const answer of this.#answers.values()) answer.tick(now);
  }
}
