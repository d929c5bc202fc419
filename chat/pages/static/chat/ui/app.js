/** The chat page: socket → store → view, and what a person does back the other way. */

import { Api } from "../net/api.js";
import { BASE } from "../net/base.js";
import { forgetChoices, keepChoices } from "../net/choices.js";
import { answers, edits } from "../net/drafts.js";
import { ApiError, SignedOut } from "../net/http.js";
import { Inputs } from "../net/inputs.js";
import { Loader } from "../net/loader.js";
import { forgetUnsent, keepUnsent, restoreUnsent } from "../net/outbox.js";
import { onSignOutElsewhere, Session, signedInAs } from "../net/session.js";
import { refusedResume, refusedStop, Socket } from "../net/socket.js";
import { isId, uuid } from "../net/uuid.js";
import { choices } from "../state/branches.js";
import { HiddenThreads } from "../state/hidden.js";
import { TERMINAL } from "../state/model.js";
import { SENT_AGAIN } from "../state/outbox.js";
import { Store } from "../state/store.js";
import { told } from "../text/strings.js";
import { leaveKeysToInputMethod, save } from "./browser.js";
import { Messages } from "./messages.js";
import { notice } from "./notices.js";
import { Pictures } from "./pictures.js";
import { preview } from "./preview.js";
import { Removals } from "./removals.js";
import { threadActions } from "./threads.js";
import { watchUnread } from "./unread.js";
import { View } from "./view.js";

/** @typedef {import("../net/frames.js").ServerFrame} Frame */

/** Frames after which the list of input requests may be another. */
const INPUT_FRAMES = new Set(["input_requested", "input_resolved", "answer_accepted", "approvals_changed"]);

leaveKeysToInputMethod();
const session = new Session();
const api = new Api(session);
const userId = signedInAs() ?? "";
let open = threadOfAddress();
/** The page of all input requests is shown. */
let atInputs = isInputsAddress();
/** @type {import("../net/socket.js").Status} */
let connection = { phase: "connecting", attempt: 0, retry_at: 0 };
let account = "";
/** @type {import("../net/api.js").Agent[]} */
let agents = [];
/** @type {Map<string, string>} thread id (empty: a new one) to the agent that was chosen for it */
const chosenAgents = new Map();
/** The next conversation is temporary. */
let temporary = false;
/** Signing out on purpose: the next sign-in does not return to this thread. */
let leaving = false;

const hidden = new HiddenThreads();
const store = new Store((state, before) => {
  if (state.unsent !== before.unsent || state.stopping !== before.stopping) keepUnsent(userId, state);
  const thread = open ? state.threads.get(open) : undefined;
  const known = open ? before.threads.get(open) : undefined;
  if (thread?.loaded && known?.loaded && thread.chosen !== known.chosen) keepChoices(thread.id, choices(thread));
  if (thread?.loaded && !known?.loaded && thread.messages.some(({ role }) => role === "assistant")) {
    loader.readBesides(thread.id);
  }
  lookAtUnread();
  render();
});
const lookAtUnread = watchUnread({ store, api, attempt }, () => open);
const loader = new Loader(api, store, {
  attempt,
  open: () => open,
  online: () => connection.phase === "online",
  resume: (thread_id) => socket.resume(thread_id, store.last(thread_id)),
});
const inputs = new Inputs(api, store, attempt);
const pictures = new Pictures();
const messages = new Messages(store, () => socket.flush());
const removals = new Removals({
  async remove(thread_id) {
    await attempt(async () => {
      await api.remove(thread_id);
      store.dispatch({ type: "thread_deleted", thread_id });
    });
    removals.cancel(thread_id);
    render();
  },
  removeAtOnce: (thread_id) => api.removeAtOnce(thread_id),
  undone(thread_id) {
    history.pushState(null, "", `${BASE}/c/${thread_id}`);
    show(thread_id);
  },
});

/** @returns {string | null} what stands in the place of a thread's id */
function threadOfAddress() {
  const below = location.pathname.slice(BASE.length);
  return /^\/c\/([\w-]+)$/.exec(below)?.[1].toLowerCase() ?? null;
}

function isInputsAddress() {
  return location.pathname === `${BASE}/inputs`;
}

function render() {
  const { state } = store;
  const { more, listed } = loader;
  const agent = agentOf(open);
  const requests = { shown: atInputs, listed: inputs.listed };
  const removing = removals.ids;
  view.render({ state, open, requests, connection, account, listed, more, removing, agents, agent, temporary });
}

/**
 * @param {string | null} thread_id
 * @returns {string | null} the agent that the next message there names: the one that was chosen, or that answered last
 */
function namedAgent(thread_id) {
  const last = store.thread(thread_id)?.runs.findLast(({ agent, removed }) => agent && !removed)?.agent;
  const available = agents.some((one) => one.name === last && one.available);
  return chosenAgents.get(thread_id ?? "") ?? (last && available ? last : null);
}

/**
 * @param {string | null} thread_id
 * @returns {string} the agent that the next message there goes to
 */
function agentOf(thread_id) {
  const first = agents.find(({ available }) => available)?.name ?? "";
  return namedAgent(thread_id) ?? (store.thread(thread_id)?.agent || first);
}

