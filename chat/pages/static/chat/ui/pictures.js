/** Pictures as addresses that the page's policy lets it show. Each is read once. */

/**
 * @param {Blob} blob
 * @returns {Promise<string>} a `data:` address
 */
export const addressOf = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(String(reader.result)));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(blob);
  });

export class Pictures {
  /** @type {Map<string, Promise<string | null>>} */
  #known = new Map();

  /**
   * @param {string} id
   * @param {() => Promise<Blob>} read
   * @returns {Promise<string | null>} null if it cannot be read now
   */
  of(id, read) {
    const known = this.#known.get(id);
    if (known) return known;
    const found = read()
      .then(addressOf)
      .catch(() => {
        this.#known.delete(id);
        return null;
      });
    this.#known.set(id, found);
    return found;
  }
}
