import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startHarness } from '../harness.js';
import { isDescendant, killAll, processes } from './processes.js';
import { eachLook, launch, newProfile, noticeLoss, shoot, until } from './site.js';

/**
 * The chat needs a room, which not every server under test has: so these tests have a
 * server of their own.
 */
describe('the chat', () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser?.close());

  const chatsAt = async (t, gateway, grace = '60s') => {
    const harness = await startHarness((folder) => ({
      room: {
        program: 'room',
        settings: {
          SSE_FILE: join(folder, 'room.jsonl'),
          SSE_SPOOL: join(folder, 'spool'),
          SSE_SESSION_GRACE: grace,
          SSE_HEARTBEAT: '1s',
          SSE_RETRY: '1s',
          SSE_PUBLISH_ALLOW: 'same-origin',
        },
      },
    }));
    t.after(() => harness.end());
    const enter = async (nick) => {
      const context = await newProfile(browser);
      t.after(() => context.close());
      const page = await context.newPage();
      page.problems = [];
      page.on('pageerror', (error) => page.problems.push(String(error)));
      await page.goto(new URL(`chat.html?gateway=${gateway}`, harness.base).href);
      await page.getByLabel('Your name').fill(nick);
      await page.getByRole('button', { name: 'Enter' }).click();
      await until(`${nick} is here`, async () => (await here(page)).includes(nick));
      return page;
    };
    const history = () =>
      readFileSync(join(harness.folder, 'room.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    return { harness, enter, history };
  };

  const here = (page) => page.locator('#members li').allTextContents();
  const said = (page) => page.locator('#chat li.said, #chat li.own').allTextContents();
  const notes = (page) => page.locator('#chat li.note').allTextContents();
  const say = async (page, text) => {
    await page.getByLabel('Message').fill(text);
    await page.getByLabel('Message').press('Enter');
  };
  const has = (page, lines) =>
    until(lines.at(-1), async () => JSON.stringify(await said(page)) === JSON.stringify(lines)).catch(async () =>
      assert.deepEqual(await said(page), lines),
    );

  for (const gateway of ['cgi', 'fastcgi']) {
    describe(`through ${gateway}`, () => {
      test('two windows hear each other, each message once, and see who is here', async (t) => {
        const { enter } = await chatsAt(t, gateway);
        const ann = await enter('Ann');
        const bob = await enter('<b>Bob</b>');
        await until('Ann sees Bob', async () => (await here(ann)).length === 2);
        assert.deepEqual(await here(ann), await here(bob));
        assert.ok((await here(ann)).includes('<b>Bob</b>'), 'a name is text');
        assert.deepEqual(await notes(ann), ['<b>Bob</b> is here']);

        await say(ann, 'hello');
        await has(bob, ['Ann hello']);
        await say(bob, '<img src=x onerror=alert(1)>');
        const both = ['Ann hello', '<b>Bob</b> <img src=x onerror=alert(1)>'];
        await has(ann, both);
        await has(bob, both);
        assert.equal(await ann.locator('#chat img, #chat b b').count(), 0);
        assert.equal(await ann.locator('#chat li.own').count(), 1);
        assert.equal(await bob.locator('#chat li.own').count(), 1);
        await eachLook(ann, (look) => shoot(ann, `chat-${look}-${gateway}`));
        assert.deepEqual([ann.problems, bob.problems], [[], []]);
      });

      test('when both talk at once, both windows have it in the same order', async (t) => {
        const { enter, history } = await chatsAt(t, gateway);
        const pages = [await enter('Ann'), await enter('Bob')];
        await until('both are here', async () => (await here(pages[0])).length === 2);
        await Promise.all(
          pages.map(async (page, p) => {
            for (let n = 0; n < 15; n += 1) await say(page, `${p} ${n}`);
          }),
        );
        for (const page of pages) await until('all', async () => (await said(page)).length === 30);
        const order = history().filter(({ event }) => !event).map(({ data }) => `${data.nick} ${data.data}`);
        assert.deepEqual(await said(pages[0]), order);
        assert.deepEqual(await said(pages[1]), order);
      });

      test('who comes late gets what was said, and who leaves is missed', async (t) => {
        const { enter } = await chatsAt(t, gateway, '10s');
        const ann = await enter('Ann');
        await say(ann, 'one');
        await has(ann, ['Ann one']);
        const bob = await enter('Bob');
        await has(bob, ['Ann one']);
        await until('Ann sees Bob', async () => (await here(ann)).length === 2);
        await bob.context().close();
        await until('Ann misses Bob', async () => (await notes(ann)).at(-1) === 'Bob has left', 40_000);
        assert.deepEqual(await here(ann), ['Ann']);
      });

      test('a server that starts anew costs nobody a message, and nobody comes or goes', async (t) => {
        const { harness, enter } = await chatsAt(t, gateway);
        const ann = await enter('Ann');
        const bob = await enter('Bob');
        await until('Ann sees Bob', async () => (await here(ann)).length === 2);
        const hasLost = await noticeLoss(bob);
        const program = gateway === 'cgi' ? 'nph-room' : 'sse-fcgi';
        const killed = killAll(
          processes(({ pid, executable }) => basename(executable) === program && isDescendant(pid, harness.pid)),
        );
        assert.ok(killed > 0, `no ${program} runs`);
        const state = (page) => page.locator('#state').getAttribute('data-state');
        await until('it is seen', hasLost);
        await until('Ann is back', async () => (await state(ann)) === 'open');
        await say(ann, 'still there?');
        await has(ann, ['Ann still there?']);
        await has(bob, ['Ann still there?']);
        await say(bob, 'yes');
        await has(ann, ['Ann still there?', 'Bob yes']);
        assert.deepEqual(await notes(ann), ['Bob is here']);
        assert.deepEqual((await here(ann)).toSorted(), ['Ann', 'Bob']);
      });

      test('a message that is too large is given back, and the reason is said', async (t) => {
        const { enter } = await chatsAt(t, gateway);
        const ann = await enter('Ann');
        await ann.evaluate(() => document.getElementById('text').removeAttribute('maxlength'));
        await say(ann, 'x'.repeat(70_000));
        await until('the reason', async () => (await ann.locator('#problem').textContent())?.includes('not sent'));
        assert.equal((await ann.getByLabel('Message').inputValue()).length, 70_000);
        await say(ann, 'short');
        await has(ann, ['Ann short']);
        assert.ok(await ann.locator('#problem').isHidden());
      });
    });
  }
});
