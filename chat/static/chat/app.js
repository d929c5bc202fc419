/** The chat page: socket → reducer → view, and what a person does back the other way. */

import { ApiError, maybeSignedIn, onSignOutElsewhere, Session, SignedOut } from "./api.js";
import { EMPTY, reduce, SENT_AGAIN } from "./reducer.js";
import { refusedResume, refusedStop, Socket } from "./socket.js";
import { View } from "./view.js";

/**
 * @typedef {import("./reducer.js").Frame} Frame
 * @typedef {import("./reducer.js").Own} Own
 * @typedef {import("./reducer.js").Unsent} Unsent
 */

/** Unsent messages outlive a reload of their tab: `{user_id, unsent}`. */
const OUTBOX = "netra.unsent";

const session = new Session();
let state = EMPTY;
let open = threadOfAddress();
/** @type {import("./socket.js").Status} */
let connection = { phase: "connecting", attempt: 0, retry_at: 0 };
let account = "";
let userId = "";
let listedPages = 0;
let more = false;
/** Signing out on purpose: whoever signs in next does not come back here. */
let leaving = false;

/** @returns {string | null} */
function threadOfAddress() {
  return /^\/c\/([0-9a-f-]{36})$/i.exec(location.pathname)?.[1].toLowerCase() ?? null;
}

/** A random UUID; `crypto.randomUUID` is not there on an address that is neither HTTPS nor this machine. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** @param {Frame | Own} event */
function tell(event) {
  const before = state;
  state = reduce(state, event);
  if (state.unsent !== before.unsent && userId) keepUnsent();
  render();
}

function render() {
  view.render({ state, open, connection, account, more });
}

function keepUnsent() {
  const unsent = state.unsent.filter((message) => message.status !== "accepted");
  sessionStorage.setItem(OUTBOX, JSON.stringify({ user_id: userId, unsent }));
}

/** Unsent messages of this user; those of somebody else who used this tab are dropped. */
function restoreUnsent() {
  const kept = JSON.parse(sessionStorage.getItem(OUTBOX) ?? "null");
  const written = new Set(state.unsent.map((message) => message.client_msg_id));
  /** @type {Unsent[]} */
  const own = kept?.user_id === userId ? kept.unsent : [];
  tell({
    type: "unsent_restored",
    unsent: [...own.filter((message) => !written.has(message.client_msg_id)), ...state.unsent],
  });
}

function toSignIn() {
  session.forget();
  const back = open && !leaving ? `?next=${encodeURIComponent(`/c/${open}`)}` : "";
  location.replace(`/login${back}`);
}

/**
 * Do it; say in words why it did not work.
 * @param {() => Promise<unknown>} work
 */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof SignedOut) toSignIn();
    else if (error instanceof ApiError) view.notice(error.message);
    else if (error instanceof TypeError) view.notice("The server cannot be reached.");
    else throw error;
  }
}

/** @param {number} page */
async function listThreads(page) {
  const answer = await session.threads(page);
  listedPages = Math.max(listedPages, page);
  if (page === listedPages) more = answer.has_more;
  tell({ type: "threads_listed", threads: answer.threads });
}

/** @param {string} thread_id */
async function readTitle(thread_id) {
  tell({ type: "threads_listed", threads: [await session.thread(thread_id)] });
}

/**
 * @param {string} thread_id
 * @param {number} head
 */
async function readMessages(thread_id, head) {
  tell({ type: "thread_fetched", thread_id, head, messages: await session.messages(thread_id) });
  socket.resume(thread_id, head);
}

/** @param {string} thread_id */
const last = (thread_id) => state.threads.get(thread_id)?.last ?? 0;

/**
 * Follow a thread's log from where this page has it.
 * @param {string} thread_id
 * @param {boolean} fresh it is new: there is no log to read
 */
function follow(thread_id, fresh) {
  tell({ type: "thread_opened", thread_id, at: new Date().toISOString(), fresh });
  if (!fresh) socket.resume(thread_id, last(thread_id));
}

