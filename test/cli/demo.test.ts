/** `footage demo` as a newcomer meets it: one command, a page with two growing cameras, a range that plays. */
import { readdir, readFile } from 'node:fs/promises';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { withPage } from '../support/chromium.ts';
import { footageInBackground } from '../support/command.ts';
import { request } from '../support/http-client.ts';
import { temporaryFolder } from '../support/tmp.ts';

interface Camera {
  readonly name: string;
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  readonly recording: boolean;
}

async function camerasOf(url: string): Promise<Camera[]> {
  const { body } = await request(`${url}/api/cameras`);
  return (JSON.parse(body.toString()) as { cameras: Camera[] }).cameras;
}

const recordedMs = (cameras: readonly Camera[]) => cameras.map(({ startUtcMs, endUtcMs }) => endUtcMs - startUtcMs);

/** Waits until both cameras have at least `ms` of footage. */
async function grownTo(url: string, ms: number): Promise<Camera[]> {
  for (;;) {
    const cameras = await camerasOf(url);
    if (cameras.length === 2 && Math.min(...recordedMs(cameras)) >= ms) return cameras;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test('the demo: two cameras grow, a range plays in Chromium and can be saved, and the end leaves nothing', async () => {
  const temporary = await temporaryFolder();
  const demo = footageInBackground(['demo', '--port', '0'], { TMPDIR: temporary });
  const [, url = ''] = await demo.says(/^listening on (http:\/\/127\.0\.0\.1:[1-9]\d*)$/m);
  expect((await readdir(temporary)).filter((name) => name.startsWith('footage-demo-'))).toHaveLength(1);

  const first = await grownTo(url, 500);
  expect(first.map(({ name, recording }) => [name, recording])).toEqual([
    ['front-door', true],
    ['yard', true],
  ]);
  await withPage((page) => usePage(page, url));
  const later = await grownTo(url, Math.max(...recordedMs(first)) + 1000);
  expect(later.map(({ startUtcMs }) => startUtcMs)).toEqual(first.map(({ startUtcMs }) => startUtcMs));

  const ended = await demo.end('SIGINT');
  expect([ended.status, ended.signal, ended.stderr]).toEqual([0, null, '']);
  expect(await readdir(temporary)).toEqual([]);
});

/** Does what a user does: looks at the list, plays everything so far, and saves it. */
async function usePage(page: Page, url: string): Promise<void> {
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  await page.goto(url);
  await page.locator('#cameras .name', { hasText: 'yard' }).waitFor();
  expect(await page.locator('#cameras .name').allInnerTexts()).toEqual([
    expect.stringContaining('front-door'),
    expect.stringContaining('yard'),
  ]);
  await grownTo(url, 1500);
  await page.selectOption('#camera', 'yard');
  await page.getByRole('button', { name: 'All' }).click();
  await page.getByRole('button', { name: 'Play' }).click();
  const player = (field: string) => page.evaluate<unknown>(`document.querySelector('#player').${field}`);
  await expect.poll(() => player('currentTime'), { timeout: 60_000 }).toBeGreaterThan(0.3);
  expect(await player('error')).toBeNull();
  expect(await player('videoWidth')).toBeGreaterThan(0);
  expect(await page.locator('#error').isVisible()).toBe(false);

  const saving = page.waitForEvent('download');
  await page.locator('#download').click();
  const download = await saving;
  expect(download.suggestedFilename()).toMatch(/^yard_\d{4}-\d\d-\d\dT[\d.-]+Z_[\d.]+s\.mp4$/);
  const saved = await readFile(await download.path());
  expect(saved.subarray(4, 8).toString()).toBe('ftyp');
  expect(saved.length).toBeGreaterThan(10_000);

  await page.selectOption('#gaps', 'freeze');
  await page.selectOption('#tracks', 'video');
  const link = (await page.locator('#download').getAttribute('href')) ?? '';
  const { headers, status } = await request(new URL(link, url).href, { method: 'HEAD' });
  expect([status, headers['content-disposition']]).toEqual([200, expect.stringMatching(/_video\.mp4"$/)]);
  expect(problems).toEqual([]);
}

test('with --archive the recordings are kept', async () => {
  const folder = await temporaryFolder();
  const demo = footageInBackground(['demo', '--port', '0', '--archive', folder]);
  const [, url = ''] = await demo.says(/^listening on (\S+)$/m);
  await grownTo(url, 300);
  expect((await demo.end('SIGTERM')).status).toBe(0);
  expect((await readdir(folder)).filter((name) => !name.startsWith('catalog'))).toEqual(['front-door', 'yard']);
  const names = await readdir(folder, { recursive: true });
  expect(names.filter((name) => name.endsWith('.idx'))).toEqual([]);
  expect(names.filter((name) => name.endsWith('.mp4'))).toHaveLength(2);
});
