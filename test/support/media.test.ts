/** The helpers that other tests rely on: each kind of media is what it says, and the measurements measure. */
import { expect, test } from 'vitest';
import { avSyncFfmpeg, packets, probe, warnings } from './ffmpeg.ts';
import { FRAME_RATE, MEDIA_KINDS, type MediaKind, mediaFile } from './media.ts';
import { run } from './run.ts';

/** Sample entries of the kinds that are not H.264 with AAC. */
const CODECS: Partial<Record<MediaKind, string>> = {
  'h265-aac': 'hvc1 mp4a',
  'h264-only': 'avc1',
  'aac-only': 'mp4a',
  'av1-opus': 'av01 Opus',
  'av1-aac': 'av01 mp4a',
  'h265-opus': 'hvc1 Opus',
  'h264-alaw': 'avc1 alaw',
  'opus-only': 'Opus',
  'ulaw-only': 'ulaw',
};

test.each(MEDIA_KINDS)('%s is made once and decodes without a warning', { timeout: 120_000 }, async (kind) => {
  const file = await mediaFile(kind);
  expect(await mediaFile(kind)).toBe(file);
  if (kind !== 'h264-aac-20min') expect(await warnings(file)).toBe('');
  const { streams } = await probe(file);
  const codecs = streams.map((stream) => stream.codec_tag_string).join(' ');
  expect(codecs).toBe(CODECS[kind] ?? 'avc1 mp4a');
});

test('packets have B-frames, sizes, positions and hashes', async () => {
  const video = await packets(await mediaFile('h264-only'), { hash: true, streams: 'v' });
  expect(video).toHaveLength(60 * FRAME_RATE);
  expect(video.some((packet) => packet.pts !== packet.dts)).toBe(true);
  expect(video.every((packet) => packet.size > 0 && packet.hash?.length === 32)).toBe(true);
  expect(new Set(video.map((packet) => packet.position)).size).toBe(video.length);
  expect(video[0]?.flags).toMatch(/^K/);
});

test('flash and beep are found at each full second, and agree', async () => {
  const pairs = await avSyncFfmpeg(await mediaFile('flash-beep'));
  expect(pairs.map((pair) => pair.flashTime)).toEqual(Array.from({ length: 19 }, (_, second) => second + 1));
  for (const { flashTime, beepTime } of pairs) expect(Math.abs(beepTime - flashTime)).toBeLessThan(0.003);
});

test('a missing program is an error that says what to do', async () => {
  await expect(run('no-such-program-here', [])).rejects.toThrow(/npm run setup/);
});
