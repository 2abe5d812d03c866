/**
 * What this site serves: here, everything, as in scripts/demo. The configurations in apache/ and
 * nginx/ answer with one of the other site-*.js files under this name.
 *
 * @module
 */

/** The gateway that pages use unless somebody asks for another; config.js has them. */
export const usual = 'cgi';

/** The pages of this site besides those that every site has. */
export const pages = ['chat', 'answer', 'status'];
