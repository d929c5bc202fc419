/** Where on its host this site lives, as the page says it. */

/** "" at the root of the host, else a path such as "/netra". */
export const BASE = (document.documentElement.dataset.base ?? "/").replace(/\/$/, "");
