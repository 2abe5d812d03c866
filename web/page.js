/**
 * The page's own fixed elements: its words in the browser's language, the menu, and the links to
 * pages that not every site has.
 *
 * @module
 */

import { pages } from './site.js';
import { t, translate } from './words.js';

const names = { chat: 'Chat', answer: 'Answer', status: 'Status' };
const menu = document.querySelector('nav.top');

for (const page of pages) {
  const link = document.createElement('a');
  link.href = `${page}.html`;
  link.textContent = names[page] ?? page;
  if (location.pathname.endsWith(`/${page}.html`)) link.setAttribute('aria-current', 'page');
  menu?.append(link);
}
for (const link of menu?.querySelectorAll('a[href*="?"]') ?? []) {
  if (/** @type {HTMLAnchorElement} */ (link).href === location.href) link.setAttribute('aria-current', 'page');
}
if (menu) fold(menu);
translate(document);

/**
 * A phone shows the page's own name and a button; the button shows the rest.
 *
 * @param {Element} menu
 */
function fold(menu) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'menu-button';
  button.textContent = t('Menu');
  const show = (/** @type {boolean} */ isOpen) => {
    menu.classList.toggle('open', isOpen);
    button.setAttribute('aria-expanded', String(isOpen));
  };
  button.addEventListener('click', () => show(!menu.classList.contains('open')));
  menu.addEventListener('keydown', (event) => {
    if (/** @type {KeyboardEvent} */ (event).key !== 'Escape' || !menu.classList.contains('open')) return;
    show(false);
    button.focus();
  });
  const brand = menu.querySelector('.brand');
  if (brand) brand.after(button);
  else menu.prepend(button);
  menu.classList.add('folds');
  show(false);
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
