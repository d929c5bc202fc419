/**
 * The connection: one live WebSocket to `/ws`, opened again whenever it is lost, with a token that stays fresh.
 * It hands every frame on and keeps no state of threads; what it must send after connecting it asks for.
 */

import { SENT_AGAIN } from "../state/outbox.js";
import { t } from "../text/strings.js";
import { BASE } from "./base.js";
import { SignedOut } from "./http.js";

/**
 * @typedef {import("./frames.js").ServerFrame} Frame
 *
 * @typedef {object} Status
 * @property {"connecting" | "online" | "waiting" | "closed"} phase
 * @property {number} attempt how many tries in a row have failed
 * @property {number} retry_at when the next try is due, in `Date.now()` milliseconds; 0: none is
 *
 * @typedef {object} Owner what the socket asks of the page
 * @property {(frame: Frame) => void} frame a frame came
 * @property {(status: Status) => void} status
 * @property {(user_id: string) => void} established the server greeted; comes before anything is sent
 * @property {() => import("../state/model.js").Unsent[]} unsent what can be sent now and was not accepted so far
 * @property {() => import("../state/model.js").GivenAnswer[]} answers to input requests, not in the log yet and not refused
 * @property {() => Iterable<string>} stopping the runs that are to be stopped and have not ended
 * @property {() => {thread_id: string, after: number} | null} following the open thread and the last seq it has
 * @property {(thread_id: string) => number} after the last seq of a thread
 * @property {() => void} signedOut only signing in again helps
 */

const BACKOFF_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** A connection that lived this long has ended a row of failures. */
const STEADY_MS = 10_000;
const GREETING_MS = 15_000;
const PONG_MS = 10_000;
const PROBE_MS = 4_000;
/** What may arrive before an `ack`; the server sends at most 1 MiB ahead of one. */
const ACK_CHARACTERS = 256 * 1024;
const ACK_MS = 1_000;
/** A token is renewed when a fifth of its life is left, at the latest this long before its end. */
const REFRESH_SHARE = 0.8;
const REFRESH_BEFORE_MS = 5_000;

const SIGNED_OUT = 4401;
const TOO_MANY = 4429;

const RESUME = "resume:";
const STOP = "stop:";

/**
 * @param {string} ref of an `error`
 * @returns {string | null} the run whose stop it refuses
 */
export const refusedStop = (ref) => (ref.startsWith(STOP) ? ref.slice(STOP.length) : null);

/**
 * @param {string} ref of an `error`
 * @returns {string | null} the thread whose resume it refuses
 */
export const refusedResume = (ref) => (ref.startsWith(RESUME) ? ref.slice(RESUME.length) : null);

/**
 * A token as a subprotocol's characters allow it: base64url without padding.
 * @param {string} token
 */
const base64url = (token) => btoa(token).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

export class Socket {
  #session;
  #owner;
  /** @type {WebSocket | null} */
  #live = null;
  #online = false;
  #closed = false;
  #revoked = false;
  #attempt = 0;
  /** The next try needs a new token: the last was refused, and a refusal does not say why. */
  #suspect = false;
  #renewed = false;
  /** What the server takes in one frame, in bytes. */
  #maxFrame = 0;
  #received = 0;
  #unacked = 0;
  #heartbeat = 0;
  #pongTimer = 0;
  #ackTimer = 0;
  #retryTimer = 0;
  #refreshTimer = 0;
  #steadyTimer = 0;
  /** @type {Set<string>} threads whose log is on its way */
  #resuming = new Set();
  /** @type {Set<string>} what this connection has sent */
  #sent = new Set();
  /** @type {Set<string>} messages of an earlier connection, whose events may have been missed */
  #resent = new Set();

  /**
   * @param {import("./session.js").Session} session
   * @param {Owner} owner
   */
  constructor(session, owner) {
    this.#session = session;
    this.#owner = owner;
  }

  start() {
    addEventListener("online", () => this.retry());
    addEventListener("offline", () => this.#probe(PROBE_MS));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState !== "visible") return;
      if (this.#online) this.#probe(PROBE_MS);
      else this.retry();
    });
    void this.#open();
  }

