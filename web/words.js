/**
 * The words of the pages in the browser's language: English, or what words-*.js have.
 *
 * English words are their own key, so a missing translation is shown in English.
 *
 * @module
 */

import { ja } from './words-ja.js';

/** @type {Record<string, Record<string, string>>} */
const tables = { en: {}, ja };

/** The first of the browser's languages that the pages know. */
export const language =
  (navigator.languages ?? []).map((tag) => tag.toLowerCase().split('-')[0]).find((name) => Object.hasOwn(tables, name)) ??
  'en';

/** How days and numbers are written. */
export const locale = language === 'en' ? 'en-GB' : language;

const table = tables[language];

/**
 * @param {string} text in English; `{name}` is one of `values`
 * @param {Record<string, string | number>} [values]
 */
export function t(text, values = {}) {
  const words = Object.hasOwn(table, text) ? table[text] : text;
  return words.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

const ATTRIBUTES = ['aria-label', 'placeholder', 'title', 'content', 'label', 'data-empty'];

/**
 * Translates what a page's HTML says.
 *
 * @param {Document} page
 */
export function translate(page) {
  if (language === 'en') return;
  page.documentElement.lang = language;
  const texts = page.createTreeWalker(page.documentElement, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    const [, before, text, after] = /^(\s*)(.*?)(\s*)$/s.exec(node.nodeValue ?? '') ?? [];
    const words = text?.replace(/\s+/g, ' ');
    if (words && Object.hasOwn(table, words)) node.nodeValue = `${before}${table[words]}${after}`;
  }
  for (const element of page.querySelectorAll(ATTRIBUTES.map((name) => `[${name}]`).join())) {
    for (const name of ATTRIBUTES) {
      const text = element.getAttribute(name);
      if (text !== null && Object.hasOwn(table, text)) element.setAttribute(name, table[text]);
    }
  }
}
