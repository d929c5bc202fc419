/**
 * The open thread: for each message its run's card, charts and answer; below them what is not sent yet. Of siblings one
 * is shown, and a switch leads to the others.
 */

import { chip } from "./attachments.js";
import { answerOf, path } from "./branches.js";
import { Card } from "./card.js";
import { chartsOf, Figure } from "./charts.js";
import { arrange, copy, element, icon, setText } from "./element.js";
import { Writing } from "./markdown.js";
import { unfinished } from "./reducer.js";

/**
 * @typedef {import("./branches.js").Exchange} Shown
 * @typedef {import("./reducer.js").Run} Run
 * @typedef {import("./reducer.js").Message} Message
 * @typedef {import("./reducer.js").Thread} Thread
 * @typedef {import("./reducer.js").Unsent} Unsent
 * @typedef {import("./reducer.js").Attachment} Attachment
 *
 * @typedef {object} Actions
 * @property {(run_id: string) => void} stop
 * @property {(client_msg_id: string) => void} retryMessage
 * @property {(client_msg_id: string) => void} discardMessage
 * @property {(message: Message, content: string) => void} edit send it changed, as a sibling
 * @property {(run_id: string, content: string | null) => void} requeue change what waits; null: take it out
 * @property {(answer_id: string) => void} regenerate
 * @property {(id: string) => void} choose this message or run among its siblings
 * @property {(attachment: Attachment) => void} look
 */

/** Writing an answer may take this share of the time at most, so that a long one stays smooth. */
const SHARE = 0.3;
/** How long one go of it may take, in milliseconds. */
const GO_MS = 25;
/** How many charts are shown until one asks for the others. */
const FEW = 2;

/**
 * @param {string} name of an icon
 * @param {string} label
 * @param {() => void} act
 */
function tool(name, label, act) {
  const button = element(
    "button",
    { type: "button", class: "tool-button", title: label, "aria-label": label },
    icon(name),
  );
  button.addEventListener("click", act);
  return button;
}

/** ‹ 2/3 › between siblings. */
class Switch {
  #text = element("span", { class: "switch-text" });
  #before;
  #after;
  node;
  /** @type {string[]} */
  #ids = [];
  #at = 0;

  /**
   * @param {string} what the siblings are
   * @param {(id: string) => void} choose
   */
  constructor(what, choose) {
    const go = (/** @type {number} */ step) => {
      const id = this.#ids[this.#at + step];
      if (id) choose(id);
    };
    this.#before = tool("before", `Previous ${what}`, () => go(-1));
    this.#after = tool("after", `Next ${what}`, () => go(1));
    this.node = element(
      "span",
      { class: "switch", role: "group", "aria-label": `Versions of this ${what}` },
      this.#before,
      this.#text,
      this.#after,
    );
  }

  /**
   * @param {string[]} ids
   * @param {string} current
   */
  update(ids, current) {
    this.#ids = ids;
    this.#at = ids.indexOf(current);
    this.node.hidden = ids.length < 2;
    setText(this.#text, `${this.#at + 1}/${ids.length}`);
    this.#before.disabled = this.#at <= 0;
    this.#after.disabled = this.#at >= ids.length - 1;
  }
}

/**
 * @param {string} content
 * @param {Attachment[]} attachments
 * @param {(attachment: Attachment) => void} look
 * @param {Record<string, string>} data
 */
const userMessage = (content, attachments, look, data) => {
  const node = element("article", { class: "message", "data-role": "user", "aria-label": "You" });
  Object.assign(node.dataset, data);
  if (attachments.length > 0) {
    node.append(element("div", { class: "chips" }, ...attachments.map((one) => chip(one, look))));
  }
  node.append(element("div", { class: "text" }, content));
  return node;
};

/** One run: card, charts, answer, and what can be done with it. */
class Answering {
  card = new Card();
  article = element("article", { class: "message", "data-role": "assistant", "aria-label": "Netra" });
  failure = element("p", { class: "failure" });
  charts = element("div", { class: "charts" });
  #writing = new Writing();
  /** @type {Map<string, Figure>} */
  #figures = new Map();
  #more = element("button", { type: "button", class: "link" });
  /** @type {Run | null} */
  #run = null;
  #shown = "";
  #wasFinal = false;
  #all = false;
  #next = 0;
  #live = false;

