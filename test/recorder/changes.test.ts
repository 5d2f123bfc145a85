/**
 * What changes while a camera is recorded: parameter sets and picture size (a new segment of the same run), and the clock
 * (a new run). Real media, exported and decoded by FFmpeg.
 */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Archive, openArchive } from '../../src/archive.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import type { Frame, Track } from '../../src/media.ts';
import { PreEventBuffer } from '../../src/recorder/pre-event.ts';
import type { RecordingStats } from '../../src/recorder/recorder.ts';
import {
  AAC,
  at,
  decode,
  difference,
  exportTo,
  picturesOf,
  START_MS,
  tone,
  video,
  X264,
} from '../support/acceptance.ts';
import { warnings } from '../support/ffmpeg.ts';
import { makeMedia } from '../support/media.ts';
import { AUDIO, AUDIO_TICKS, noise, PICTURE_TICKS, START_UTC_MS, VIDEO } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

interface Clip {
  readonly tracks: readonly Track[];
  readonly frames: readonly Frame[];
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

async function clipOf(path: string): Promise<Clip> {
  const file = await openMediaFile(path);
  try {
    return { tracks: file.tracks, frames: await all(file.frames()) };
  } finally {
    await file.close();
  }
}

const secondsOf = (tracks: readonly Track[], { track, dts }: Frame) => dts / (tracks[track]?.timescale ?? 1);

/** Wall time of a frame by a clock that says START_MS at media time 0. */
function stamped(tracks: readonly Track[], frame: Frame): Frame {
  const pts = frame.dts + frame.compositionOffset;
  return { ...frame, utcMs: START_MS + (pts * 1000) / (tracks[frame.track]?.timescale ?? 1) };
}

async function recordAll(archive: Archive, tracks: readonly Track[], given: readonly Frame[]): Promise<RecordingStats> {
  async function* frames() {
    yield* given;
  }
  const recording = await archive.record('door', { tracks, frames: frames() });
  return recording.finished;
}

/** What verify finds: segments, and frames in all of them. */
async function verified(archive: Archive): Promise<{ segments: number; frames: number }> {
  const reports = await all(archive.verify());
  for (const { problems } of reports) expect(problems).toEqual([]);
  return { segments: reports.length, frames: reports.reduce((sum, { frames }) => sum + frames, 0) };
}

const picture = (i: number, more: Partial<Frame> = {}): Frame => ({
  ...{ track: 0, data: noise(300, i), dts: i * PICTURE_TICKS, compositionOffset: 0, sync: i % 10 === 0 },
  ...more,
});

/** Sound that lasts until the next. */
const sound = (i: number): Frame => ({
  ...{ track: 1, data: noise(30, i), dts: i * AUDIO_TICKS, compositionOffset: 0, sync: true },
});

/** The same as the only track. */
const heard = (i: number, more: Partial<Frame> = {}): Frame => ({ ...sound(i), track: 0, ...more });

const CLIP_S = 2;
const sized = (size: string, more: readonly string[]) =>
  makeMedia(`${size}.mp4`, [...video(), '-t', String(CLIP_S), '-s', size, ...X264, ...more]);

/** Two clips and one sound, on one timeline, as a camera sends them whose picture size is changed. */
async function changingCamera(files: readonly string[], soundFile: string) {
  const [first, second, music] = await Promise.all([...files, soundFile].map(clipOf));
  if (first === undefined || second === undefined || music === undefined) throw new Error('two clips and a sound');
  const tracks = [...first.tracks, ...music.tracks];
  const [newTrack] = second.tracks;
  const ticks = CLIP_S * (newTrack?.timescale ?? 0);
  const behind = second.frames.map((frame) => ({ ...frame, dts: frame.dts + ticks }));
  const changed = behind.map((frame, i) => (i === 0 && newTrack !== undefined ? { ...frame, newTrack } : frame));
  const asSecond = music.frames.map((frame) => ({ ...frame, track: 1 }));
  const frames = [...first.frames, ...changed, ...asSecond]
    .toSorted((a, b) => secondsOf(tracks, a) - secondsOf(tracks, b))
    .map((frame) => stamped(tracks, frame));
  return { tracks, frames };
}

describe('a change of the picture', () => {
  test.each([
    ['with the same delay', []],
    ['and of the delay', ['-bf', '0']],
  ] as const)('%s cuts: a segment for each, one run, every picture in an export', async (_, more) => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    const files = await Promise.all([sized('320x180', []), sized('160x90', more)]);
    const soundFile = await makeMedia('sound.m4a', [...tone(), '-t', String(2 * CLIP_S), ...AAC]);
    const { tracks, frames } = await changingCamera(files, soundFile);
    const stats = await recordAll(archive, tracks, frames);
    expect(stats).toMatchObject({ segments: 2, dropped: [0, 0], lost: [0, 0] });
    expect(await verified(archive)).toEqual({ segments: 2, frames: frames.length });
    for (const format of ['mp4', 'fmp4'] as const) {
      const path = join(folder, `${format}.mp4`);
      const { manifest } = await exportTo(path, archive, { camera: 'door', start: at(0), end: at(5), format });
      expect(manifest).toMatchObject({
        insertedParameterSets: true,
        parts: 1,
        missing: [{ startUtcMs: expect.closeTo(START_MS + 4000, 3) }],
      });
      const times = (await picturesOf(path)).map(({ timeS }) => timeS);
      expect(times.map((time) => Math.round(time * 25))).toEqual(Array.from({ length: 100 }, (_one, i) => i));
      expect(await warnings(path)).toBe('');
      const [found, source] = [await decode(path, 48_000, 'sound'), await decode(soundFile, 48_000, 'sound')];
      // Of fragments FFmpeg decodes the priming, too, before time 0.
      const primed = Math.round(-found.sound.startS * 48_000);
      expect(difference(found.sound.samples, primed, source.sound.samples, 0, 3.9 * 48_000)).toBe(0);
    }
    // Of each side alone the very pictures of its clip.
    for (const [i, file] of files.entries()) {
      const path = join(folder, `${i}.mp4`);
      await exportTo(path, archive, { camera: 'door', start: at(i * CLIP_S), end: at((i + 1) * CLIP_S) });
      expect((await picturesOf(path)).map(({ hash }) => hash)).toEqual(
        (await picturesOf(file)).map(({ hash }) => hash),
      );
    }
  });

  const other: Track = { ...VIDEO, codec: 'hvc1.1.6.L93.B0' };
  test.each([
    ['a new track on a picture that is no sync sample', 'E_FRAME', picture(5, { newTrack: VIDEO })],
    ['a new track on sound', 'E_FRAME', picture(10, { track: 1, newTrack: AUDIO })],
    ['a track of another codec', 'E_FRAME', picture(10, { newTrack: other })],
    ['a track of another timescale', 'E_FRAME', picture(10, { newTrack: { ...VIDEO, timescale: 12_800 } })],
    ['a track of another kind', 'E_FRAME', picture(10, { newTrack: AUDIO })],
    ['a track that could not be sealed', 'E_TRACK', picture(10, { newTrack: { ...VIDEO, config: new Uint8Array(3) } })],
    ['a new run on a picture that is no sync sample', 'E_FRAME', picture(5, { newRun: true, utcMs: 0 })],
    ['a new run on sound', 'E_FRAME', picture(10, { track: 1, newRun: true, utcMs: 0 })],
    ['a new run without a wall time', 'E_FRAME', picture(10, { newRun: true })],
    ['a wall time that is none', 'E_FRAME', picture(10, { utcMs: Number.NaN })],
    ['a time of the camera that is none', 'E_FRAME', picture(10, { cameraUtcMs: Infinity })],
  ])('%s ends the recording with %s; what came before is sealed', async (_, code, wrong) => {
    await using archive = await openArchive(await temporaryFolder());
    const before = Array.from({ length: 5 }, (_one, i) => picture(i));
    const recording = recordAll(archive, [VIDEO, AUDIO], [...before, wrong]);
    await expect(recording).rejects.toMatchObject({ code });
    expect(await verified(archive)).toEqual({ segments: 1, frames: 5 });
  });

  test('that the pre-event buffer holds is recorded from there: each segment with its own track', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const small = { ...VIDEO, width: 320, height: 180 };
    const buffer = new PreEventBuffer([{ ...VIDEO, width: 160, height: 90 }], { preEventMs: 1000, maxBytes: 1e6 });
    const changes = new Map([
      [10, { newTrack: VIDEO }],
      [40, { newTrack: small }],
    ]);
    for (let i = 0; i < 50; i++) buffer.push(picture(i, { utcMs: START_UTC_MS + i * 40, ...changes.get(i) }));
    const { tracks } = buffer;
    expect(tracks).toEqual([VIDEO]);
    expect(await recordAll(archive, tracks, buffer.drain())).toMatchObject({ segments: 2, appended: [30] });
    const { spans } = await archive.timeline('door');
    expect(spans).toEqual([{ startUtcMs: START_UTC_MS + 800, endUtcMs: START_UTC_MS + 2000 }]);
  });

