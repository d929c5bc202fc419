/** The theme that the user chose on this device. theme.js shows it before the first paint, and in other tabs. */

import { named } from "../net/storage.js";

const THEME = named("netra.theme");

/** @returns {string} "light", "dark", or "" for that of the system */
export const theme = () => localStorage.getItem(THEME) ?? "";

/** @param {string} chosen as `theme` returns it */
export function chooseTheme(chosen) {
  if (chosen) {
    localStorage.setItem(THEME, chosen);
    document.documentElement.dataset.theme = chosen;
  } else {
    localStorage.removeItem(THEME);
    delete document.documentElement.dataset.theme;
  }
}
