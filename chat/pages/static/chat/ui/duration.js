/** Times that something takes, in words. */

import { LOCALE, t } from "../text/strings.js";

const TENTHS = new Intl.NumberFormat(LOCALE, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const MINUTE_MS = 60_000;

/**
 * @param {number} ms
 * @returns {string}
 */
export function duration(ms) {
  if (ms < 1) return t("duration.least");
  if (ms < 1000) return t("duration.ms", { count: Math.round(ms) });
  const seconds = ms / 1000;
  if (seconds < 60) return t("duration.s", { count: TENTHS.format(seconds) });
  return t("duration.min", { minutes: Math.floor(seconds / 60), seconds: Math.floor(seconds % 60) });
}

/**
 * @param {number} ms
 * @returns {string} in two units at most
 */
export function remaining(ms) {
  const minutes = Math.floor(ms / MINUTE_MS);
  if (minutes < 1) return t("duration.s", { count: Math.max(1, Math.ceil(ms / 1000)) });
  if (minutes < 60) return duration(Math.ceil(ms / 1000) * 1000);
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return t("duration.h", { hours, minutes: minutes % 60 });
  return t("duration.days", { count: Math.floor(hours / 24) });
}