  /** Try now instead of waiting. */
  retry() {
    if (this.#retryTimer) void this.#open();
  }

  /** Close for good. */
  close() {
    this.#closed = true;
    this.#drop();
    this.#report("closed");
  }

  /** Send what is unsent: now, or after connecting. Stops go first: a message may stand for one that is stopped. */
  flush() {
    if (!this.#online) return;
    for (const run_id of this.#owner.stopping()) {
      const id = STOP + run_id;
      if (!this.#sent.has(id)) this.#send({ type: "stop_agent", id, run_id });
      this.#sent.add(id);
    }
    for (const answer of this.#owner.answers()) {
      const { request_id: id } = answer;
      if (!this.#sent.has(id)) this.#put({ type: "answer_input", id, ...answer }, id);
    }
    for (const one of this.#owner.unsent()) if (!this.#sent.has(one.client_msg_id)) this.#submit(one);
  }

  /** @param {import("../state/model.js").Unsent} unsent */
  #submit(unsent) {
    const { client_msg_id, thread_id, content, agent, regenerates } = unsent;
    const named = agent ? { agent } : {};
    /** @type {import("./frames.js").UserMessage | import("./frames.js").Regenerate} */
    const frame = regenerates
      ? { type: "regenerate", client_msg_id, message_id: regenerates, ...named }
      : {
          type: "user_message",
          client_msg_id,
          thread_id,
          content,
          ...named,
          ...("parent_id" in unsent ? { parent_id: unsent.parent_id } : {}),
          ...(unsent.attachments.length > 0 ? { attachment_ids: unsent.attachments.map(({ id }) => id) } : {}),
        };
    this.#put(frame, client_msg_id);
  }

  /**
   * Send a frame once on this connection, unless the server would refuse it unread, and so could not name it.
   * @param {import("./frames.js").ClientFrame} frame
   * @param {string} ref names it in an error
   */
  #put(frame, ref) {
    if (new Blob([JSON.stringify(frame)]).size <= this.#maxFrame) {
      this.#sent.add(ref);
      return this.#send(frame);
    }
    this.#sent.delete(ref);
    this.#resent.delete(ref);
    const key = frame.type === "answer_input" ? "request.limit" : "message.limit";
    const message = t(key, { limit: Math.floor(this.#maxFrame / 1024) });
    this.#owner.frame({ type: "error", error_code: "too_large", message, recoverable: true, ref });
  }

  /**
   * The thread's events after this one, then live.
   * @param {string} thread_id
   * @param {number} after
   */
  resume(thread_id, after) {
    if (!this.#online || this.#resuming.has(thread_id)) return;
    this.#resuming.add(thread_id);
    this.#send({ type: "resume", id: RESUME + thread_id, thread_id, after });
  }

  async #open() {
    this.#drop();
    this.#report("connecting");
    let token;
    try {
      if (this.#suspect) await this.#session.refresh();
      token = await this.#session.token();
    } catch (error) {
      if (error instanceof SignedOut) return this.#signOut();
      return this.#wait();
    }
    if (this.#closed) return;
    this.#renewed = this.#suspect;
    this.#suspect = false;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${BASE}/ws`, ["jwt-auth", `jwt.${base64url(token)}`]);
    this.#live = socket;
    this.#pongTimer = setTimeout(() => this.#lost(0), GREETING_MS);
    socket.onmessage = ({ data }) => {
      if (socket === this.#live) this.#take(String(data));
    };
    socket.onclose = ({ code }) => {
      if (socket === this.#live) this.#lost(code);
    };
  }

  /** @param {number} code */
  #lost(code) {
    const refused = !this.#online;
    this.#drop();
    if (this.#closed) return;
    if (this.#revoked) return this.#signOut();
    if (code === SIGNED_OUT || refused) {
      if (code === SIGNED_OUT && this.#renewed) return this.#signOut();
      this.#suspect = !this.#renewed;
    }
    if (code === TOO_MANY) this.#attempt = Math.max(this.#attempt, 5);
    this.#wait();
  }

  /** Full jitter: any time up to a bound that doubles with every failure. */
  #wait() {
    if (this.#closed) return;
    const delay = Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#retryTimer = setTimeout(() => void this.#open(), delay);
    this.#report("waiting", Date.now() + delay);
  }

  #signOut() {
    this.close();
    this.#owner.signedOut();
  }

  /** Forget the socket and all that belongs to it. */
  #drop() {
    const socket = this.#live;
    this.#live = null;
    this.#online = false;
    for (const timer of [this.#pongTimer, this.#ackTimer, this.#retryTimer, this.#refreshTimer, this.#steadyTimer]) {
      clearTimeout(timer);
    }
    clearInterval(this.#heartbeat);
    this.#pongTimer = this.#ackTimer = this.#retryTimer = 0;
    this.#received = this.#unacked = 0;
    this.#resuming.clear();
    this.#sent.clear();
    this.#resent.clear();
    socket?.close();
  }

  /**
   * @param {Status["phase"]} phase
   * @param {number} [retry_at]
   */
  #report(phase, retry_at = 0) {
    this.#owner.status({ phase, attempt: this.#attempt, retry_at });
  }

  /** @param {import("./frames.js").ClientFrame} frame */
  #send(frame) {
    if (this.#online) this.#live?.send(JSON.stringify(frame));
  }

  /** @param {string} text */
  #take(text) {
    /** @type {Frame} */
    const frame = JSON.parse(text);
    this.#received += 1;
    this.#unacked += text.length;
    clearTimeout(this.#pongTimer);
    this.#pongTimer = 0;
    this.#obey(frame);
    this.#owner.frame(frame);
    if (this.#unacked >= ACK_CHARACTERS) this.#ack();
    else this.#ackTimer ||= setTimeout(() => this.#ack(), ACK_MS);
  }

  #ack() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = this.#unacked = 0;
    this.#send({ type: "ack", received: this.#received });
  }

  /** @param {Frame} frame */
  #obey(frame) {
    switch (frame.type) {
      case "connection_established":
        return this.#greeted(frame.data);
      case "token_expiring":
        return void this.#renew();
      case "session_revoked":
        this.#revoked = true;
        return;
      case "message_accepted":
        if (frame.client_msg_id && this.#resent.delete(frame.client_msg_id)) {
          this.resume(frame.thread_id, this.#owner.after(frame.thread_id));
        }
        return;
      case "resumed":
        this.#resuming.delete(frame.thread_id);
        if (frame.more) this.resume(frame.thread_id, frame.after);
        return;
      case "resync":
      case "thread_deleted":
        this.#resuming.delete(frame.thread_id);
        return;
      case "error":
        return this.#refused(String(frame.ref ?? ""), frame);
      default:
    }
  }

  /** @param {import("./frames.js").Greeting} data */
  #greeted(data) {
    this.#online = true;
    this.#maxFrame = data.limits.max_frame;
    this.#steadyTimer = setTimeout(() => {
      this.#attempt = 0;
      this.#renewed = false;
    }, STEADY_MS);
    this.#heartbeat = setInterval(() => this.#probe(PONG_MS), data.heartbeat_interval * 1000);
    this.#refreshLater();
    this.#owner.established(data.user_id);
    this.#report("online");
    this.#ack();
    this.#send({ type: "agent_status" });
    // What is unsent goes before the resume: it may be what creates the thread.
    for (const message of this.#owner.unsent()) this.#resent.add(message.client_msg_id);
    this.flush();
    this.#follow();
  }

  /** The open thread's log, unless a message that was sent to it is still to be answered. */
  #follow() {
    const open = this.#owner.following();
    const unsent = this.#owner.unsent().filter(({ client_msg_id }) => this.#resent.has(client_msg_id));
    if (open && !unsent.some((message) => message.thread_id === open.thread_id)) {
      this.resume(open.thread_id, open.after);
    }
  }

  /**
   * @param {string} ref
   * @param {import("./frames.js").ErrorFrame} frame
   */
  #refused(ref, frame) {
    const resume = refusedResume(ref);
    this.#sent.delete(ref);
    if (resume) this.#resuming.delete(resume);
    if (!SENT_AGAIN.has(frame.error_code)) {
      // Its acceptance would have had the thread's log follow.
      if (this.#resent.delete(ref)) this.#follow();
      return;
    }
    const socket = this.#live;
    setTimeout(
      () => {
        if (socket !== this.#live) return;
        this.flush();
        if (resume) this.resume(resume, this.#owner.after(resume));
      },
      (frame.retry_after ?? 2) * 1000,
    );
  }

  /**
   * A ping that must be answered by some frame.
   * @param {number} patience in milliseconds
   */
  #probe(patience) {
    if (!this.#online || this.#pongTimer) return;
    this.#send({ type: "ping" });
    this.#pongTimer = setTimeout(() => this.#lost(0), patience);
  }

  #refreshLater() {
    const remaining = this.#session.remaining;
    const delay = Math.min(remaining * REFRESH_SHARE, remaining - REFRESH_BEFORE_MS);
    this.#refreshTimer = setTimeout(() => void this.#renew(), Math.max(1_000, delay));
  }

  /** A new token onto the live socket; where there is none to be had now, its close decides. */
  async #renew() {
    clearTimeout(this.#refreshTimer);
    const socket = this.#live;
    try {
      await this.#session.refresh();
      if (socket !== this.#live) return;
      this.#send({ type: "authenticate", token: await this.#session.token() });
    } catch (error) {
      if (error instanceof SignedOut) return this.#signOut();
    }
    if (socket === this.#live) this.#refreshLater();
  }
}
