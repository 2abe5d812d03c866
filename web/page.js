/**
 * The page's own fixed elements, and the links to pages that not every site has.
 *
 * @module
 */

import { pages } from './site.js';

const names = { chat: 'Chat', answer: 'Answer', status: 'Status' };

for (const page of pages) {
  const link = document.createElement('a');
  link.href = `${page}.html`;
  link.textContent = names[page] ?? page;
  if (location.pathname.endsWith(`/${page}.html`)) link.setAttribute('aria-current', 'page');
  document.querySelector('nav.top')?.append(link);
}

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
