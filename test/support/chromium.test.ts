/** The browser helpers measure what they claim to, on FFmpeg's own files. */
import { basename } from 'node:path';
import { expect, test } from 'vitest';
import { avSync, playInChromium } from './chromium.ts';
import { FRAME_RATE, PICTURE, makeMedia, mediaFile } from './media.ts';
import { withFileServer } from './serve.ts';

/** What is played in real time stumbles now and then on a busy machine; a helper that is wrong is so in every playback. */
const IN_REAL_TIME = { retry: 3 };

test('playback counts the pictures presented, and seeks show the picture asked for', IN_REAL_TIME, async () => {
  const file = await makeMedia('ten.mp4', ['-i', await mediaFile('h264-aac'), '-t', '10', '-c', 'copy']);
  const playback = await withFileServer([file], (base) =>
    playInChromium(`${base}/${basename(file)}`, { seekTo: [5.01, 2.5], playbackRate: 2 }),
  );
  expect(playback.errors).toEqual([]);
  expect(playback.ended).toBe(true);
  // Copied packets end where the last B-frame group does.
  expect(playback.duration).toBeGreaterThan(9.9);
  expect(playback.duration).toBeLessThan(10.2);
  expect([playback.videoWidth, playback.videoHeight]).toEqual([PICTURE.width, PICTURE.height]);
  // Every picture is decoded; a busy machine presents fewer.
  expect(playback.decodedFrames).toBeGreaterThan(10 * FRAME_RATE - 5);
  expect(playback.framesPresented).toBeGreaterThan(0.3 * 10 * FRAME_RATE);
  expect(playback.framesPresented).toBeLessThanOrEqual(10 * FRAME_RATE + 1);
  expect(playback.seeks.map((seek) => seek.mediaTime)).toEqual([expect.closeTo(5, 3), expect.closeTo(2.48, 1)]);
});

test('a file that is no media gives errors instead of an exception', async () => {
  const playback = await withFileServer([import.meta.filename], (base) =>
    playInChromium(`${base}/${basename(import.meta.filename)}`),
  );
  expect(playback.errors.join()).toMatch(/MediaError 4/);
});

test('flash and beep are found in Chromium, at a constant distance', IN_REAL_TIME, async () => {
  const file = await makeMedia('flashes.mp4', ['-i', await mediaFile('flash-beep'), '-t', '8', '-c', 'copy']);
  const pairs = await withFileServer([file], (base) => avSync(`${base}/${basename(file)}`));
  expect(pairs.length).toBeGreaterThan(3);
  const distances = pairs.map((pair) => pair.beepTime - pair.flashTime);
  expect(Math.max(...distances) - Math.min(...distances)).toBeLessThan(0.04);
  expect(Math.abs(distances[0] ?? 1)).toBeLessThan(0.2);
});
