/** The page in Chromium: live cameras beside recorded ones. */
import http from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { createHandler } from '../../src/http/handler.ts';
import { listen } from '../sender/rig.ts';
import { withPage } from '../support/chromium.ts';
import { FakeCamera, faceOf } from '../support/fake-camera.ts';
import { CLIP, START } from '../support/handler-fixture.ts';
import { temporaryFolder } from '../support/tmp.ts';

test('shows how each live camera is, also one without any footage', async () => {
  const archive = await openArchive(await temporaryFolder());
  onTestFinished(() => archive.close());
  await archive.import('door', CLIP, { start: START });
  await archive.import('old', CLIP, { start: START });
  const error = { code: 'E_INPUT_MISSING', message: 'Check <its> cable.', sinceUtcMs: 1 } as const;
  const yard = new FakeCamera('yard', { state: 'waiting', wanted: true, error });
  const live = [new FakeCamera('door', { wanted: true, recording: true }), new FakeCamera('gate'), yard];
  const running = await listen(http.createServer(createHandler(faceOf(archive, { live }), { page: true })));
  onTestFinished(() => running[Symbol.asyncDispose]());
  await withPage(async (page) => {
    const problems: string[] = [];
    page.on('pageerror', (problem) => problems.push(String(problem)));
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    await page.goto(`http://127.0.0.1:${running.port}/`);
    await page.locator('#cameras .name', { hasText: 'yard' }).waitFor();
    const shown = await page
      .locator('#cameras .name')
      .evaluateAll((names) => names.map(({ children }) => [...children].map(({ textContent }) => textContent)));
    expect(shown).toEqual([
      ['door', '● recording'],
      ['gate', 'online'],
      ['old', ''],
      ['yard', 'waiting: Check <its> cable.'],
    ]);
    expect(await page.locator('#cameras li:nth-child(1) .bar .span').count()).toBe(1);
    expect(await page.locator('#connection').isVisible()).toBe(false);
    expect(problems).toEqual([]);
  });
});
