/**
 * Which part of the conversation is in view. Only the reader moves it: a question that is sent goes to the top and stays
 * there while its answer grows below, and the end is followed from where the reader has scrolled to it.
 */

import { found } from "./element.js";

/** Nearer to the end than this, the reader is at the live edge. In pixels. */
const NEAR_PX = 60;
/** The space above a question at the top, in pixels. */
const ABOVE_PX = 12;
/** A scroll this long after the reader's last touch of wheel, key or screen is not the reader's. In milliseconds. */
const INPUT_MS = 250;
const SCROLL_KEYS = new Set(["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", " "]);

export class Viewport {
  #scroller = found("#scroller", HTMLElement);
  #transcript = found("#transcript", HTMLElement);
  #latest = found("#latest", HTMLButtonElement);
  /**
   * @type {"opening" | "sent" | "anchored" | "following" | "free"} `opening`: the last question is shown as the thread
   * arrives; `sent`: the one that comes next is to be anchored
   */
  #mode = "opening";
  /** The place of the anchored question among the exchanges. */
  #anchor = 0;
  #readerUntil = 0;
  #held = false;

  constructor() {
    const scroller = this.#scroller;
    const input = () => {
      this.#readerUntil = performance.now() + INPUT_MS;
    };
    for (const name of ["wheel", "touchmove"]) scroller.addEventListener(name, input, { passive: true });
    scroller.addEventListener("keydown", (event) => {
      if (event.key === "End" && event.target === scroller) {
        // The browser would scroll to where the end is now.
        event.preventDefault();
        this.#follow();
      } else if (SCROLL_KEYS.has(event.key)) {
        input();
      }
    });
    // Its own ground under the pointer is the scroll bar.
    scroller.addEventListener("pointerdown", ({ target }) => {
      this.#held = target === scroller;
    });
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => (this.#held = false));
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#latest.addEventListener("click", () => this.#follow());
    this.#transcript.addEventListener("click", ({ target }) => {
      // What is unfolded is to be read from its beginning.
      if (target instanceof Element && target.closest("summary")) this.release();
    });
    const resized = new ResizeObserver(() => this.#settle());
    resized.observe(scroller);
    resized.observe(this.#transcript);
  }

  /** Show another thread: its last question, or its end where all of the last exchange fits in. */
  open() {
    // The message that was just sent made the thread.
    if (this.#mode === "sent") return;
    this.#mode = "opening";
    this.#transcript.toggleAttribute("data-room", false);
  }

  /** @param {boolean} queued the message that is sent now waits behind an answer */
  sent(queued) {
    this.#mode = queued ? "following" : "sent";
    this.#transcript.toggleAttribute("data-room", !queued);
  }

  /** @param {HTMLElement} exchange to be shown from its question on */
  show(exchange) {
    this.#anchor = [...this.#transcript.children].indexOf(exchange);
    this.#mode = "anchored";
    this.#settle();
  }

  /** @param {HTMLElement} block that has come, shown as a whole unless the reader has scrolled elsewhere */
  reveal(block) {
    if (this.#mode === "free") return;
    const [view, place] = [this.#scroller.getBoundingClientRect(), block.getBoundingClientRect()];
    const down = Math.min(place.bottom - view.bottom + ABOVE_PX, place.top - view.top - ABOVE_PX);
    if (down <= 0) return;
    this.#mode = "free";
    this.#scroller.scrollTop += down;
    this.#offer();
  }

  /** Leave the view where it is: the conversation changes under it. */
  release() {
    if (this.#mode !== "opening") this.#mode = "free";
  }

  /** @param {boolean} complete the conversation is drawn as far as it is known */
  drawn(complete) {
    const mode = this.#mode;
    if (mode === "opening" || mode === "sent") this.#anchor = this.#transcript.children.length - 1;
    this.#settle();
    if (mode === "sent" || (mode === "opening" && complete)) this.#mode = "anchored";
  }

  #settle() {
    const room = `${this.#scroller.clientHeight - ABOVE_PX}px`;
    if (room !== this.#scroller.style.getPropertyValue("--room")) this.#scroller.style.setProperty("--room", room);
    if (this.#mode === "following") this.#scroller.scrollTop = this.#scroller.scrollHeight;
    else if (this.#mode !== "free") this.#toAnchor();
    this.#offer();
  }

  #toAnchor() {
    const { children } = this.#transcript;
    const question = children[Math.min(this.#anchor, children.length - 1)];
    if (!question) return;
    const above = question.getBoundingClientRect().top - this.#scroller.getBoundingClientRect().top;
    if (Math.abs(above - ABOVE_PX) > 1) this.#scroller.scrollTop += above - ABOVE_PX;
  }

  /** @returns {number} how far the end of the conversation is below the view, in pixels */
  #below() {
    const parts = /** @type {HTMLElement[]} */ ([...(this.#transcript.lastElementChild?.children ?? [])]);
    const end = parts.findLast(({ offsetHeight }) => offsetHeight > 0);
    if (!end) return 0;
    return end.getBoundingClientRect().bottom - this.#scroller.getBoundingClientRect().bottom;
  }

  /** Offer the way to the end where it is out of sight. */
  #offer() {
    this.#latest.hidden = this.#mode === "following" || this.#below() < NEAR_PX;
  }

  #follow() {
    this.#mode = "following";
    this.#settle();
  }

  #scrolled() {
    const now = performance.now();
    if (this.#held || now < this.#readerUntil) {
      // What scrolls on by itself after a flick is the reader's too.
      this.#readerUntil = now + INPUT_MS;
      const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
      this.#mode = scrollHeight - scrollTop - clientHeight < NEAR_PX ? "following" : "free";
    }
    this.#offer();
  }
}
