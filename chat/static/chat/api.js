/**
 * REST with the access token, which lives in this module's memory and nowhere else. The refresh token is an HttpOnly
 * cookie that only `/auth` gets; `SIGNED_IN` in localStorage says no more than whose it is, if there may be one, so that a
 * first visit asks for nothing and a sign-out reaches the other tabs.
 */

const SIGNED_IN = "netra.signed_in";
const REFRESH_LOCK = "netra.refresh";
/** The key of a refresh whose answer has not come yet, in localStorage. */
const REFRESH_KEY = "netra.refreshing";
/** How long another tab's refresh may still take to put its new cookie in place. */
const ROTATION_MS = 600;
/** How long the server may take to answer, in milliseconds. */
const PATIENCE_MS = 20_000;

/**
 * @typedef {{id: string, email: string, name: string}} User
 * @typedef {{name: string, description: string, available: boolean, reason?: string}} Agent
 * @typedef {{id: string, current: boolean, user_agent: string, created_at: string, used_at: string}} SignIn
 * @typedef {import("./reducer.js").ListedThread} ListedThread
 */

/** Why there is no good answer, in words. `status` is 0 where none came at all; `field` names the input that it is about; `retry_after` is in seconds. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {Record<string, any>} body
   */
  constructor(status, body) {
    super(typeof body.message === "string" ? body.message : `The server answered ${status}.`);
    this.status = status;
    this.code = typeof body.error === "string" ? body.error : "";
    this.field = typeof body.field === "string" ? body.field : null;
    this.retry_after = typeof body.retry_after === "number" ? body.retry_after : null;
  }
}

const unreachable = () => new ApiError(0, { message: "The server cannot be reached." });

/** There is no session any more: only signing in again helps. */
export class SignedOut extends Error {}

/** A random UUID; `crypto.randomUUID` is not there on an address that is neither HTTPS nor this machine. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {Record<string, string>} [more] headers
 * @returns {Promise<any>} the answer's JSON; null where there is none
 */
async function call(method, path, body, more = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", ...more };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
  const { status, text } = await fetch(path, {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
    credentials: "same-origin",
    // A page that goes has its refresh finished all the same.
    keepalive: path.startsWith("/auth/"),
    signal: patience.signal,
  })
    .then(async (response) => ({ status: response.status, text: await response.text() }))
    .catch(() => {
      throw unreachable();
    })
    .finally(() => clearTimeout(timer));
  const answer = parsed(text);
  if (status >= 400) throw new ApiError(status, answer ?? {});
  return answer;
}

/** @param {string} token */
const bearer = (token) => ({ Authorization: `Bearer ${token}` });

/**
 * @param {string} text
 * @returns {any}
 */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @returns {string | null} the id of the user who may be signed in here */
export const signedInAs = () => localStorage.getItem(SIGNED_IN);

/** @param {() => void} listener called when another tab signs out */
export function onSignOutElsewhere(listener) {
  addEventListener("storage", (event) => {
    if ((event.key === SIGNED_IN || event.key === null) && signedInAs() === null) listener();
  });
}

/** @param {Record<string, string>} fields email, password and maybe name */
export const register = (fields) => enter("/auth/register", fields);

/** @param {Record<string, string>} fields email and password */
export const login = (fields) => enter("/auth/login", fields);

/**
 * @param {string} path
 * @param {Record<string, string>} fields
 */
async function enter(path, fields) {
  const { user } = await call("POST", path, { ...fields, session: "cookie" });
  localStorage.setItem(SIGNED_IN, user.id);
}

/** One sign-in, as this page holds it. */
export class Session {
  #token = "";
  #expires = 0;
  /** @type {Promise<void> | null} */
  #refreshing = null;

