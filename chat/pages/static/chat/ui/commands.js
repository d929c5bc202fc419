/** Commands that the search finds by their names, after the conversations. */

/** @typedef {{label: string, act: () => void}} Command */

/** Characters in front of which a word begins. */
const BETWEEN_WORDS = /[\s:]+/;

/**
 * @param {Command[]} commands
 * @param {string} words
 * @returns {Command[]} those with a word that begins like each of the words; all where there is none
 */
export function matching(commands, words) {
  const sought = words.toLowerCase().split(/\s+/);
  return commands.filter(({ label }) => {
    const own = label.toLowerCase().split(BETWEEN_WORDS);
    return sought.every((word) => own.some((one) => one.startsWith(word)));
  });
}