  test('before the first picture, or where nothing is open, is what the next segment begins with', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const newTrack = { ...VIDEO, width: 320, height: 180 };
    const stats = await recordAll(archive, [VIDEO], [picture(0, { newTrack }), picture(1)]);
    expect(stats).toMatchObject({ segments: 1, appended: [2] });
    const session = await archive.session({ camera: 'door', start: 0, end: new Date(Date.now() + 60_000) });
    expect(session.manifest.delivered).toHaveLength(1);
  });
});

const STEP_AT_S = 2;

/** Six seconds of a camera whose machine's clock steps by `stepMs` after two; sound of before comes after it, too. */
async function steppedCamera(source: string, stepMs: number): Promise<Clip> {
  const { tracks, frames } = await clipOf(source);
  const isFirst = ({ track, sync, dts }: Frame) =>
    track === 0 && sync && dts / (tracks[0]?.timescale ?? 1) > STEP_AT_S - 0.5;
  const first = frames.findIndex(isFirst);
  const given = frames.map((frame, i) => {
    const { utcMs = 0, ...rest } = stamped(tracks, frame);
    const own = { ...rest, utcMs: utcMs + (i < first ? 0 : stepMs) };
    return i === first ? { ...own, newRun: true as const } : own;
  });
  return { tracks, frames: given };
}