/** @param {"ended"} [why] what the form of sign-in says */
function toSignIn(why) {
  session.forget();
  const query = new URLSearchParams();
  if (!leaving && (open || atInputs)) query.set("next", open ? `${BASE}/c/${open}` : `${BASE}/inputs${location.hash}`);
  if (why) query.set("why", why);
  location.replace(`${BASE}/login${query.size > 0 ? `?${query}` : ""}`);
}

/**
 * Do it; say in words why it did not work.
 * @param {() => Promise<unknown>} work
 * @param {(error: ApiError) => void} [failed] instead of saying it
 */
async function attempt(work, failed = ({ message }) => notice(message)) {
  try {
    await work();
  } catch (error) {
    if (error instanceof SignedOut) toSignIn("ended");
    else if (error instanceof ApiError) failed(error);
    else throw error;
  }
}

/** Read which agents there are: an administrator may have made one since. */
async function readAgents() {
  await attempt(async () => {
    agents = (await api.agents()).agents;
    render();
  });
}

/**
 * @param {string | null} thread_id
 * @param {boolean} [requests] instead of a thread, all input requests
 */
function show(thread_id, requests = false) {
  const left = store.thread(open);
  if (left?.temporary && left.id !== thread_id) forgetTemporary(left.id);
  temporary = false;
  open = thread_id;
  atInputs = requests;
  if (requests) store.dispatch({ type: "inputs_shown" });
  if (thread_id && isId(thread_id)) loader.follow(thread_id, false);
  else if (thread_id) store.dispatch({ type: "thread_missing", thread_id });
  render();
  view.focus();
}

/** @param {Frame} frame */
function take(frame) {
  const id = "thread_id" in frame ? frame.thread_id : null;
  const known = store.thread(id);
  if (hidden.has(frame, known !== undefined || id === open)) return;
  store.dispatch(frame);
  if (TERMINAL.has(frame.type) && known?.loaded && id === open) loader.readUsage(known.id);
  if (INPUT_FRAMES.has(frame.type) || (frame.type === "error" && frame.error_code === "conflict")) inputs.reload();
  switch (frame.type) {
    case "connection_established":
      view.clock(frame.data.server_time);
      return;
    case "message_created":
      if (!known?.title) void attempt(() => loader.readThread(frame.thread_id));
      break;
    case "resync":
      void loader.readMessages(frame.thread_id, frame.first);
      return;
    case "thread_deleted":
      removals.cancel(frame.thread_id);
      if (frame.thread_id === open) leave();
      return;
    case "error":
      return refused(String(frame.ref ?? ""), frame);
    default:
  }
  // It may have given what waited for it the message that it follows.
  if (frame.type === "message_accepted" || frame.type === "message_created") socket.flush();
  const thread = store.thread(id);
  if (thread && thread.gap > thread.last && !loader.isFetching(thread.id)) socket.resume(thread.id, thread.last);
}

/** @param {string} thread_id of a temporary thread that is left */
function forgetTemporary(thread_id) {
  store.dispatch({ type: "thread_deleted", thread_id });
  void attempt(() => api.remove(thread_id));
}

/**
 * Begin a temporary thread, which the server must know as one before its first message.
 * @param {string} content
 * @param {import("../state/model.js").Attachment[]} attachments
 */
async function beginTemporary(content, attachments) {
  const agent = namedAgent(null);
  await attempt(
    async () => {
      const begun = await api.begin(uuid(), agent, true);
      store.dispatch({ type: "threads_listed", threads: [begun] });
      begin(begun.id, content, attachments, agent);
    },
    ({ message }) => {
      notice(message);
      view.compose(content, attachments);
    },
  );
}

/**
 * Send the first message of a new thread.
 * @param {string} thread_id
 * @param {string} content
 * @param {import("../state/model.js").Attachment[]} attachments
 * @param {string | null} agent
 */
function begin(thread_id, content, attachments, agent) {
  history.pushState(null, "", `${BASE}/c/${thread_id}`);
  if (agent) chosenAgents.set(thread_id, agent);
  chosenAgents.delete("");
  open = thread_id;
  temporary = false;
  loader.follow(thread_id, true);
  messages.append({ thread_id, content, attachments, agent });
}

/** @param {string | null} thread_id null: a new one */
function go(thread_id) {
  const path = thread_id ? `${BASE}/c/${thread_id}` : `${BASE}/`;
  if (path !== location.pathname) history.pushState(null, "", path);
  show(thread_id);
}

/** Drop what is being written: the next user must not read it. */
function forgetDrafts() {
  edits.clear();
  answers.clear();
  view.forget();
}

/** Leave a thread that is gone. */
function leave() {
  history.replaceState(null, "", `${BASE}/`);
  show(null);
}

/**
 * @param {string} ref
 * @param {import("../net/frames.js").ErrorFrame} frame
 */
