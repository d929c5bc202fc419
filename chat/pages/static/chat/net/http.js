/** Requests to this site's REST API, and what is refused. */

import { t, told } from "../text/strings.js";
import { BASE } from "./base.js";

/** How long the server may take to answer, in milliseconds. */
const TIMEOUT_MS = 20_000;

/**
 * A request that was refused, or that got no answer: then `status` is 0. `field` names the input that it is about;
 * `retry_after` is in seconds.
 */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {Record<string, any>} body
   */
  constructor(status, body) {
    super(typeof body.message === "string" ? told(body.message) : t("server.answered", { status: String(status) }));
    this.status = status;
    this.code = typeof body.error === "string" ? body.error : "";
    this.field = typeof body.field === "string" ? body.field : null;
    this.retry_after = typeof body.retry_after === "number" ? body.retry_after : null;
  }
}

/** @returns {ApiError} */
export const unreachable = () => new ApiError(0, { message: t("server.unreachable") });

/** The session is over: only signing in again helps. */
export class SignedOut extends Error {}

/**
 * Ask for JSON.
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {Record<string, string>} [more] headers
 * @returns {Promise<any>} the answer's JSON; null where there is none
 */
export async function call(method, path, body, more = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", ...more };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), TIMEOUT_MS);
  const { status, text } = await fetch(BASE + path, {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
    credentials: "same-origin",
    // A page that goes has its refresh finished all the same.
    keepalive: path.startsWith("/auth/"),
    signal: timeout.signal,
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
export const bearer = (token) => ({ Authorization: `Bearer ${token}` });

/**
 * Parse JSON; null where it is none.
 * @param {string} text
 * @returns {any}
 */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {unknown} error */
export const isUnauthorized = (error) => error instanceof ApiError && error.status === 401;