/** @param {string | null} thread_id */
function show(thread_id) {
  open = thread_id;
  if (thread_id) follow(thread_id, false);
  render();
  view.focus();
}

/** @param {Frame} frame */
function take(frame) {
  const known = state.threads.get(frame.thread_id);
  tell(frame);
  switch (frame.type) {
    case "connection_established":
      view.clock(frame.data.server_time);
      return;
    case "message_created":
      if (!known?.title) void attempt(() => readTitle(frame.thread_id));
      break;
    case "resync":
      void attempt(() => readMessages(frame.thread_id, frame.head));
      return;
    case "thread_deleted":
      if (frame.thread_id === open) leave();
      return;
    case "error":
      return refused(String(frame.ref ?? ""), frame);
    default:
  }
  const thread = state.threads.get(frame.thread_id);
  if (thread && thread.gap > thread.last) socket.resume(thread.id, thread.last);
}

/** Away from a thread that is gone. */
function leave() {
  history.replaceState(null, "", "/");
  show(null);
}

/**
 * @param {string} ref
 * @param {Frame} frame
 */
function refused(ref, frame) {
  const stop = refusedStop(ref);
  const resume = refusedResume(ref);
  if ((stop || resume) && SENT_AGAIN.has(frame.error_code)) return;
  if (stop) tell({ type: "stop_refused", run_id: stop });
  if (resume && frame.error_code === "not_found") tell({ type: "thread_missing", thread_id: resume });
  else if (!state.unsent.some((message) => message.client_msg_id === ref)) view.notice(String(frame.message));
}

const socket = new Socket(session, {
  frame: take,
  status(status) {
    connection = status;
    render();
  },
  established(user_id) {
    if (userId && userId !== user_id) return location.reload();
    userId = user_id;
    restoreUnsent();
    void attempt(() => listThreads(1));
    if (!account) {
      void attempt(async () => {
        const { name, email } = await session.me();
        account = name || email;
        render();
      });
    }
  },
  unsent: () => state.unsent.filter((message) => message.status === "sending"),
  following: () => (open ? { thread_id: open, after: last(open) } : null),
  after: last,
  signedOut: toSignIn,
});

const view = new View({
  send(content) {
    const thread_id = open ?? uuid();
    if (!open) {
      history.pushState(null, "", `/c/${thread_id}`);
      open = thread_id;
      follow(thread_id, true);
    }
    const message = { client_msg_id: uuid(), thread_id, content: content.toWellFormed() };
    tell({ type: "message_written", ...message });
    socket.message(message);
  },
  stop(run_id) {
    tell({ type: "stop_asked", run_id });
    socket.stop(run_id);
  },
  retryMessage(client_msg_id) {
    const message = state.unsent.find((one) => one.client_msg_id === client_msg_id);
    tell({ type: "message_retried", client_msg_id });
    if (message) socket.message(message);
  },
  discardMessage(client_msg_id) {
    tell({ type: "message_discarded", client_msg_id });
  },
  open(thread_id) {
    const path = thread_id ? `/c/${thread_id}` : "/";
    if (path !== location.pathname) history.pushState(null, "", path);
    show(thread_id);
  },
  rename(title) {
    const thread_id = open;
    if (thread_id)
      void attempt(async () => tell({ type: "threads_listed", threads: [await session.rename(thread_id, title)] }));
  },
  remove() {
    const thread_id = open;
    if (!thread_id) return;
    void attempt(async () => {
      await session.remove(thread_id);
      if (open === thread_id) leave();
      tell({ type: "thread_deleted", thread_id });
    });
  },
  reconnect: () => socket.retry(),
  signOut() {
    leaving = true;
    void attempt(async () => {
      await session.logout();
      socket.close();
      sessionStorage.removeItem(OUTBOX);
      toSignIn();
    }).finally(() => {
      leaving = false;
    });
  },
  moreThreads() {
    void attempt(() => listThreads(listedPages + 1));
  },
});

if (maybeSignedIn()) {
  addEventListener("popstate", () => show(threadOfAddress()));
  onSignOutElsewhere(toSignIn);
  show(open);
  socket.start();
} else {
  toSignIn();
}
