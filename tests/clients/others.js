/**
 * Reads a stream with one of the clients that are in common use, in the way of its first
 * example, and prints every event that the client takes for one: [name, data] in JSON, a line
 * each. A process of its own, because some of these clients cannot be ended: a timer of theirs
 * keeps the process alive after close().
 *
 *     node tests/clients/others.js NAME URL
 */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** @type {Record<string, (url: string, take: (name: string | undefined, data: string) => void) => void>} */
const clients = {
  '@microsoft/fetch-event-source': (url, take) => {
    // It was written for pages.
    globalThis.window ??= globalThis;
    const { fetchEventSource } = require('@microsoft/fetch-event-source');
    const onmessage = ({ event, data }) => take(event, data);
    fetchEventSource(url, { openWhenHidden: true, fetch, onmessage });
  },
  'eventsource-client': (url, take) => {
    const { createEventSource } = require('eventsource-client');
    createEventSource({ url, onMessage: ({ event, data }) => take(event, data) });
  },
  'extended-eventsource': (url, take) => {
    const { EventSource: Extended } = require('extended-eventsource');
    const source = new Extended(url, { openWhenHidden: true });
    source.onmessage = ({ type, data }) => take(type, data);
  },
  'launchdarkly-eventsource': (url, take) => {
    const { EventSource: LaunchDarkly } = require('launchdarkly-eventsource');
    const source = new LaunchDarkly(url);
    source.onmessage = ({ type, data }) => take(type, data);
    source.onerror = () => {};
  },
};

const [name, url] = process.argv.slice(2);
clients[name](url, (event, data) => console.log(JSON.stringify([event || null, data])));
