/** A button that opens a list of choices: arrows move in it, Escape and a click elsewhere close it. */

import { element } from "./element.js";

/**
 * @typedef {object} Choice
 * @property {string} label
 * @property {string} [about]
 * @property {boolean} [chosen] one of several that exclude each other; absent: it is a deed
 * @property {boolean} [disabled]
 * @property {boolean} [danger]
 * @property {() => void} act
 */

/**
 * @param {HTMLButtonElement} button
 * @param {string} label of the list
 * @param {() => Choice[]} choices asked for each time it opens
 * @param {() => Promise<void>} [read] makes the choices new; the open list then shows them
 */
export function menu(button, label, choices, read) {
  const toggle = menus(label);
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => toggle(button, choices, read));
}

/**
 * One list for the buttons of many rows, of which one is open at a time.
 * @param {string} label of the list
 * @returns {(button: HTMLButtonElement, choices: () => Choice[], read?: () => Promise<void>) => void} opens and closes
 *   it at a button
 */
export function menus(label) {
  const list = element("div", { class: "menu", role: "menu", "aria-label": label, popover: "auto" });
  document.body.append(list);
  /** @type {HTMLButtonElement} */
  let button;
  /** @type {() => Choice[]} */
  let choices = () => [];
  /** @type {(() => Promise<void>) | undefined} */
  let read;
  list.addEventListener("toggle", (event) => {
    const open = /** @type {ToggleEvent} */ (event).newState === "open";
    button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    place(list, button.getBoundingClientRect());
    const items = entries(list);
    (items.find((one) => one.getAttribute("aria-checked") === "true") ?? items[0])?.focus();
    void read?.().then(() => {
      renew(list, choices());
      place(list, button.getBoundingClientRect()); // a longer list would end below the window
    });
  });
  list.addEventListener("keydown", (event) => {
    const items = entries(list);
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (event.key === "Tab") list.hidePopover();
    if (to === undefined) return;
    event.preventDefault();
    items.at(to % items.length)?.focus();
  });
  return (at, offered, renewed) => {
    [button, choices, read] = [at, offered, renewed];
    list.replaceChildren(...choices().map((choice) => item(choice, list)));
    list.togglePopover();
  };
}

/**
 * Show these choices in an open list if they are others; the focus stays in its place.
 * @param {HTMLElement} list
 * @param {Choice[]} choices
 */
function renew(list, choices) {
  const made = choices.map((choice) => item(choice, list));
  const isSame = list.innerHTML === made.map(({ outerHTML }) => outerHTML).join("");
  if (isSame || !list.matches(":popover-open")) return;
  const at = entries(list).indexOf(/** @type {HTMLElement} */ (document.activeElement));
  list.replaceChildren(...made);
  entries(list)[Math.min(at, made.length - 1)]?.focus();
}

/**
 * Those that are disabled too: a keyboard reaches the reason.
 * @param {HTMLElement} list
 */
const entries = (list) => [.../** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("button"))];

/**
 * Below the button or above it, where there is room.
 * @param {HTMLElement} list
 * @param {DOMRect} button
 */
function place(list, button) {
  const { offsetWidth: width, offsetHeight: height } = list;
  const left = Math.max(8, Math.min(button.left, innerWidth - width - 8));
  const below = button.bottom + 6;
  list.style.left = `${left}px`;
  list.style.top = `${below + height < innerHeight ? below : Math.max(8, button.top - height - 6)}px`;
}

/**
 * @param {Choice} choice
 * @param {HTMLElement} list
 */
function item({ label, about, chosen, disabled, danger, act }, list) {
  const made = element(
    "button",
    {
      type: "button",
      role: chosen === undefined ? "menuitem" : "menuitemradio",
      "aria-checked": chosen === undefined ? null : String(chosen),
      class: danger ? "danger" : null,
      "aria-disabled": disabled ? "true" : null,
    },
    element("span", { class: "menu-label" }, label),
    about ? element("span", { class: "menu-about" }, about) : null,
  );
  made.addEventListener("click", () => {
    if (disabled) return;
    list.hidePopover();
    act();
  });
  return made;
}
