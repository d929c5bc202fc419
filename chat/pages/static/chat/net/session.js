/**
 * The sign-in of this browser. The access token lives in this module's memory and nowhere else; the refresh token is an
 * HttpOnly cookie that only `/auth` gets. `SIGNED_IN` in localStorage names the user who may be signed in, so that a first
 * visit asks for nothing and a sign-out reaches the other tabs.
 */

import { BASE } from "./base.js";
import { ApiError, bearer, call, isUnauthorized, parsed, SignedOut, unreachable } from "./http.js";
import { named } from "./storage.js";
import { uuid } from "./uuid.js";

const SIGNED_IN = named("netra.signed_in");
const REFRESH_LOCK = named("netra.refresh");
/** The key of the next refresh, or of one whose answer has not come yet, in localStorage: the same for all tabs. */
const REFRESH_KEY = named("netra.refreshing");

/** @typedef {import("./api.js").User} User */

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
  localStorage.setItem(REFRESH_KEY, uuid());
  localStorage.setItem(SIGNED_IN, user.id);
}

/** The sign-in as this page holds it: an access token, renewed when it is needed. */
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
    this.keep(answer);
    localStorage.setItem(SIGNED_IN, answer.user.id);
  }

  /**
   * Use these tokens from now on.
   * @param {{access_token: string, expires_in: number}} tokens
   */
  keep({ access_token, expires_in }) {
    this.#token = access_token;
    this.#expires = performance.now() + expires_in * 1000;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>}
   */
  call(method, path, body) {
    return this.authorised((token) => call(method, path, body, bearer(token)));
  }

  /**
   * @param {string} name of the list in each page
   * @param {string} path
   * @param {Record<string, string>} [filters]
   * @returns {Promise<any[]>} all pages of a list
   */
  async all(name, path, filters = {}) {
    const found = [];
    for (let page = 1, more = true; more; page += 1) {
      const query = new URLSearchParams({ ...filters, page: String(page), page_size: "100" });
      const answer = await this.call("GET", `${path}?${query}`);
      found.push(...answer[name]);
      more = answer.has_more;
    }
    return found;
  }

  /**
   * Ask with a token. One that is valid by this machine's clock may be over at the server: the clock stands still while
   * the machine sleeps.
   * @template T
   * @param {(token: string) => Promise<T>} ask done again with a new token where the first is refused
   * @returns {Promise<T>}
   */
  async authorised(ask) {
    const token = await this.token();
    try {
      return await ask(token);
    } catch (error) {
      if (!isUnauthorized(error)) throw error;
    }
    await this.refresh();
    return ask(this.#token);
  }

  /**
   * Let this browser open a page of the site: one that is shared with members asks for a cookie, until the session ends.
   * @param {string} path
   */
  async admit(path) {
    if (/^\/s\//.test(path.slice(BASE.length))) await this.call("POST", "/auth/view");
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
    localStorage.removeItem(REFRESH_KEY);
    localStorage.removeItem(SIGNED_IN);
  }

  /**
   * @param {string} path
   * @returns {Promise<Blob>}
   */
  read(path) {
    return this.authorised(async (token) => {
      const response = await fetch(BASE + path, { headers: bearer(token) }).catch(() => {
        throw unreachable();
      });
      if (!response.ok) throw new ApiError(response.status, parsed(await response.text()) ?? {});
      return response.blob();
    });
  }

  /**
   * Send a request that outlives the page and whose answer is not waited for. It may be lost.
   * @param {string} method
   * @param {string} path
   */
  sendAtOnce(method, path) {
    void fetch(BASE + path, { method, headers: bearer(this.#token), keepalive: true }).catch(() => {});
  }
}

/** @typedef {{access_token: string, expires_in: number, user: User}} Tokens */

/**
 * Refresh in one tab at a time. Without a secure context there are no locks: then two tabs may spend the same cookie at
 * once, with the same key.
 * @returns {Promise<Tokens>}
 */
const alone = () => (navigator.locks ? navigator.locks.request(REFRESH_LOCK, rotated) : rotated());

/**
 * Refresh. The server spends the cookie before its answer arrives: if none arrives, the next try, after a reload or in
 * another tab, has the same key, since a spent cookie with another key ends the session.
 * @returns {Promise<Tokens>}
 */
async function rotated() {
  const key = localStorage.getItem(REFRESH_KEY) ?? uuid();
  localStorage.setItem(REFRESH_KEY, key);
  try {
    const answer = await call("POST", "/auth/refresh", {}, { "Idempotency-Key": key });
    if (localStorage.getItem(REFRESH_KEY) === key) localStorage.setItem(REFRESH_KEY, uuid());
    return answer;
  } catch (error) {
    if (!isUnauthorized(error)) throw error;
    throw new SignedOut();
  }
}
