/** The chat page: socket → reducer → view, and what a person does back the other way. */

import { ApiError, onSignOutElsewhere, Session, SignedOut, signedInAs, uuid } from "./api.js";
import { preview } from "./attachments.js";
import { leaf, path } from "./branches.js";
import { save } from "./element.js";
import { EMPTY, reduce, SENT_AGAIN } from "./reducer.js";
import { refusedResume, refusedStop, Socket } from "./socket.js";
import { View } from "./view.js";

/**
 * @typedef {import("./reducer.js").Frame} Frame
 * @typedef {import("./reducer.js").Own} Own
 * @typedef {import("./reducer.js").Unsent} Unsent
 * @typedef {import("./reducer.js").Written} Written
 * @typedef {import("./reducer.js").Attachment} Attachment
 */

/** What is unsent outlives a reload of its tab: `{user_id, unsent, stopping}`. */
const OUTBOX = "netra.unsent";
/** When reading is tried again where the server is not well, in milliseconds. */
const AGAIN_MS = 3_000;
/** How long a deletion can be taken back, in milliseconds. */
const UNDO_MS = 6_000;

const session = new Session();
let state = EMPTY;
let open = threadOfAddress();
/** @type {import("./socket.js").Status} */
let connection = { phase: "connecting", attempt: 0, retry_at: 0 };
let account = "";
const userId = signedInAs() ?? "";
let listedPages = 0;
let more = false;
/** @type {import("./api.js").Agent[]} */
let agents = [];
/** @type {Map<string, string>} thread id (empty: a new one) to the agent that was chosen for it */
const chosenAgents = new Map();
/** @type {Map<string, {timer: number, withdraw: () => void}>} threads that are deleted when their time is over */
const removals = new Map();
/** The thread whose log is being read without a socket. */
let reading = "";
/** Threads whose messages are being read, because their log cannot answer. */
const fetching = new Set();
/** Signing out on purpose: whoever signs in next does not come back here. */
let leaving = false;

/** @returns {string | null} */
function threadOfAddress() {
  return /^\/c\/([0-9a-f-]{36})$/i.exec(location.pathname)?.[1].toLowerCase() ?? null;
}

/** @param {Frame | Own} event */
function tell(event) {
  const before = state;
  state = reduce(state, event);
  if (state.unsent !== before.unsent || state.stopping !== before.stopping) keepUnsent();
  render();
}

function render() {
  const removing = new Set(removals.keys());
  view.render({ state, open, connection, account, more, removing, agents, agent: agentOf(open) });
}

/**
 * @param {string | null} thread_id
 * @returns {string} the agent that the next message there goes to
 */
function agentOf(thread_id) {
  const own = thread_id ? state.threads.get(thread_id)?.agent : "";
  const first = agents.find(({ available }) => available)?.name ?? "";
  return chosenAgents.get(thread_id ?? "") || own || first;
}

function keepUnsent() {
  const unsent = state.unsent.filter((message) => message.status !== "accepted");
  sessionStorage.setItem(OUTBOX, JSON.stringify({ user_id: userId, unsent, stopping: [...state.stopping] }));
}

/** What this user had not sent before a reload. Of somebody else who used this tab nothing stays. */
function restoreUnsent() {
  const kept = JSON.parse(sessionStorage.getItem(OUTBOX) ?? "null");
  if (!kept) return;
  if (kept.user_id === userId) return tell({ type: "outbox_restored", unsent: kept.unsent, stopping: kept.stopping });
  sessionStorage.removeItem(OUTBOX);
  view.forget();
}

function toSignIn() {
  session.forget();
  const back = open && !leaving ? `?next=${encodeURIComponent(`/c/${open}`)}` : "";
  location.replace(`/login${back}`);
}

/**
 * Do it; say in words why it did not work.
 * @param {() => Promise<unknown>} work
 * @param {(error: ApiError) => void} [failed] instead of saying it
 */
