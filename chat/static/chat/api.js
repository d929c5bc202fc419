/**
 * REST with the access token, which lives in this module's memory and nowhere else. The refresh token is an HttpOnly
 * cookie that only `/auth` gets; `SIGNED_IN` in localStorage says no more than that there may be one, so that a first
 * visit asks for nothing and a sign-out reaches the other tabs.
 */

const SIGNED_IN = "netra.signed_in";
const REFRESH_LOCK = "netra.refresh";
/** How long another page's refresh, cut off by a reload, may still take to put its new cookie in place. */
const ROTATION_MS = 600;

/** @typedef {{id: string, email: string, name: string}} User */

/** A refusal in words. `field` names the input that it is about; `retry_after` is in seconds. */
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

/** There is no session any more: only signing in again helps. */
export class SignedOut extends Error {}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {string} [token]
 * @returns {Promise<any>} the answer's JSON; null where there is none
 */
async function call(method, path, body, token) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
    credentials: "same-origin",
    // A refresh that a reload cuts off would leave the browser with a spent cookie.
    keepalive: path.startsWith("/auth/"),
  });
  const text = await response.text();
  const answer = parsed(text);
  if (!response.ok) throw new ApiError(response.status, answer ?? {});
  return answer;
}

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

/** @returns {boolean} */
export const maybeSignedIn = () => localStorage.getItem(SIGNED_IN) !== null;

/** @param {() => void} listener called when another tab signs out */
export function onSignOutElsewhere(listener) {
  addEventListener("storage", (event) => {
    if ((event.key === SIGNED_IN || event.key === null) && !maybeSignedIn()) listener();
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
  await call("POST", path, { ...fields, session: "cookie" });
  localStorage.setItem(SIGNED_IN, "1");
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

  /** A new access token. SignedOut when the session is over; ApiError or TypeError when the server is not well. */
  async refresh() {
    this.#refreshing ??= this.#refreshAlone().finally(() => {
      this.#refreshing = null;
    });
    await this.#refreshing;
  }

  async #refreshAlone() {
    // Without a secure context there are no Web Locks; two tabs may then spend the same cookie, and one retries.
    const answer = navigator.locks ? await navigator.locks.request(REFRESH_LOCK, rotated) : await rotated();
    this.#token = answer.access_token;
    this.#expires = performance.now() + answer.expires_in * 1000;
    localStorage.setItem(SIGNED_IN, "1");
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
      return await call(method, path, body, token);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
    }
    await this.refresh();
    return call(method, path, body, this.#token);
  }

  /** End the session at the server, then here. */
  async logout() {
    try {
      await call("POST", "/auth/logout", {});
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
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
   * @returns {Promise<{threads: import("./reducer.js").ListedThread[], has_more: boolean}>}
   */
  threads(page) {
    return this.call("GET", `/api/threads?page=${page}&page_size=100`);
  }

  /**
   * @param {string} id
   * @returns {Promise<import("./reducer.js").ListedThread>}
   */
  thread(id) {
    return this.call("GET", `/api/threads/${id}`);
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
    return messages.sort((a, b) => a.created_at.localeCompare(b.created_at));
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
}

/** @returns {Promise<{access_token: string, expires_in: number}>} */
async function rotated() {
  try {
    return await call("POST", "/auth/refresh", {});
  } catch (error) {
    if (!isUnauthorized(error)) throw error;
  }
  await new Promise((resolve) => setTimeout(resolve, ROTATION_MS));
  try {
    return await call("POST", "/auth/refresh", {});
  } catch (error) {
    throw isUnauthorized(error) ? new SignedOut() : error;
  }
}

/** @param {unknown} error */
const isUnauthorized = (error) => error instanceof ApiError && error.status === 401;
