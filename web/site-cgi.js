/**
 * What a site of CGI programs serves (apache/sse-cgi.conf); there is no status without a responder.
 *
 * @module
 */

/** The gateway that pages use unless somebody asks for another; config.js has them. */
export const usual = 'cgi';

/** The pages of this site besides those that every site has. */
export const pages = ['chat'];