async function attempt(work, failed = ({ message }) => view.notice(message)) {
  try {
    await work();
  } catch (error) {
    if (error instanceof SignedOut) toSignIn();
    else if (error instanceof ApiError) failed(error);
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
 * The log cannot answer from where this page is: read the messages, then what the log still has.
 * @param {string} thread_id
 * @param {number} first the seq that the log begins with
 */
async function readMessages(thread_id, first) {
  if (fetching.has(thread_id)) return;
  fetching.add(thread_id);
  const resume = () => socket.resume(thread_id, last(thread_id));
  await attempt(
    async () => {
      tell({ type: "thread_fetched", thread_id, first, messages: await session.messages(thread_id) });
      resume();
    },
    ({ status }) => {
      if (status === 404) tell({ type: "thread_missing", thread_id });
      else setTimeout(resume, AGAIN_MS);
    },
  );
  fetching.delete(thread_id);
}

/**
 * Show a stored thread before there is a socket, which then goes on where this ends.
 * @param {string} thread_id
 */
async function readAhead(thread_id) {
  reading = thread_id;
  await attempt(
    async () => {
      for (let rest = true; rest && open === thread_id;) {
        const { events, more: further } = await session.events(thread_id, last(thread_id));
        state = events.reduce(reduce, state);
        // Where the log's start is pruned the socket says what to do.
        rest = further && last(thread_id) >= (events.at(-1)?.seq ?? 0);
        if (events.length === 0 || last(thread_id) >= events[0].seq) {
          tell({ type: "resumed", thread_id, more: rest });
        }
      }
    },
    ({ status }) => {
      if (status === 404) tell({ type: "thread_missing", thread_id });
    },
  );
  if (reading === thread_id) reading = "";
  if (open === thread_id) socket.resume(thread_id, last(thread_id));
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
  if (fresh) return;
  if (connection.phase === "online") socket.resume(thread_id, last(thread_id));
  else if (!state.unsent.some((one) => one.thread_id === thread_id)) void readAhead(thread_id);
}

/**
 * @param {Pick<Written, "thread_id" | "content" | "attachments"> & Partial<Written>} what
 * @returns {string} its client_msg_id
 */
function write(what) {
  const client_msg_id = uuid();
  const written = { follows: null, agent: null, regenerates: null, ...what, client_msg_id };
  tell({ type: "message_written", written: { ...written, content: what.content.toWellFormed() } });
  socket.flush();
  return client_msg_id;
}

/**
 * What a new message in this thread follows: the last one that the log does not have yet, or the last one that is shown.
 * @param {string} thread_id
 * @returns {Partial<Written>}
 */
function place(thread_id) {
  const before = state.unsent.findLast(
    (one) => one.thread_id === thread_id && !one.regenerates && one.status !== "failed",
  );
  if (before?.message_id) return { parent_id: before.message_id };
  if (before) return { follows: before.client_msg_id };
  const parent_id = leaf(state.threads.get(thread_id));
  return parent_id === undefined ? {} : { parent_id };
}

/** @param {string} thread_id deleted now, with nobody waiting for the answer */
function removeAtOnce(thread_id) {
  takeBack(thread_id);
  session.removeAtOnce(thread_id);
}

/** @param {string} thread_id whose deletion is not to come any more */
function takeBack(thread_id) {
  const removal = removals.get(thread_id);
  if (!removal) return;
  clearTimeout(removal.timer);
  removal.withdraw();
  removals.delete(thread_id);
}

/** @param {string} thread_id */
function removeLater(thread_id) {
  const undo = () => {
    takeBack(thread_id);
    history.pushState(null, "", `/c/${thread_id}`);
    show(thread_id);
  };
  const withdraw = view.offer("The conversation is deleted.", undo);
  const timer = setTimeout(() => {
    withdraw();
    void attempt(async () => {
      await session.remove(thread_id);
      tell({ type: "thread_deleted", thread_id });
    }).finally(() => {
      takeBack(thread_id);
      render();
    });
  }, UNDO_MS);
  removals.set(thread_id, { timer, withdraw });
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
      void readMessages(frame.thread_id, frame.first);
      return;
    case "thread_deleted":
      takeBack(frame.thread_id);
      if (frame.thread_id === open) leave();
      return;
    case "error":
      return refused(String(frame.ref ?? ""), frame);
    default:
  }
  // It may have given what waited for it the message that it follows.
  if (frame.type === "message_accepted" || frame.type === "message_created") socket.flush();
  const thread = state.threads.get(frame.thread_id);
  if (thread && thread.gap > thread.last && !fetching.has(thread.id)) socket.resume(thread.id, thread.last);
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
    if (userId !== user_id) {
      // Nothing of the one may go out in the other's name.
      socket.close();
      return location.reload();
    }
    void attempt(async () => {
      await listThreads(1);
      if (open && last(open) > 0 && !state.threads.get(open)?.title) await readTitle(open);
    });
    void attempt(async () => {
      agents = (await session.agents()).agents;
      render();
    });
    if (!account) {
      void attempt(async () => {
        const { name, email } = await session.me();
        account = name || email;
        render();
      });
    }
  },
  unsent: () => state.unsent.filter((one) => one.status === "sending" && one.follows === null),
  stopping: () => state.stopping,
  following: () => (open && open !== reading ? { thread_id: open, after: last(open) } : null),
  after: last,
  signedOut: toSignIn,
});

