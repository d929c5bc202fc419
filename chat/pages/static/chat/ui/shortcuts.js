/** Keys that work anywhere on the page. */

/**
 * @typedef {object} Shortcuts
 * @property {() => void} search
 * @property {(typing: boolean) => void} escape `typing`: the focus is in a field with text
 * @property {() => void} compose
 * @property {() => void} help
 * @property {() => void} inputs
 */

/** How soon the second of two keys follows the first, in milliseconds. */
const SEQUENCE_MS = 1_500;

/** @param {Shortcuts} shortcuts */
export function listenToKeys({ search, escape: leave, compose, help, inputs }) {
  let went = -SEQUENCE_MS;
  addEventListener("keydown", (event) => {
    const { key, target } = event;
    const typing = target instanceof Element && target.closest("input, textarea, select") !== null;
    // Where the keys have no Latin letters it is the key that stands where K does.
    const k = /^[a-z]$/i.test(key) ? key.toLowerCase() === "k" : event.code === "KeyK";
    if ((event.ctrlKey || event.metaKey) && !event.altKey && k) {
      event.preventDefault();
      if (!document.querySelector("dialog[open]")) search();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open], :popover-open")) return;
    if (key === "Escape") {
      leave(target instanceof HTMLTextAreaElement && target.value !== "");
    } else if (key === "/" && !typing) {
      event.preventDefault();
      compose();
    } else if (key === "?" && !typing) {
      help();
    } else if (key === "i" && !typing && event.timeStamp - went < SEQUENCE_MS) {
      event.preventDefault();
      inputs();
    }
    went = key === "g" && !typing ? event.timeStamp : -SEQUENCE_MS;
  });
}
