/** The page as it is to be seen for a state. It changes nothing but the DOM; what a person does goes to `Actions`. */

import { BASE } from "../net/base.js";
import { lineage } from "../state/branches.js";
import { waitingInputs } from "../state/inputs.js";
import { inQueue, unfinished } from "../state/model.js";
import { t, told } from "../text/strings.js";
import { chooseTheme } from "./appearance.js";
import { Composer } from "./composer.js";
import { Drawer } from "./drawer.js";
import { found, setAttribute, setText } from "./element.js";
import { InputsPage } from "./inputs.js";
import { menu } from "./menu.js";
import { Announcer, Banner, notice } from "./notices.js";
import { Notifier, TabIcon } from "./notify.js";
import { Panel } from "./panel.js";
import { ProjectDialogs } from "./projects.js";
import { Search } from "./search.js";
import { listenToKeys } from "./shortcuts.js";
import { Sidebar, titleOf } from "./sidebar.js";
import { ThreadSpent } from "./spent.js";
import { ThreadMenu } from "./thread-menu.js";
import { Transcript } from "./transcript.js";
import { Viewport } from "./viewport.js";
import { Welcome } from "./welcome.js";

/**
 * @typedef {import("../state/model.js").State} State
 * @typedef {import("../state/model.js").Thread} Thread
 * @typedef {import("../state/model.js").Run} Run
 * @typedef {import("../state/model.js").Attachment} Attachment
 *
 * @typedef {object} Model
 * @property {State} state
 * @property {string | null} open the thread that is shown; null: a new one
 * @property {{shown: boolean, listed: boolean}} requests the page of all input requests
 * @property {import("../net/socket.js").Status} connection
 * @property {string} account who is signed in
 * @property {boolean} listed the server's list of threads is known
 * @property {boolean} more the server has older threads than those listed
 * @property {Set<string>} removing threads that are about to be deleted
 * @property {import("../net/api.js").Agent[]} agents
 * @property {string} agent the one that the next message goes to; empty: not known yet
 * @property {boolean} temporary the next conversation is
 *
 * @typedef {object} PageActions
 * @property {(content: string, attachments: Attachment[]) => void} send
 * @property {(file: File, progress: (share: number) => void, signal: AbortSignal) => Promise<Attachment>} upload
 * @property {(attachment: Attachment, file?: File) => void} look
 * @property {(agent: string) => void} chooseAgent
 * @property {() => Promise<void>} readAgents
 * @property {(thread_id: string | null) => void} open
 * @property {() => void} openInputs
 * @property {(chosen: boolean) => void} chooseTemporary
 * @property {(words: string) => Promise<import("./search.js").Found>} search
 * @property {() => void} reconnect
 * @property {() => void} signOut
 * @property {() => void} moreThreads
 *
 * @typedef {Omit<import("./transcript.js").Actions, "inspect"> & import("./thread-menu.js").ThreadActions
 *   & import("./projects.js").ProjectActions & PageActions} Actions
 */

/** When it goes on with what is not shown yet, in milliseconds. */
const LATE_MS = 10;

export class View {
  #actions;
  /** @type {Model | null} */
  #model = null;
  #due = false;
  /** How much the server's clock is ahead of this machine's, in milliseconds. */
  #skew = 0;
  /** @type {string | null | undefined} */
  #open = undefined;
  #atInputs = false;
  /** @type {string | null} the message to be shown once its thread is there */
  #sought = null;
  /** Its branch was chosen for it. */
  #switched = false;