const view = new View({
  send(content, attachments) {
    const thread_id = open ?? uuid();
    const agent = chosenAgents.get(open ?? "") ?? null;
    if (!open) {
      history.pushState(null, "", `/c/${thread_id}`);
      if (agent) chosenAgents.set(thread_id, agent);
      chosenAgents.delete("");
      open = thread_id;
      follow(thread_id, true);
    }
    write({ thread_id, content, attachments, agent, ...place(thread_id) });
  },
  edit({ parent_id, attachments }, content) {
    if (open) write({ thread_id: open, content, attachments, parent_id, agent: chosenAgents.get(open) ?? null });
  },
  requeue(run_id, content) {
    const thread_id = open;
    const exchanges = path(thread_id ? state.threads.get(thread_id) : undefined);
    const at = exchanges.findIndex(({ run }) => run?.id === run_id);
    if (!thread_id || at < 0) return;
    // Those behind it follow it: they are sent again, so that nothing they are answered from has it any more.
    const [changed, ...behind] = exchanges.slice(at);
    if (changed.versions.length > 1) {
      // Only another answer waits: its message and all that follows it stay.
      this.stop(run_id);
      if (content !== null) this.edit(changed.message, content);
      return;
    }
    const waiting = [changed, ...behind.filter(({ run }) => run?.status === "queued")];
    for (const { run } of waiting.toReversed()) if (run) this.stop(run.id);
    /** @type {Partial<Written>} */
    let place = { parent_id: waiting[0].message.parent_id };
    for (const [index, { message, run }] of waiting.entries()) {
      const words = index > 0 ? message.content : content;
      if (words === null) continue;
      const { attachments } = message;
      place = { follows: write({ thread_id, content: words, attachments, agent: run?.agent || null, ...place }) };
    }
  },
  regenerate(answer_id) {
    if (!open) return;
    write({
      thread_id: open,
      content: "",
      attachments: [],
      regenerates: answer_id,
      agent: chosenAgents.get(open) ?? null,
    });
  },
  choose(id) {
    if (open) tell({ type: "branch_chosen", thread_id: open, id });
  },
  upload: (file, progress, signal) => session.upload(file, progress, signal),
  look(attachment, file) {
    const content = file?.size ? Promise.resolve(file) : session.content(attachment.id);
    void preview(attachment, content, (blob) => save(attachment.name, blob));
  },
  chooseAgent(agent) {
    chosenAgents.set(open ?? "", agent);
    render();
  },
  stop(run_id) {
    tell({ type: "stop_asked", run_id });
    socket.flush();
  },
  retryMessage(client_msg_id) {
    tell({ type: "message_retried", client_msg_id });
    socket.flush();
  },
  discardMessage(client_msg_id) {
    tell({ type: "message_discarded", client_msg_id });
    socket.flush();
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
    removeLater(thread_id);
    history.pushState(null, "", "/");
    show(null);
  },
  async search(words) {
    /** @type {import("./search.js").Found} */
    const found = { threads: [], failure: "" };
    await attempt(
      async () => {
        const { threads } = await session.search(words);
        found.threads = threads.filter(({ id }) => !removals.has(id));
      },
      ({ message }) => {
        found.failure = message;
      },
    );
    return found;
  },
  exportThread(format) {
    const thread_id = open;
    if (!thread_id) return;
    void attempt(async () => {
      const title = state.threads
        .get(thread_id)
        ?.title.replace(/[^\p{L}\p{N} ,.-]+/gu, " ")
        .trim()
        .slice(0, 60);
      save(`${title || "conversation"}.${format}`, await session.exported(thread_id, format));
    });
  },
  reconnect: () => socket.retry(),
  signOut() {
    leaving = true;
    for (const thread_id of [...removals.keys()]) removeAtOnce(thread_id);
    void attempt(async () => {
      await session.logout();
      socket.close();
      sessionStorage.removeItem(OUTBOX);
      view.forget();
      toSignIn();
    }).finally(() => {
      leaving = false;
    });
  },
  moreThreads() {
    void attempt(() => listThreads(listedPages + 1));
  },
});

if (signedInAs() !== null) {
  addEventListener("popstate", () => show(threadOfAddress()));
  // Who closes the tab has not asked to keep the conversation.
  addEventListener("pagehide", () => [...removals.keys()].forEach(removeAtOnce));
  onSignOutElsewhere(toSignIn);
  restoreUnsent();
  show(open);
  socket.start();
} else {
  toSignIn();
}
