/**
 * What a site with a responder for each stream serves (apache/sse-cgi-fcgid.conf): the status page
 * would tell of one of them only.
 *
 * @module
 */

/** The gateway that pages use unless somebody asks for another; config.js has them. */
export const usual = 'fastcgi';

/** The pages of this site besides those that every site has. */
export const pages = ['chat'];
