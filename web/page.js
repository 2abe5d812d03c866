/**
 * The page's own fixed elements.
 *
 * @module
 */

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** @param {string} words '' for none */
export function showProblem(words) {
  const problem = byId('problem');
  problem.textContent = words;
  problem.hidden = words === '';
}