  #title = found("#title", HTMLElement);
  #temporary = found("#temporary", HTMLButtonElement);
  #threadMenu = found("#thread-actions", HTMLElement);
  #spent = new ThreadSpent();
  #welcome;
  #missing = found("#missing", HTMLElement);
  #loading = found("#loading", HTMLElement);
  #account = found("#account", HTMLElement);
  #more = found("#more-threads", HTMLButtonElement);
  #agent = found("#agent", HTMLButtonElement);
  #agentName = found("#agent-name", HTMLElement);
  #help = found("#help", HTMLDialogElement);
  #drawer = new Drawer();
  #panel = new Panel();
  #banner = new Banner();
  #announcer = new Announcer();
  #threads;
  #viewport = new Viewport();
  #inputs;
  #inputsLink = found("#inputs-link", HTMLAnchorElement);
  #inputsBadge = found("#inputs-badge", HTMLElement);
  #icon = new TabIcon();
  #notifier;
  #threadChoices;
  #projects;
  #composer;
  #search;
  #transcript;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#projects = new ProjectDialogs(actions, () => this.#model?.state.projects ?? []);
    this.#threadChoices = new ThreadMenu(actions, this.#projects);
    this.#threads = new Sidebar(found("#threads", HTMLElement), (thread) => this.#threadChoices.row(thread), {
      choices: (project) => this.#projects.choices(project),
      place: actions.place,
    });
    const send = (/** @type {string} */ content, /** @type {Attachment[]} */ attachments) => {
      this.#viewport.sent(this.#current() !== undefined);
      actions.send(content, attachments);
    };
    this.#transcript = new Transcript(found("#transcript", HTMLElement), {
      ...actions,
      send,
      edit: (message, content) => {
        this.#viewport.sent(this.#current() !== undefined);
        actions.edit(message, content);
      },
      regenerate: (answer_id) => {
        this.#viewport.sent(this.#current() !== undefined);
        actions.regenerate(answer_id);
      },
      choose: (id) => {
        this.#viewport.release();
        actions.choose(id);
      },
      inspect: (card) => {
        this.#viewport.release();
        this.#panel.toggle(card);
      },
    });
    this.#inputs = new InputsPage(actions);
    this.#notifier = new Notifier(
      (input) => {
        if (input.thread_id !== this.#model?.open) this.#announcer.ask(input);
      },
      ({ own, thread_id }) => (own ? actions.open(thread_id) : actions.openInputs()),
    );
    const seek = (/** @type {string} */ thread_id, /** @type {string | null} */ message_id) => {
      this.#sought = message_id;
      actions.open(thread_id);
    };
    this.#search = new Search(actions.search, seek, () => this.#commands());
    this.#composer = new Composer({
      send,
      upload: actions.upload,
      look: actions.look,
      stop: () => this.#stop(),
      editLast: () => this.#transcript.editLast(),
      notice,
    });
    this.#welcome = new Welcome((text, file) => this.#composer.suggest(text, file));
    this.#listen();
    this.#menus();
    // What is printed is there as a whole.
    addEventListener("beforeprint", () => this.#draw(Infinity));
    setInterval(() => this.#tick(), 1_000);
  }

  /** @param {Model} model shown with the next frame, the first one at once: what is typed then has its thread */
  render(model) {
    this.#model = model;
    if (this.#open === undefined) return this.#draw();
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => this.#draw());
  }

  /** @param {string} server_time */
  clock(server_time) {
    this.#skew = Date.parse(server_time) - Date.now() || 0;
  }

  /** Drop what is being written. */
  forget() {
    this.#composer.forget();
  }

  /**
   * Put what was not sent back where messages are written.
   * @param {string} content
   * @param {Attachment[]} attachments
   */
  compose(content, attachments) {
    this.#composer.compose(content, attachments);
  }

  /**
   * @param {string} thread_id
   * @param {Attachment[]} attachments for its next message
   */
  attach(thread_id, attachments) {
    this.#composer.attach(thread_id, attachments);
  }

  focus() {
    this.#composer.focus();
  }

  #listen() {
    const { open, openInputs, reconnect, signOut, moreThreads } = this.#actions;
    document.addEventListener("click", (event) => {
      const link =
        event.target instanceof Element ? event.target.closest("a[data-thread], a[data-new], a[data-inputs]") : null;
      if (!(link instanceof HTMLAnchorElement) || event.button !== 0) return;
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.#drawer.close();
      if (link.dataset.inputs === undefined) open(link.dataset.thread ?? null);
      else openInputs();
    });
    for (const skip of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("a.skip"))) {
      // A change of the address would open the thread again, which puts the focus into the message box.
      skip.addEventListener("click", (event) => {
        event.preventDefault();
        found(skip.hash, HTMLElement).focus();
      });
    }
    this.#temporary.addEventListener("click", () => this.#actions.chooseTemporary(!this.#model?.temporary));
    found("#reconnect", HTMLElement).addEventListener("click", reconnect);
    found("#sign-out", HTMLElement).addEventListener("click", signOut);
    this.#more.addEventListener("click", moreThreads);
    for (const cancel of document.querySelectorAll("dialog .close")) {
      cancel.addEventListener("click", () => cancel.closest("dialog")?.close());
    }
    found("#show-search", HTMLElement).addEventListener("click", () => {
      this.#drawer.close();
      this.#search.show();
    });
    found("#show-help", HTMLElement).addEventListener("click", () => this.#help.showModal());
    listenToKeys({
      search: () => this.#search.show(),
      escape: (typing) => {
        if (this.#drawer.isOpen) this.#drawer.close();
        else if (this.#panel.hasFocus) this.#panel.close();
        // Escape while a message is being written does not stop the answer.
        else if (!typing) this.#stop();
      },
      compose: () => this.#composer.enter(),
      help: () => this.#help.showModal(),
      inputs: openInputs,
    });
  }

  /** @returns {import("./commands.js").Command[]} what the search offers beside conversations */
  #commands() {
    const { open, openInputs, signOut, exportThread } = this.#actions;
    const thread = this.#thread();
    const here = thread && [
      { label: t("command.rename"), act: () => this.#threadChoices.rename(thread) },
      ...this.#threadChoices.shared(t("command.share")),
      { label: t("command.export"), act: () => exportThread("md") },
      { label: t("command.print"), act: () => print() },
    ];
    return [
      { label: t("conversation.new"), act: () => open(null) },
      { label: t("project.new"), act: () => this.#projects.edit(null) },
      ...(here ?? []),
      { label: t("command.requests"), act: openInputs },
      { label: t("command.settings"), act: () => found("#account-link", HTMLElement).click() },
      { label: t("command.archived"), act: () => location.assign(`${BASE}/settings#archived-title`) },
      { label: t("command.light"), act: () => chooseTheme("light") },
      { label: t("command.dark"), act: () => chooseTheme("dark") },
      { label: t("command.system"), act: () => chooseTheme("") },
      { label: t("command.shortcuts"), act: () => this.#help.showModal() },
      { label: t("command.sign_out"), act: signOut },
    ];
  }

  #menus() {
    const { chooseAgent, readAgents } = this.#actions;
    menu(found("#thread-menu", HTMLButtonElement), t("thread.this"), () => {
      const thread = this.#thread();
      return thread ? this.#threadChoices.bar(thread) : [];
    });
    const agents = () =>
      (this.#model?.agents ?? []).map(({ name, title, description, available, reason }) => ({
        label: title || name,
        about: available ? told(description) : `${told(description)} ${reason ? told(reason) : t("agent.unavailable")}`,
        chosen: name === this.#model?.agent,
        disabled: !available,
        act: () => {
          chooseAgent(name);
          this.#composer.enter();
        },
      }));
    menu(this.#agent, t("agent"), agents, readAgents);
  }

  /** @returns {Thread | undefined} */
  #thread() {
    const model = this.#model;
    return model?.open ? model.state.threads.get(model.open) : undefined;
  }

  /** @returns {Run | undefined} the run of the open thread that a stop would reach */
  #current() {
    const thread = this.#thread();
    return thread?.loaded ? (thread.runs.find(inQueue) ?? thread.runs.find(unfinished)) : undefined;
  }

  #stop() {
    const run = this.#current();
    if (run && !run.stopping) this.#actions.stop(run.id);
  }

  /** @param {number} [deadline] when to leave off, in `performance.now()` milliseconds */
  #draw(deadline) {
    this.#due = false;
    const model = this.#model;
    if (!model) return;
    // What is about to be deleted is gone for a reader already; only "Undo" brings it back.
    const removed = model.open !== null && model.removing.has(model.open);
    const thread = removed ? undefined : this.#thread();
    const unsent = removed ? [] : model.state.unsent.filter((message) => message.thread_id === model.open);
    const { shown, listed } = model.requests;
    if (shown && !this.#atInputs) this.#inputs.open();
    if (model.open !== this.#open || shown !== this.#atInputs) {
      this.#open = model.open;
      this.#atInputs = shown;
      this.#announcer.clear();
      this.#viewport.open();
      this.#composer.show(model.open ?? "");
    }
    const online = model.connection.phase === "online";
    const rest = this.#transcript.render(thread, unsent, model.state, online, this.#now(), deadline);
    const late = rest === "near";
    this.#panel.update();
    const empty = this.#transcript.isEmpty && unsent.length === 0;
    const missing = removed || (thread?.missing === true && unsent.length === 0);
    this.#missing.hidden = !missing;
    this.#loading.hidden = model.open === null || missing || thread?.loaded === true || !empty;
    const agent = model.agents.find(({ name }) => name === model.agent);
    const isWelcome = !shown && empty && !missing && this.#loading.hidden;
    this.#welcome.update(!isWelcome, agent);
    const isTemporary = model.temporary || thread?.temporary === true;
    document.body.toggleAttribute("data-temporary", isTemporary);
    this.#temporary.hidden = model.open === null ? !isWelcome : !isTemporary;
    this.#temporary.disabled = model.open !== null;
    this.#temporary.ariaPressed = String(isTemporary);
    this.#threads.render(model.state, model.open, model.removing, model.listed);
    const titleOfThread = (/** @type {string} */ id) => model.state.threads.get(id)?.title ?? "";
    this.#inputs.render(shown, model.state, listed, online, this.#now(), titleOfThread);
    this.#heading(thread, missing);
    this.#composer.update(missing ? undefined : this.#current(), missing || shown);
    setText(this.#agentName, agent?.title || model.agent);
    this.#agent.hidden = model.agent === "";
    this.#banner.update(model.connection);
    this.#announcer.update(thread);
    setText(this.#account, model.account);
    this.#more.hidden = !model.more;
    this.#viewport.drawn(!late && thread?.loaded === true);
    const asked = !late && thread?.loaded ? this.#transcript.newRequest() : undefined;
    if (asked) this.#viewport.reveal(asked);
    if (this.#sought && thread?.loaded && !late) this.#reveal(thread, this.#sought);
    if (rest === "nothing") return;
    // Not with the next frame: where painting is slow, a long answer would take as many frames as it takes goes.
    this.#due = true;
    setTimeout(() => this.#draw(), LATE_MS);
  }

  /**
   * Show a message, on whichever branch it is.
   * @param {Thread} thread
   * @param {string} message_id
   */
  #reveal(thread, message_id) {
    this.#sought = null;
    const exchange = this.#transcript.exchangeOf(message_id);
    if (exchange) {
      this.#viewport.show(exchange);
      exchange.dataset.found = "";
      exchange.addEventListener("animationend", () => delete exchange.dataset.found, { once: true });
    } else if (!this.#switched && thread.messages.some(({ id }) => id === message_id)) {
      // Its branch comes with the next drawing.
      this.#switched = true;
      this.#sought = message_id;
      for (const id of lineage(thread, message_id)) this.#actions.choose(id);
      return;
    }
    this.#switched = false;
  }

  /**
   * @param {Thread | undefined} thread
   * @param {boolean} missing
   */
  #heading(thread, missing) {
    const known = thread !== undefined && !missing && (thread.title !== "" || thread.last > 0);
    const other = this.#atInputs ? t("requests") : missing ? t("thread.missing") : t("conversation.new");
    const title = known ? titleOf(thread) : other;
    setText(this.#title, title);
    this.#threadMenu.hidden = !known;
    this.#spent.update(known ? thread.usage : null);
    const waiting = this.#model ? waitingInputs(this.#model.state) : [];
    const count = waiting.length > 0 ? `(${waiting.length}) ` : "";
    // What turns the direction around would turn the rest too.
    document.title = `${count}${title.replace(/[\u202a-\u202e\u2066-\u2069]/g, "")} · Netra`;
    this.#icon.update(waiting.length);
    if (this.#model?.requests.listed) this.#notifier.update(waiting);
    document.body.toggleAttribute("data-asked", waiting.length > 0);
    setText(this.#inputsBadge, waiting.length > 0 ? String(waiting.length) : "");
    setAttribute(this.#inputsLink, "aria-current", this.#atInputs ? "page" : null);
  }

  #tick() {
    if (this.#model) this.#banner.update(this.#model.connection);
    this.#transcript.tick(this.#now());
    this.#inputs.tick(this.#now());
  }

  #now() {
    return Date.now() + this.#skew;
  }
}