  constructor() {
    this.article.append(this.#writing.node);
    this.#more.addEventListener("click", () => {
      this.#all = true;
      this.#lay();
      [...this.#figures.values()][FEW]?.node.querySelector("summary")?.focus();
    });
  }

  /**
   * @param {Run} run
   * @param {number} now
   * @returns {boolean} its newest text is still to be shown
   */
  update(run, now) {
    this.card.update(run, now);
    const late = this.#write(run);
    if (run === this.#run) return late;
    if (run.steps !== this.#run?.steps) this.#draw(run);
    this.#run = run;
    this.#live ||= run.live || unfinished(run);
    this.failure.toggleAttribute("data-live", this.#live);
    if (run.error !== null && this.#live) this.failure.setAttribute("role", "alert");
    setText(this.failure, run.error ?? "");
    return late;
  }

  /** @param {Run} run */
  #draw(run) {
    const charts = chartsOf(run);
    for (const key of this.#figures.keys()) if (!charts.has(key)) this.#leave(key);
    for (const [key, chart] of charts) if (!this.#figures.has(key)) this.#figures.set(key, new Figure(chart));
    this.#lay();
  }

  /** @param {string} key of a chart */
  #leave(key) {
    this.#figures.get(key)?.remove();
    this.#figures.delete(key);
  }

  /** It is not shown again. */
  remove() {
    for (const key of this.#figures.keys()) this.#leave(key);
  }

  #lay() {
    const figures = [...this.#figures.values()].map(({ node }) => node);
    const rest = this.#all ? 0 : Math.max(0, figures.length - FEW);
    setText(this.#more, rest === 1 ? "One more chart" : `${rest} more charts`);
    arrange(this.charts, rest > 0 ? [...figures.slice(0, FEW), this.#more] : figures);
  }

  /** @param {Run} run */
  #write(run) {
    const final = !unfinished(run);
    this.article.toggleAttribute("data-streaming", !final);
    if (run.text === this.#shown && final === this.#wasFinal) return false;
    const begun = performance.now();
    if (!final && begun < this.#next) return true;
    const whole = this.#writing.write(run.text, final, begun + GO_MS);
    if (whole) {
      this.#shown = run.text;
      this.#wasFinal = final;
    }
    const ended = performance.now();
    this.#next = ended + (ended - begun) / SHARE;
    return !whole;
  }
}

/** A message of the user and what became of it. */
class Exchange {
  node = element("section", { class: "exchange" });
  #actions;
  /** @type {Map<string, Answering>} */
  #answerings = new Map();
  #messages;
  #versions;
  #question;
  #asked;
  #tools;
  #copy = tool("copy", "Copy the answer", () => void copy(this.#shown?.run?.text ?? "", this.#copy));
  #again = tool("again", "Answer again", () => this.#regenerate());
  #queued = element("p", { class: "state", "data-state": "queued" });
  #queuedText = element("span");
  #queuedTools = element("span", { class: "choices" });
  #stopped = element("p", { class: "state" }, "Cancelled before it started");
  /** @type {Shown | null} */
  #shown = null;
  #answer_id = "";
  #editing = false;

  /**
   * @param {Message} message
   * @param {Actions} actions
   */
  constructor(message, actions) {
    this.#actions = actions;
    this.#messages = new Switch("message", actions.choose);
    this.#versions = new Switch("answer", actions.choose);
    this.#question = userMessage(message.content, message.attachments, actions.look, { message: message.id });
    const copied = tool("copy", "Copy the message", () => void copy(message.content, copied));
    this.#asked = element(
      "div",
      { class: "tools", "data-of": "user" },
      this.#messages.node,
      tool("pen", "Edit the message", () => this.edit()),
      copied,
    );
    this.#tools = element(
      "div",
      { class: "tools", "data-of": "assistant" },
      this.#versions.node,
      this.#copy,
      this.#again,
    );
    const change = element("button", { type: "button", class: "link" }, "Edit");
    const remove = element("button", { type: "button", class: "link" }, "Remove");
    change.addEventListener("click", () => this.edit());
    remove.addEventListener("click", () => {
      const run = this.#shown?.run;
      if (run) actions.requeue(run.id, null);
    });
    this.#queuedTools.append(change, remove);
    this.#queued.append(icon("clock"), this.#queuedText, this.#queuedTools);
  }

  /** Change the message in its place. */
  edit() {
    const message = this.#shown?.message;
    if (!message || this.#editing) return;
    this.#editing = true;
    const field = element("textarea", { rows: "1", "aria-label": "Message" });
    field.value = message.content;
    const cancel = element("button", { type: "button", class: "plain" }, "Cancel");
    const form = element(
      "form",
      { class: "editing" },
      field,
      element("p", { class: "buttons" }, cancel, element("button", { type: "submit" }, "Send")),
    );
    const fit = () => {
      field.style.height = "auto";
      field.style.height = `${field.scrollHeight + 2}px`;
    };
    const close = () => {
      this.#editing = false;
      form.replaceWith(this.#question);
    };
    cancel.addEventListener("click", close);
    field.addEventListener("input", fit);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const content = field.value.trim();
      if (!content) return;
      close();
      const run = this.#shown?.run;
      if (run && this.#waits) this.#actions.requeue(run.id, content);
      else this.#actions.edit(message, content);
    });
    this.#question.replaceWith(form);
    fit();
    field.focus();
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
   * @param {number} now
   * @returns {boolean} an answer's newest text is still to be shown
   */
  update(shown, answer_id, waits, now) {
    const { run, message } = shown;
    this.#shown = shown;
    this.#answer_id = answer_id;
    this.#waits = waits;
    setText(this.#queuedText, run?.stopping ? "Cancelling…" : "Queued, starts after the answer above");
    this.#queuedTools.hidden = run?.stopping === true;
    this.#messages.update(shown.siblings, message.id);
    this.#versions.update(shown.versions, run?.id ?? "");
    const over = run !== null && !unfinished(run);
    this.#asked.hidden = run !== null && !over;
    this.#copy.hidden = !run?.text;
    this.#tools.hidden = !over && shown.versions.length < 2;
    this.#again.hidden = !over;
    // Where there is nothing else to be done it is said in words.
    this.#again.toggleAttribute("data-told-by-name", run?.status === "failed");
    let answering = run ? this.#answerings.get(run.id) : undefined;
    if (run && !answering) {
      answering = new Answering();
      this.#answerings.set(run.id, answering);
    }
    const late = run && answering ? answering.update(run, now) : false;
    const worked = run !== null && (run.parts.length > 0 || run.steps.length > 0 || unfinished(run));
    /** @type {(HTMLElement | null | undefined | false)[]} */
    const wanted = [
      this.#editing ? /** @type {HTMLElement} */ (this.node.querySelector(".editing")) : this.#question,
      this.#asked,
      waits && this.#queued,
      !waits && worked && answering?.card.node,
      answering && answering.charts.children.length > 0 && answering.charts,
      run !== null && run.text !== "" && answering?.article,
      run !== null && run.error !== null && answering?.failure,
      run?.status === "cancelled" && run.parts.length === 0 && this.#stopped,
      this.#tools,
    ];
    arrange(this.node, /** @type {HTMLElement[]} */ (wanted.filter(Boolean)));
    return late;
  }

  /** It is not shown again. */
  remove() {
    for (const answering of this.#answerings.values()) answering.remove();
  }

  /** @param {number} now */
  tick(now) {
    for (const answering of this.#answerings.values()) answering.card.tick(now);
  }
}

export class Transcript {
  #root;
  #actions;
  #thread_id = "";
  /** @type {Thread | undefined} */
  #thread;
  /** @type {Shown[]} */
  #path = [];
  /** @type {Map<string, Exchange>} */
  #exchanges = new Map();
  /** @type {Map<string, {about: Unsent, online: boolean, node: HTMLElement}>} */
  #unsent = new Map();

  /**
   * @param {HTMLElement} root
   * @param {Actions} actions
   */
  constructor(root, actions) {
    this.#root = root;
    this.#actions = actions;
  }

  /** Change the newest message that is shown. */
  editLast() {
    const last = this.#path.at(-1);
    if (last && (!last.run || !unfinished(last.run) || last.run.status === "queued")) {
      this.#exchanges.get(last.message.id)?.edit();
    }
  }

  /**
   * @param {Thread | undefined} thread
   * @param {Unsent[]} unsent of this thread
   * @param {boolean} online
   * @param {number} now the server's time in milliseconds
   * @returns {boolean} it must be called again soon: an answer's newest text is not shown yet
   */
  render(thread, unsent, online, now) {
    if ((thread?.id ?? "") !== this.#thread_id) {
      this.#thread_id = thread?.id ?? "";
      for (const exchange of this.#exchanges.values()) exchange.remove();
      this.#exchanges.clear();
      this.#unsent.clear();
    }
    if (thread !== this.#thread) {
      this.#thread = thread;
      this.#path = thread && (thread.loaded || thread.last > 0) ? path(thread) : [];
    }
    const first = thread?.runs.find(unfinished);
    let late = false;
    const nodes = this.#path.map((shown) => {
      const exchange = this.#exchange(shown.message);
      const { run } = shown;
      const waits = run !== null && run.status === "queued" && first !== undefined && first.id !== run.id;
      const answer_id = thread && run && !unfinished(run) ? answerOf(thread, run) : null;
      late = exchange.update(shown, answer_id ?? "", waits, now) || late;
      return exchange.node;
    });
    arrange(this.#root, [...nodes, ...unsent.map((message) => this.#pending(message, online))]);
    return late;
  }

  /** @param {number} now */
  tick(now) {
    for (const exchange of this.#exchanges.values()) exchange.tick(now);
  }

  /** @param {Message} message */
  #exchange(message) {
    const exchange = this.#exchanges.get(message.id) ?? new Exchange(message, this.#actions);
    this.#exchanges.set(message.id, exchange);
    return exchange;
  }

  /**
   * @param {Unsent} message
   * @param {boolean} online
   * @returns {HTMLElement}
   */
  #pending(message, online) {
    const known = this.#unsent.get(message.client_msg_id);
    if (known && known.about === message && known.online === online) return known.node;
    const node = element(
      "section",
      { class: "exchange" },
      !message.regenerates &&
        userMessage(message.content, message.attachments, this.#actions.look, {
          unsent: message.client_msg_id,
          state: message.status,
        }),
      this.#unsentState(message, online),
    );
    this.#unsent.set(message.client_msg_id, { about: message, online, node });
    return node;
  }

  /**
   * @param {Unsent} message
   * @param {boolean} online
   * @returns {HTMLElement}
   */
  #unsentState({ client_msg_id, status, error, regenerates }, online) {
    const what = regenerates ? "Another answer: " : "";
    const discard = element("button", { type: "button", class: "link" }, "Discard");
    discard.addEventListener("click", () => this.#actions.discardMessage(client_msg_id));
    if (status !== "failed") {
      if (online || status === "accepted") return element("p", { class: "state", "data-state": status }, `${what}Sending…`);
      return element(
        "p",
        { class: "state", "data-state": "waiting" },
        icon("clock"),
        `${what}Not sent, waiting for the connection`,
        discard,
      );
    }
    const retry = element("button", { type: "button", class: "link" }, "Try again");
    retry.addEventListener("click", () => this.#actions.retryMessage(client_msg_id));
    return element(
      "p",
      { class: "state", "data-state": "failed", role: "alert" },
      `${what}Not sent: ${error} `,
      retry,
      " ",
      discard,
    );
  }
}