function refused(ref, frame) {
  const stop = refusedStop(ref);
  const resume = refusedResume(ref);
  if ((stop || resume) && SENT_AGAIN.has(frame.error_code)) return;
  if (stop) store.dispatch({ type: "stop_refused", run_id: stop });
  if (resume && frame.error_code === "not_found") store.dispatch({ type: "thread_missing", thread_id: resume });
  else if (!store.state.unsent.some((message) => message.client_msg_id === ref) && !store.state.answers.has(ref))
    notice(told(frame.message));
}

const socket = new Socket(session, {
  frame: take,
  status(status) {
    connection = status;
    render();
  },
  established(user_id) {
    if (userId !== user_id) {
      // Nothing of the one may go out in the other's name.
      socket.close();
      return location.reload();
    }
    inputs.reload();
    void attempt(async () => {
      await loader.list(1);
      if (open && store.last(open) > 0 && !store.thread(open)?.title) await loader.readThread(open);
    });
    void readAgents();
    if (!account) {
      void attempt(async () => {
        const { name, email } = await api.me();
        account = name || email;
        render();
      });
    }
  },
  unsent: () => store.state.unsent.filter((one) => one.status === "sending" && one.follows === null),
  answers: () => [...store.state.answers.values()].flatMap(({ refused, ...answer }) => (refused ? [] : [answer])),
  stopping: () => store.state.stopping,
  following: () =>
    open && isId(open) && !loader.isReading(open) ? { thread_id: open, after: store.last(open) } : null,
  after: (thread_id) => store.last(thread_id),
  signedOut: () => toSignIn("ended"),
});

const view = new View({
  ...threadActions({
    api,
    store,
    attempt,
    removals,
    open: () => open,
    go,
    attach: (...files) => view.attach(...files),
  }),
  send(content, attachments) {
    if (open) messages.append({ thread_id: open, content, attachments, agent: namedAgent(open) });
    else if (temporary) void beginTemporary(content, attachments);
    else begin(uuid(), content, attachments, namedAgent(null));
  },
  edit({ parent_id, attachments }, content) {
    const agent = namedAgent(open);
    if (open) messages.write({ thread_id: open, content, attachments, parent_id, agent });
    view.focus();
  },
  requeue(run_id, content) {
    if (open) messages.requeue(open, run_id, content, this.edit);
  },
  regenerate(answer_id) {
    if (!open) return;
    const agent = chosenAgents.get(open) ?? null;
    messages.write({ thread_id: open, content: "", attachments: [], regenerates: answer_id, agent });
    view.focus();
  },
  choose(id) {
    if (open) store.dispatch({ type: "branch_chosen", thread_id: open, id });
  },
  async upload(file, progress, signal) {
    try {
      return await api.upload(file, progress, signal);
    } catch (error) {
      if (error instanceof SignedOut) toSignIn("ended");
      throw error;
    }
  },
  picture: ({ id }) => pictures.of(id, () => session.read(`/api/attachments/${id}/preview`)),
  look(attachment, file) {
    const content = file?.size ? Promise.resolve(file) : api.content(attachment.id);
    void preview(attachment, content, (blob) => save(attachment.name, blob));
  },
  readAgents,
  chooseAgent(agent) {
    chosenAgents.set(open ?? "", agent);
    render();
  },
  respond: (answer) => messages.respond(answer),
  async grants(thread_id) {
    /** @type {import("../net/api.js").Grant[]} */
    let grants = [];
    await attempt(async () => {
      grants = await api.grants(thread_id ?? open ?? "");
    });
    return grants;
  },
  async revoke(grant_id) {
    let isDone = false;
    await attempt(async () => {
      await api.revoke(grant_id);
      isDone = true;
    });
    return isDone;
  },
  stop(run_id) {
    if (open) messages.halt(open, run_id);
  },
  retryMessage: (client_msg_id, content) => messages.retry(client_msg_id, content),
  discardMessage: (client_msg_id) => void messages.discard(client_msg_id),
  rewrite(client_msg_id) {
    const message = messages.discard(client_msg_id);
    if (message) view.compose(message.content, message.attachments);
  },
  open: go,
  chooseTemporary(chosen) {
    temporary = chosen;
    render();
  },
  openInputs() {
    if (!atInputs) history.pushState(null, "", `${BASE}/inputs`);
    show(null, true);
  },
  reconnect: () => socket.retry(),
  signOut() {
    leaving = true;
    removals.flush();
    void attempt(async () => {
      await session.logout();
      socket.close();
      forgetUnsent();
      forgetChoices();
      forgetDrafts();
      toSignIn();
    }).finally(() => {
      leaving = false;
    });
  },
  moreThreads: () => void attempt(() => loader.listMore()),
});

if (signedInAs() !== null) {
  addEventListener("popstate", () => show(threadOfAddress(), isInputsAddress()));
  // Who closes the tab has not asked to keep the conversation.
  addEventListener("pagehide", () => {
    removals.flush();
    if (open && store.thread(open)?.temporary) api.removeAtOnce(open);
  });
  onSignOutElsewhere(() => toSignIn());
  const { mine, kept } = restoreUnsent(userId);
  if (!mine) forgetDrafts();
  if (mine && kept) store.dispatch({ type: "outbox_restored", unsent: kept.unsent, stopping: kept.stopping });
  show(open, atInputs);
  socket.start();
} else {
  toSignIn();
}
