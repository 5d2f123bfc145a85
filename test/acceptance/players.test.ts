/**
 * Real players: sealed segments and exports play to their last picture in Chromium, seek to the picture asked for, and
 * keep sound and picture in step over many gaps.
 */
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { openArchive, type Archive } from '../../src/archive.ts';
import { at, exportTo, importFlashes, picturesOf, variantFile, withArchiveServer } from '../support/acceptance.ts';
import { avSync, playInChromium, type Playback } from '../support/chromium.ts';
import { makeMedia } from '../support/media.ts';
import { withFileServer } from '../support/serve.ts';
import { temporaryFolder } from '../support/tmp.ts';

/** Chromium decodes every picture, but presents fewer where the machine is busy; and may miss a flash of one picture. */
const PRESENTED = 0.4;
const SEEN_FLASHES = 0.6;
const FRAME_S = 0.04;
/** What is played in real time stumbles now and then on a busy machine; an answer that is wrong is so in every playback. */
const IN_REAL_TIME = { retry: 3 };

/** The archive's segment files, by time. */
async function segmentsOf(archive: Archive, camera: string): Promise<string[]> {
  const entries = await readdir(join(archive.root, camera), { recursive: true });
  return entries
    .filter((path) => path.endsWith('.mp4'))
    .toSorted()
    .map((path) => join(archive.root, camera, path));
}

/** Played without an error, all pictures decoded, the last ones presented, and each seek on its picture. */
async function expectWhole(playback: Playback, file: string): Promise<void> {
  const times = (await picturesOf(file)).map(({ timeS }) => timeS);
  const last = times.at(-1) ?? 0;
  expect(playback.errors).toEqual([]);
  expect(playback.ended).toBe(true);
  expect(playback.decodedFrames).toBeGreaterThanOrEqual(times.length - 1);
  expect(playback.framesPresented).toBeGreaterThan(PRESENTED * times.length);
  expect(playback.framesPresented).toBeLessThanOrEqual(times.length);
  expect(playback.mediaTimes[0]).toBeLessThan(FRAME_S);
  expect(playback.mediaTimes.at(-1)).toBeGreaterThan(last - 10 * FRAME_S);
  for (const { target, mediaTime } of playback.seeks) {
    const shown = times.findLast((time) => time <= target + 1e-4);
    expect(Math.abs((mediaTime ?? -1) - (shown ?? -2)), `seek to ${target}`).toBeLessThan(0.005);
  }
}

test('a sealed segment plays and seeks as a plain file', IN_REAL_TIME, async () => {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  await archive.import('door', await variantFile('plain'), { start: at(0), recorder: { segmentDurationMs: 4000 } });
  const [, second = ''] = await segmentsOf(archive, 'door');
  const playback = await withFileServer([second], (base) =>
    playInChromium(`${base}/${basename(second)}`, { seekTo: [3.05, 0.5, 2.21] }),
  );
  await expectWhole(playback, second);
});

test(
  'an export from the middle of a GOP, across a cut and a gap, plays and seeks from the server',
  IN_REAL_TIME,
  async () => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    const file = await variantFile('plain');
    const recorder = { segmentDurationMs: 4000 };
    const { endUtcMs } = await archive.import('door', file, { start: at(0), recorder });
    await archive.import('door', file, { start: new Date(endUtcMs + 9500), recorder });
    const request = { camera: 'door', start: at(7.3), end: at(24.4) };
    const exported = join(folder, 'export.mp4');
    await exportTo(exported, archive, request);
    const query = `start=${request.start.toISOString()}&end=${request.end.toISOString()}`;
    const playback = await withArchiveServer(archive, (base) =>
      playInChromium(`${base}/api/cameras/door/export.mp4?${query}`, { seekTo: [0.33, 6.9, 3.1, 4.72] }),
    );
    await expectWhole(playback, exported);
  },
);

test('sound and picture stay in step over many gaps', IN_REAL_TIME, async () => {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  const { request, flashes } = await importFlashes(archive, 8);
  const query = `start=${request.start.toISOString()}&end=${request.end.toISOString()}`;
  const pairs = await withArchiveServer(archive, (base) => avSync(`${base}/api/cameras/door/export.mp4?${query}`));
  // A flash is one picture long: on a busy machine one may be missed.
  expect(pairs.length).toBeGreaterThan(SEEN_FLASHES * flashes);
  const distances = pairs.map(({ flashTime, beepTime }) => beepTime - flashTime);
  const usual = distances.toSorted((a, b) => a - b)[Math.floor(distances.length / 2)] ?? Number.NaN;
  // The latency of sound output is in all of them; what grows from gap to gap would not be.
  for (const distance of distances) expect(Math.abs(distance - usual)).toBeLessThan(FRAME_S);
  const [early = 0, late = 0] = [distances.slice(0, 3), distances.slice(-3)].map(
    (part) => part.toSorted((a, b) => a - b)[1],
  );
  expect(Math.abs(late - early)).toBeLessThan(FRAME_S / 2 + 0.005);
});

/** What went wrong, without addresses. */
function reason(playback: Playback | undefined): string[] | undefined {
  return playback?.errors.map((error) => error.replaceAll(/http\S+/g, ''));
}

test('H.265: Chromium says of an export what it says of the source', async () => {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  const source = await makeMedia('short-h265.mp4', ['-i', await variantFile('H.265'), '-t', '3', '-c', 'copy']);
  await archive.import('door', source, { start: at(0) });
  const exported = join(folder, 'export.mp4');
  await exportTo(exported, archive, { camera: 'door', start: at(0), end: at(4) });
  const [before, after] = await withFileServer([source, exported], (base) =>
    Promise.all([source, exported].map((file) => playInChromium(`${base}/${basename(file)}`, { play: false }))),
  );
  // Not every build of Chromium decodes H.265 (Debian's does not): then it shows no picture of either.
  expect(reason(after)).toEqual(reason(before));
  expect([after?.videoWidth, after?.videoHeight]).toEqual([before?.videoWidth, before?.videoHeight]);
  expect(after?.duration).toBeCloseTo(before?.duration ?? 0, 1);
});