  /** @returns {number} how long the access token is still good for, in milliseconds; 0: there is none */
  get remaining() {
    return Math.max(0, this.#expires - performance.now());
  }

  /** @returns {Promise<string>} an access token with some life left; SignedOut when there is none to be had */
  async token() {
    if (this.remaining < 5_000) await this.refresh();
    return this.#token;
  }

  /** A new access token. SignedOut when the session is over; ApiError when the server is not well. */
  async refresh() {
    this.#refreshing ??= this.#refreshAlone().finally(() => {
      this.#refreshing = null;
    });
    await this.#refreshing;
  }

  async #refreshAlone() {
    const answer = await alone();
    this.#keep(answer);
    localStorage.setItem(SIGNED_IN, answer.user.id);
  }

  /** @param {{access_token: string, expires_in: number}} tokens */
  #keep({ access_token, expires_in }) {
    this.#token = access_token;
    this.#expires = performance.now() + expires_in * 1000;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>}
   */
  async call(method, path, body) {
    const token = await this.token();
    try {
      return await call(method, path, body, bearer(token));
    } catch (error) {
      if (!isUnauthorized(error)) throw error;
    }
    await this.refresh();
    return call(method, path, body, bearer(this.#token));
  }

  /**
   * End the session at the server, then here.
   * @param {boolean} [everywhere] all sessions of the user
   */
  async logout(everywhere = false) {
    try {
      await call("POST", "/auth/logout", everywhere ? { everywhere } : {});
    } catch (error) {
      if (!isUnauthorized(error)) throw error;
    }
    this.forget();
  }

  /** What is left of a session that the server has ended. */
  forget() {
    this.#token = "";
    this.#expires = 0;
    localStorage.removeItem(SIGNED_IN);
  }

  /** @returns {Promise<User>} */
  me() {
    return this.call("GET", "/auth/me");
  }

  /**
   * @param {number} page from 1
   * @returns {Promise<{threads: ListedThread[], has_more: boolean}>}
   */
  threads(page) {
    return this.call("GET", `/api/threads?page=${page}&page_size=100`);
  }

  /**
   * @param {string} words looked for in titles and messages
   * @returns {Promise<{threads: ListedThread[]}>}
   */
  search(words) {
    return this.call("GET", `/api/threads?page_size=20&q=${encodeURIComponent(words)}`);
  }

  /**
   * @param {string} id
   * @returns {Promise<ListedThread>}
   */
  thread(id) {
    return this.call("GET", `/api/threads/${id}`);
  }

  /**
   * @param {string} id
   * @param {number} after
   * @returns {Promise<{events: import("./reducer.js").Frame[], head: number, more: boolean}>}
   */
  events(id, after) {
    return this.call("GET", `/api/threads/${id}/events?after=${after}`);
  }

  /**
   * @param {string} id
   * @returns {Promise<import("./reducer.js").Message[]>} all of the thread's messages, oldest first
   */
  async messages(id) {
    const messages = [];
    for (let page = 1, more = true; more; page += 1) {
      const answer = await this.call("GET", `/api/threads/${id}/messages?page=${page}&page_size=100`);
      messages.push(...answer.messages);
      more = answer.has_more;
    }
    return messages;
  }

  /**
   * @param {string} id
   * @param {string} title
   */
  rename(id, title) {
    return this.call("PATCH", `/api/threads/${id}`, { title });
  }

  /** @param {string} id */
  remove(id) {
    return this.call("DELETE", `/api/threads/${id}`);
  }

  /**
   * For a page that is about to be gone: the request outlives it, nobody hears the answer.
   * @param {string} id
   */
  removeAtOnce(id) {
    void fetch(`/api/threads/${id}`, {
      method: "DELETE",
      headers: bearer(this.#token),
      keepalive: true,
    });
  }

  /**
   * @param {string} id
   * @param {"md" | "json"} format
   * @returns {Promise<Blob>}
   */
  exported(id, format) {
    return this.#read(`/api/threads/${id}/export?format=${format}`);
  }

  /**
   * @param {string} id of an attachment
   * @returns {Promise<Blob>}
   */
  content(id) {
    return this.#read(`/api/attachments/${id}/content`);
  }

  /** @param {string} path */
  async #read(path) {
    const response = await fetch(path, { headers: bearer(await this.token()) }).catch(() => {
      throw unreachable();
    });
    if (!response.ok) throw new ApiError(response.status, parsed(await response.text()) ?? {});
    return response.blob();
  }

  /** @returns {Promise<{agents: Agent[]}>} */
  agents() {
    return this.call("GET", "/api/agents");
  }

  /**
   * @param {File} file
   * @param {(share: number) => void} progress from 0 to 1
   * @param {AbortSignal} signal
   * @returns {Promise<import("./reducer.js").Attachment>}
   */
  async upload(file, progress, signal) {
    const body = new FormData();
    body.append("file", file);
    const token = await this.token();
    return new Promise((resolve, reject) => {
      // fetch does not tell how much has been sent.
      const request = new XMLHttpRequest();
      request.open("POST", "/api/attachments");
      request.setRequestHeader("Authorization", `Bearer ${token}`);
      request.upload.onprogress = ({ loaded, total }) => progress(total ? loaded / total : 0);
      request.onload = () => {
        const answer = parsed(request.responseText);
        if (request.status === 201) resolve(answer);
        else reject(new ApiError(request.status, answer ?? {}));
      };
      request.onerror = () => reject(unreachable());
      signal.addEventListener("abort", () => request.abort());
      request.send(body);
    });
  }

  /** @param {string} name @returns {Promise<User>} */
  renameMe(name) {
    return this.call("PATCH", "/auth/me", { name });
  }

  /**
   * Every other session ends, and with the old password the old tokens.
   * @param {string} current
   * @param {string} fresh
   */
  async changePassword(current, fresh) {
    this.#keep(await this.call("POST", "/auth/password", { current, new: fresh }));
  }

  /** @returns {Promise<{sessions: SignIn[]}>} */
  sessions() {
    return this.call("GET", "/auth/sessions?page_size=100");
  }

  /** @param {string} id */
  endSession(id) {
    return this.call("DELETE", `/auth/sessions/${id}`);
  }
}

/** @typedef {{access_token: string, expires_in: number, user: User}} Tokens */

/** @returns {Promise<Tokens>} */
async function alone() {
  if (navigator.locks) return navigator.locks.request(REFRESH_LOCK, rotated);
  // Without a secure context there are no locks: of two tabs that spend the same cookie one is refused, and tries again.
  try {
    return await rotated();
  } catch (error) {
    if (!(error instanceof SignedOut)) throw error;
  }
  await new Promise((resolve) => setTimeout(resolve, ROTATION_MS));
  return rotated();
}

/**
 * The server spends the cookie before its answer arrives. Whoever asks again because none did, be it after a reload or in
 * another tab, does so with the same key, and is not refused.
 * @returns {Promise<Tokens>}
 */
async function rotated() {
  const key = localStorage.getItem(REFRESH_KEY) ?? uuid();
  localStorage.setItem(REFRESH_KEY, key);
  try {
    const answer = await call("POST", "/auth/refresh", {}, { "Idempotency-Key": key });
    localStorage.removeItem(REFRESH_KEY);
    return answer;
  } catch (error) {
    if (!isUnauthorized(error)) throw error;
    localStorage.removeItem(REFRESH_KEY);
    throw new SignedOut();
  }
}

/** @param {unknown} error */
const isUnauthorized = (error) => error instanceof ApiError && error.status === 401;
