import assert from 'node:assert/strict';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startHarness } from '../harness.js';
import { isDescendant, killAll, processes } from './processes.js';
import { eachLook, launch, newProfile, noticeLoss, shoot, until } from './site.js';

const EXAMPLE = fileURLToPath(new URL('../../examples/answer.sh', import.meta.url));

/** A word as SSE_COMMAND has it. */
const quoted = (word) => `'${word.replaceAll("'", `'\\''`)}'`;

/**
 * Answers need a program that makes them, which not every server under test has: so
 * these tests have a server of their own.
 */
describe('the answer', () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser?.close());

  const answersAt = async (t, gateway, command) => {
    const harness = await startHarness((folder) => ({
      answer: {
        program: 'session',
        settings: {
          SSE_SPOOL: join(folder, 'spool'),
          SSE_COMMAND: command,
          SSE_HEARTBEAT: '1s',
          SSE_RETRY: '1s',
          SSE_PUBLISH_ALLOW: 'same-origin',
        },
      },
    }));
    t.after(() => harness.end());
    const open = async () => {
      const context = await newProfile(browser);
      t.after(() => context.close());
      const page = await context.newPage();
      page.problems = [];
      page.on('pageerror', (error) => page.problems.push(String(error)));
      await page.goto(new URL(`answer.html?gateway=${gateway}`, harness.base).href);
      await until('its session', async () => page.getByRole('button', { name: 'Send' }).isEnabled());
      return page;
    };
    return { harness, open };
  };

  const ask = async (page, text) => {
    await page.getByLabel('Message').fill(text);
    await page.getByLabel('Message').press('Enter');
  };
  const answers = (page) => page.locator('#talk li.said').allTextContents();
  const isAnswered = (page, count) => async () =>
    (await page.locator('#talk li.said:not([aria-busy])').count()) === count;

  /** Notes down every text that the last answer had. */
  const watch = (page) =>
    page.evaluate(() => {
      window.steps = [];
      const talk = document.getElementById('talk');
      new MutationObserver(() => {
        const text = [...talk.querySelectorAll('li.said')].at(-1)?.textContent ?? '';
        if (text !== (window.steps.at(-1)?.text ?? '')) window.steps.push({ text });
      }).observe(talk, { childList: true, subtree: true });
    });

  for (const gateway of ['cgi', 'fastcgi']) {
    describe(`through ${gateway}`, () => {
      test('an answer grows while one looks, and is text', async (t) => {
        const { open } = await answersAt(t, gateway, quoted(EXAMPLE));
        const page = await open();
        await watch(page);
        const message = `<b>one</b> $(id) * \`id\` -n %s "six" ; seven${' more'.repeat(15)}`;
        await ask(page, message);
        await until('a beginning', async () => (await answers(page)).length === 1);
        assert.ok(await page.getByRole('button', { name: 'Send' }).isDisabled(), 'one answer at a time');
        await until('some of it', async () => (await page.evaluate(() => window.steps.length)) >= 3);
        await shoot(page, `answer-grows-${gateway}`);
        await until('all of it', isAnswered(page, 1));
        assert.deepEqual(await answers(page), [`${message} \n`]);

        const steps = await page.evaluate(() => window.steps);
        for (const [n, { text }] of steps.slice(1).entries()) {
          assert.ok(text.startsWith(steps[n].text), JSON.stringify(steps));
        }
        // One word every 0.15 s; on a busy machine some come together.
        assert.ok(steps.length >= 3, JSON.stringify(steps));
        assert.equal(await page.locator('#talk b').count(), 0);
        assert.deepEqual(await page.locator('#talk li').allTextContents(), [message, `${message} \n`]);
        assert.deepEqual(page.problems, []);
      });

      test('each window has its own answers, one after another', async (t) => {
        const { open } = await answersAt(t, gateway, quoted(EXAMPLE));
        const [ann, bob] = [await open(), await open()];
        await ask(ann, 'first');
        await ask(bob, 'other');
        await until('the first', isAnswered(ann, 1));
        await ask(ann, 'second one');
        await until('the second', isAnswered(ann, 2));
        await until('the other', isAnswered(bob, 1));
        assert.deepEqual(await answers(ann), ['first \n', 'second one \n']);
        assert.deepEqual(await answers(bob), ['other \n']);
        await eachLook(ann, (look) => shoot(ann, `answer-${look}-${gateway}`));
        assert.deepEqual([ann.problems, bob.problems], [[], []]);
      });

      test('an answer goes on where it was when the server starts anew', async (t) => {
        const { harness, open } = await answersAt(t, gateway, quoted(EXAMPLE));
        const page = await open();
        const message = Array.from({ length: 20 }, (_, n) => `word${n}`).join(' ');
        await ask(page, message);
        await until('a beginning', async () => (await answers(page)).length === 1);
        const hasLost = await noticeLoss(page);
        const program = gateway === 'cgi' ? 'nph-session' : 'sse-fcgi';
        const killed = killAll(
          processes(({ pid, executable }) => basename(executable) === program && isDescendant(pid, harness.pid)),
        );
        assert.ok(killed > 0, `no ${program} runs`);
        await until('it is seen', hasLost);
        await until('all of it', isAnswered(page, 1));
        assert.deepEqual(await page.locator('#talk li').allTextContents(), [message, `${message} \n`]);
        assert.deepEqual(page.problems, []);
      });

      test('a program that fails is said, and the next message is answered', async (t) => {
        const { open } = await answersAt(t, gateway, `sh -c 'cat; echo; exit 3'`);
        const page = await open();
        const notes = page.locator('#talk li.note');
        for (const count of [1, 2]) {
          await ask(page, 'half');
          await until('the end', async () => (await notes.count()) === count);
        }
        assert.deepEqual((await answers(page)).map((text) => text.trim()), ['half', 'half']);
        assert.match((await notes.allTextContents())[0], /ended early \(3\)/);
        assert.deepEqual(page.problems, []);
      });
    });
  }
});