describe('a step of the clock', () => {
  test.each([
    ['an hour back', -3_600_000, 'behind', 0],
    ['an hour ahead', 3_600_000, 'before', 0],
    ['a second back, so that wall time overlaps', -1000, 'before', 1],
  ] as const)('%s: a new run; list, timeline and export give every sample once', async (_, stepMs, place, overlaps) => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    const file = await makeMedia('steps.mp4', [...video(), ...tone(), '-t', '6', ...X264, ...AAC]);
    const { tracks, frames } = await steppedCamera(file, stepMs);
    const stats = await recordAll(archive, tracks, frames);
    expect(stats).toMatchObject({ segments: 2, dropped: [0, 0], lost: [0, 0] });
    expect(await verified(archive)).toEqual({ segments: 2, frames: frames.length });
    // Sound comes by its decode time: what is heard with the last two pictures before the step comes behind it.
    const runs = [
      [0, STEP_AT_S * 1000],
      [STEP_AT_S * 1000 - 80 + stepMs, 6000 + stepMs],
    ] as const;
    await expectSpans(archive, overlaps > 0 ? [[0, 6000 + stepMs]] : runs.toSorted((a, b) => a[0] - b[0]));
    const path = join(folder, 'export.mp4');
    const range = { start: at(-4000), end: at(4000) };
    const { manifest } = await exportTo(path, archive, { camera: 'door', ...range });
    expect(manifest.overlaps).toBe(overlaps);
    const pictures = (await picturesOf(file)).map(({ hash }) => hash);
    const [before, behind] = [pictures.slice(0, STEP_AT_S * 25), pictures.slice(STEP_AT_S * 25)];
    expect((await picturesOf(path)).map(({ hash }) => hash)).toEqual(
      place === 'before' ? [...before, ...behind] : [...behind, ...before],
    );
    expect(await warnings(path)).toBe('');
  });

  test('where there is only sound, any frame of it can begin the new run', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const before = Array.from({ length: 5 }, (_, i) => heard(i, { utcMs: START_UTC_MS + (i * AUDIO_TICKS) / 48 }));
    const stepped = heard(5, { newRun: true, utcMs: START_UTC_MS + 60_000 });
    const stats = await recordAll(archive, [AUDIO], [...before, stepped, heard(6), heard(7)]);
    expect(stats).toMatchObject({ appended: [8], segments: 2 });
    const { spans } = await archive.timeline('door');
    expect(spans.map(({ startUtcMs }) => startUtcMs)).toEqual([START_UTC_MS, START_UTC_MS + 60_000]);
  });

  test('sound that waits for its length, or its group, is in the run that ends', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const pictures = Array.from({ length: 20 }, (_, i) => picture(i, { utcMs: START_UTC_MS + i * 40 }));
    const behind = pictures.slice(10).map((frame) => ({ ...frame, utcMs: (frame.utcMs ?? 0) + 3_600_000 }));
    const stepped = behind.map((frame, i) => (i === 0 ? { ...frame, newRun: true as const } : frame));
    const waiting = Array.from({ length: 11 }, (_, i) => sound(i));
    const stats = await recordAll(archive, [VIDEO, AUDIO], [...pictures.slice(0, 10), ...waiting, ...stepped]);
    expect(stats).toMatchObject({ appended: [20, 11], dropped: [0, 0], segments: 2 });
    const reports = await all(archive.verify());
    expect(reports.map(({ frames }) => frames)).toEqual([21, 10]);
  });
});

/** Spans from START_MS on, ms. */
async function expectSpans(archive: Archive, expected: readonly (readonly number[])[]) {
  const [camera] = await archive.cameras();
  const { spans } = await archive.timeline('door');
  for (const found of [camera?.spans ?? [], spans]) {
    const [starts, ends] = [found.map(({ startUtcMs }) => startUtcMs), found.map(({ endUtcMs }) => endUtcMs)];
    expect(starts).toEqual(expected.map(([start = 0]) => expect.closeTo(START_MS + start, 0)));
    expect(ends).toEqual(expected.map(([, end = 0]) => expect.closeTo(START_MS + end, 0)));
  }
}
