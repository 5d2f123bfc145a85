/**
 * HLS as players see it: FFmpeg's reader gets every packet over files, runs and the present, and Chromium with hls.js plays
 * across a gap and a change of the picture's size.
 */
import { EventEmitter, once } from 'node:events';
import { extname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openArchive, type Archive } from '../../src/archive.ts';
import type { Handler } from '../../src/http/handler.ts';
import { type MediaFile, openMediaFile } from '../../src/ingest/media-file.ts';
import type { Frame } from '../../src/media.ts';
import {
  AAC,
  at,
  heldFrames,
  tone,
  type Variant,
  variantFile,
  video,
  withArchiveServer,
  X264,
} from '../support/acceptance.ts';
import { playInChromium } from '../support/chromium.ts';
import { type Packet, packets, probe } from '../support/ffmpeg.ts';
import { makeMedia, mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';

/** What is played in real time stumbles now and then on a busy machine; an answer that is wrong is so in every playback. */
const IN_REAL_TIME = { retry: 3 };
const AV1 = ['-c:v', 'libsvtav1', '-preset', '12', '-pix_fmt', 'yuv420p', '-g', '50'];
const OPUS = ['-c:a', 'libopus', '-b:a', '64k'];
const LENGTH_S = 3;
/** hls.js puts a run in its place by its first sound, which may lie so much before the first picture. */
const PRIMING_S = 0.03;
const PICTURES = 25 * LENGTH_S;

const CODECS = {
  'H.264 and AAC': [...X264, ...AAC],
  'AV1 and Opus': [...AV1, ...OPUS],
} as const;

/** Some seconds of a picture of this width. */
function sized(name: string, width: number, encoder: readonly string[]): Promise<string> {
  const inputs = [...video(), ...tone(), '-t', String(LENGTH_S), '-vf', `scale=${width}:-2`];
  return makeMedia(`hls-${name.replaceAll(/[^a-zA-Z0-9]+/g, '-')}-${width}.mp4`, [...inputs, ...encoder]);
}

/** All of the camera `door`. */
const WHOLE = `/api/cameras/door/hls/index.m3u8?start=${at(-1).toISOString()}&duration=100`;

async function openedArchive(): Promise<Archive> {
  return openArchive(join(await temporaryFolder(), 'archive'));
}

describe('Chromium with hls.js plays across a gap and a change of size, to the end', () => {
  test.each(Object.entries(CODECS))('%s', IN_REAL_TIME, async (name, encoder) => {
    await using archive = await openedArchive();
    const recorder = { segmentDurationMs: 2000 };
    for (const [i, width] of [320, 640, 640].entries()) {
      await archive.import('door', await sized(name, width, encoder), { start: at(20 * i), recorder });
    }
    const playback = await withArchiveServer(archive, (base) =>
      playInChromium(`${base}${WHOLE.replace('index', 'master')}`, { playbackRate: 2 }),
    );
    expect(playback.errors).toEqual([]);
    expect(playback.ended).toBe(true);
    expect(playback.decodedFrames).toBe(3 * PICTURES);
    expect([playback.videoWidth, playback.videoHeight]).toEqual([640, 360]);
    expect(playback.duration).toBeGreaterThan(3 * LENGTH_S - 0.01);
    expect(playback.duration).toBeLessThan(3 * LENGTH_S + 3 * PRIMING_S);
  });
});

/** Payloads, and times from the first one on, of the packets of each kind of stream. */
async function essence(file: string): Promise<Record<string, string[]>> {
  const [all, { streams }] = await Promise.all([packets(file, { hash: true }), probe(file)]);
  return Object.fromEntries(
    streams.map(({ index, codec_type, codec_name, time_base }) => {
      const own = all.filter(({ stream }) => stream === index);
      const [first, ...others] = own;
      // FFmpeg marks the first sound of a file with an edit list, and says nothing of its payload but the size.
      const lines = [String(first?.size), ...others.map((packet) => line(packet, first))];
      return [`${codec_type} ${codec_name} ${time_base}`, lines];
    }),
  );
}

function line({ dts, pts, size, hash }: Packet, first: Packet | undefined): string {
  return `${dts - (first?.dts ?? 0)} ${pts - (first?.pts ?? 0)} ${size} ${hash}`;
}

const VARIANTS: readonly Variant[] = ['plain', 'H.265 with open GOPs', 'negative composition offsets', 'B-pyramid'];

async function expectAll(file: string, segmentDurationMs: number): Promise<void> {
  await using archive = await openedArchive();
  await archive.import('door', file, { start: at(0), recorder: { segmentDurationMs } });
  const got = await withArchiveServer(archive, (base) => essence(`${base}${WHOLE}`));
  expect(got).toEqual(await essence(file));
}

describe("FFmpeg's reader gets every packet, DTS and PTS of a run over several segments", () => {
  test.each(VARIANTS)('%s', async (variant) => expectAll(await variantFile(variant), 3000));

  test.each(['av1-opus', 'aac-only'] as const)('%s', async (kind) => expectAll(await mediaFile(kind), 9000));
});

test('where the sound pauses there is silence: Chromium plays on, FFmpeg finds no hole', IN_REAL_TIME, async () => {
  await using archive = await openedArchive();
  await using file = await openMediaFile(await variantFile('plain'));
  const { tracks } = file;
  // The pause begins and ends inside a unit, and holds a whole one and the beginning of a segment.
  const frames = withoutSound(file, 2.5, 9.5);
  const recording = await archive.record('door', {
    tracks,
    frames,
    startUtcMs: at(0).getTime(),
    segmentDurationMs: 8000,
  });
  await recording.finished;
  const [playback, sound] = await withArchiveServer(archive, async (base) => [
    await playInChromium(`${base}${WHOLE}`, { playbackRate: 2 }),
    await packets(`${base}${WHOLE}`, { streams: 'a' }),
  ]);
  expect(playback.errors).toEqual([]);
  expect([playback.ended, playback.decodedFrames]).toEqual([true, 12 * 25]);
  const steps = sound.slice(1).map(({ dts }, i) => dts - (sound[i]?.dts ?? 0));
  expect(Math.min(...steps)).toBeGreaterThan(0);
  expect(Math.max(...steps)).toBeLessThan(3 * 1024);
  expect(sound.filter(({ size }) => size < 10).length).toBeGreaterThan((6.9 * 48_000) / 1024);
});

/** The frames of a file, but for the sound between two instants. */
async function* withoutSound(file: MediaFile, fromS: number, toS: number): AsyncGenerator<Frame, void, undefined> {
  for await (const frame of file.frames()) {
    const { kind, timescale = 1 } = file.tracks[frame.track] ?? {};
    const seconds = frame.dts / timescale;
    if (kind === 'video' || seconds < fromS || seconds > toS) yield frame;
  }
}

test('sound and pictures are in step, as they were', async () => {
  await using archive = await openedArchive();
  // Without B-pictures, as cameras do it: FFmpeg moves those of fragments with negative composition offsets.
  const inputs = [...video(), '-itsoffset', '0.413', ...tone(), '-t', '9', ...X264, '-bf', '0', ...AAC];
  const file = await makeMedia('hls-late-sound.mp4', inputs);
  await archive.import('door', file, { start: at(0), recorder: { segmentDurationMs: 4000 } });
  const [before, after] = await withArchiveServer(archive, (base) =>
    Promise.all([file, `${base}${WHOLE}`].map(async (address) => (await probe(address)).streams)),
  );
  const distance = (streams = before) => Number(streams?.[1]?.start_time) - Number(streams?.[0]?.start_time);
  expect(distance()).toBeGreaterThan(0.3);
  expect(distance(after)).toBeCloseTo(distance(before), 4);
});

test('FFmpeg gets every packet of both sides of a gap, and of a segment that begins inside a GOP', async () => {
  await using archive = await openedArchive();
  const file = await makeMedia('hls-long-gops.mp4', [...video(), ...tone(), '-t', '12', ...X264, '-g', '250', ...AAC]);
  // So small that segments are cut inside GOPs.
  const recorder = { segmentBytes: 2 ** 16 };
  for (const startS of [0, 40]) await archive.import('door', file, { start: at(startS), recorder });
  const [once, all, playlist] = await withArchiveServer(archive, async (base) => {
    const text = await (await fetch(`${base}${WHOLE}`)).text();
    return [await payloads(file), await payloads(`${base}${WHOLE}`), text];
  });
  expect(all).toEqual(once.map((stream) => [...stream, ...stream]));
  expect(playlist.match(/^#EXT-X-DISCONTINUITY$/gm)).toHaveLength(1);
  // One configuration, on both sides.
  expect(playlist.match(/^#EXT-X-MAP:/gm)).toHaveLength(1);
  expect(playlist).not.toContain('#EXT-X-INDEPENDENT-SEGMENTS');
});

/** What is in the packets of each stream, without times. */
async function payloads(file: string): Promise<string[][]> {
  const formats = ['-map', '0:v', '-map', '0:a', '-c', 'copy', '-copyts', '-f', 'framehash', '-hash', 'md5', '-'];
  // A fragment has no edit list, which FFmpeg hashes with the first sound.
  const input = file.startsWith('http') ? ['-i', file] : ['-ignore_editlist', '1', '-i', file];
  const { stdout } = await run('ffmpeg', ['-v', 'fatal', '-nostdin', ...input, ...formats]);
  return ['0', '1'].map((stream) => hashesOf(stdout, stream));
}

function hashesOf(framehash: Buffer, stream: string): string[] {
  const lines = framehash
    .toString()
    .split('\n')
    .filter((text) => text.startsWith(`${stream},`));
  return lines.map((text) => text.slice(-32));
}

/** Reads the first seconds of the live playlist; a hash of each picture's bytes. */
function readLive(base: string) {
  return run('ffmpeg', [
    ...['-v', 'error', '-nostdin', '-live_start_index', '0', '-i', `${base}/api/cameras/door/hls/live.m3u8`],
    ...['-map', '0:v', '-c', 'copy', '-t', '26', '-f', 'framehash', '-hash', 'md5', '-'],
  ]);
}

test('FFmpeg reads on while the camera records', async () => {
  await using archive = await openedArchive();
  const file = await mediaFile('h264-aac');
  const { tracks, frames, holding, release } = await heldFrames(file, 18);
  const recorder = { startUtcMs: at(0).getTime(), segmentDurationMs: 8000 };
  const recording = await archive.record('door', { tracks, frames, ...recorder });
  await holding(recording);
  const served = new EventEmitter();
  const handler = () => {
    const answer = archive.handler();
    return (...[req, res]: Parameters<Handler>) => {
      served.emit(extname(req.url ?? ''));
      answer(req, res);
    };
  };
  const { stdout } = await withArchiveServer({ handler }, async (base) => {
    const begun = once(served, '.m4s');
    const reading = readLive(base);
    // Only now, when FFmpeg has its first playlist, comes what it has to load it again for.
    await begun;
    release();
    return reading;
  });
  await recording.finished;
  const hashes = hashesOf(stdout, '0');
  const [wanted] = await payloads(file);
  expect(hashes.length).toBeGreaterThanOrEqual(26 * 25);
  expect(hashes).toEqual(wanted?.slice(0, hashes.length));
});
