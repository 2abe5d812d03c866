/**
 * What a site with one responder serves (nginx/, apache/sse-cgi-proxy-fcgi.conf).
 *
 * @module
 */

/** The gateway that pages use unless somebody asks for another; config.js has them. */
export const usual = 'fastcgi';

/** The pages of this site besides those that every site has. */
export const pages = ['chat', 'status'];
