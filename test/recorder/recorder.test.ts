/**
 * The recorder, through the archive: when segments and runs begin and end, what becomes of odd timestamps, and how a
 * recording stops.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Archive, openArchive, type RecordOptions } from '../../src/archive.ts';
import { readTrailer, readSealed } from '../../src/segment/reader.ts';
import { openIfThere, nodeDisk } from '../../src/segment/disk.ts';
import type { SegmentContents } from '../../src/segment/contents.ts';
import type { Frame } from '../../src/media.ts';
import { native } from '../../src/native.ts';
import type { RecordingStats } from '../../src/recorder/recorder.ts';
import type { Recording } from '../../src/recorder/recording.ts';
import { AUDIO, AUDIO_TICKS, noise, PICTURE_TICKS, START_UTC_MS, VIDEO } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

function picture(i: number, more: Partial<Frame> = {}): Frame {
  const data = noise(300, i);
  return { track: 0, data, dts: i * PICTURE_TICKS, compositionOffset: 0, sync: i % 10 === 0, ...more };
}

function sound(i: number, more: Partial<Frame> = {}): Frame {
  const data = noise(30, i);
  return {
    track: 1,
    data,
    dts: i * AUDIO_TICKS,
    compositionOffset: 0,
    sync: true,
    durationTicks: AUDIO_TICKS,
    ...more,
  };
}

const secondsOf = ({ track, dts }: Frame) => dts / (track === 0 ? 90_000 : 48_000);

function soundWithoutDuration(i: number): Frame {
  return { track: 1, data: noise(30, i), dts: i * AUDIO_TICKS, compositionOffset: 0, sync: true };
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

async function* source(frames: Iterable<Frame>): AsyncGenerator<Frame, void, undefined> {
  yield* frames;
}

/** Never gives a frame, and does not answer `return` either. */
function hanging(frames: readonly Frame[]): AsyncIterable<Frame> {
  const rest = [...frames];
  const never = new Promise<never>(() => undefined);
  return {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        const value = rest.shift();
        return value === undefined ? never : { done: false, value };
      },
      return: () => never,
    }),
  };
}

interface Recorded {
  readonly stats: RecordingStats;
  readonly segments: readonly SegmentContents[];
}

async function segmentsOf(archive: Archive): Promise<SegmentContents[]> {
  const names = await readdir(join(archive.root, 'door'), { recursive: true });
  const contents: SegmentContents[] = [];
  for (const name of names.filter((one) => one.endsWith('.mp4'))) {
    const file = await openIfThere(nodeDisk, join(archive.root, 'door', name));
    const trailer = file && (await readTrailer(file, native));
    if (file === undefined || trailer === undefined) throw new Error(`${name} is not sealed`);
    contents.push(await readSealed(file, trailer, native));
    await file.close();
  }
  expect(names.filter((one) => one.endsWith('.idx'))).toEqual([]);
  // Runs of one recording begin at different wall times, segments of a run at different DTS.
  return contents.toSorted((a, b) => orderOf(a) - orderOf(b));
}

const orderOf = ({ head, tracks }: SegmentContents) =>
  head.anchor.utcMs + head.sequence + (tracks[0]?.samples.dts[0] ?? 0) / 1e9;

async function record(frames: Iterable<Frame>, options: Partial<RecordOptions> = {}): Promise<Recorded> {
  await using archive = await openArchive(await temporaryFolder());
  const tracks = [VIDEO, AUDIO];
  const recording = await archive.record('door', {
    tracks,
    startUtcMs: START_UTC_MS,
    ...options,
    frames: source(frames),
  });
  const stats = await recording.finished;
  expect(archive.recovered).toEqual([]);
  return { stats, segments: await segmentsOf(archive) };
}

const dtsOf = (segments: readonly SegmentContents[], track = 0) =>
  segments.map(({ tracks }) => Array.from(tracks[track]?.samples.dts.subarray(0, tracks[track]?.samples.count) ?? []));

const runsOf = (segments: readonly SegmentContents[]) => new Set(segments.map(({ head }) => head.run)).size;

describe('cuts', () => {
  test('at the first sync sample after the duration, with nothing lost at the joint', async () => {
    const { segments, stats } = await record(
      range(0, 60).map((i) => picture(i)),
      { segmentDurationMs: 700 },
    );
    expect(dtsOf(segments).map((dts) => dts.map((one) => one / PICTURE_TICKS))).toEqual([
      range(0, 20),
      range(20, 40),
      range(40, 60),
    ]);
    expect(segments.map(({ head }) => head.sequence)).toEqual([0, 1, 2]);
    expect(runsOf(segments)).toBe(1);
    expect(segments.map(({ tracks }) => tracks[0]?.endDts)).toEqual([20, 40, 60].map((i) => i * PICTURE_TICKS));
    // Only the very last picture has no successor.
    expect(segments.map(({ tracks }) => tracks[0]?.estimated)).toEqual([false, false, true]);
    expect(stats).toMatchObject({ appended: [60, 0], flushed: [60, 0], segments: 3, recordedMs: 2400 });
  });

  test('at the first sync sample after the size', async () => {
    const { segments } = await record(
      range(0, 40).map((i) => picture(i, { data: noise(6000, i) })),
      { segmentBytes: 2 ** 16 },
    );
    expect(dtsOf(segments).map((dts) => dts.length)).toEqual([20, 20]);
  });

  test('at the hard size limit without a sync sample, and a plan begins in the segment before', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const frames = source(range(0, 60).map((i) => picture(i, { sync: i === 0, data: noise(6000, i) })));
    const options = { tracks: [VIDEO], startUtcMs: START_UTC_MS, segmentBytes: 2 ** 16 };
    await (
      await archive.record('door', { ...options, frames })
    ).finished;
    const segments = await segmentsOf(archive);
    expect(segments.length).toBeGreaterThan(2);
    expect(segments.map(({ tracks }) => tracks[0]?.samples.sync[0])).toEqual([1, ...segments.slice(1).map(() => 0)]);
    expect(dtsOf(segments).flat()).toEqual(range(0, 60).map((i) => i * PICTURE_TICKS));
    const last = (dtsOf(segments).at(-1)?.[0] ?? 0) / 90 + 40;
    const session = await archive.session({ camera: 'door', start: START_UTC_MS / 1000 + last / 1000, duration: 0.04 });
    expect(session.manifest.segments).toEqual(segments.map(({ head }) => head.segment));
    expect(session.manifest.hiddenPictures).toBe(last / 40);
  });

  test('sound goes to the segment that is open when its group is whole, none twice and none lost', async () => {
    const mixed = [...range(0, 60).map((i) => picture(i)), ...range(0, 112).map((i) => sound(i))];
    const { segments, stats } = await record(
      mixed.toSorted((a, b) => secondsOf(a) - secondsOf(b)),
      { segmentDurationMs: 700 },
    );
    expect(dtsOf(segments, 1).flat()).toEqual(range(0, 112).map((i) => i * AUDIO_TICKS));
    expect(stats.appended).toEqual([60, 112]);
    expect(segments.length).toBe(3);
  });
});

describe('odd timestamps', () => {
  test('a DTS that does not increase is corrected by a tick; the picture keeps its presentation time', async () => {
    const dts = [0, 3600, 3600, 3000, 7200];
    const { segments } = await record(dts.map((one, i) => picture(i, { dts: one })));
    const { samples } = segments[0]?.tracks[0] ?? {};
    expect(dtsOf(segments)).toEqual([[0, 3600, 3601, 3602, 7200]]);
    expect(Array.from(samples?.compositionOffset.subarray(0, 5) ?? [])).toEqual([0, 0, -1, -602, 0]);
  });

  test.each([
    ['a jump back of 11 s', -275],
    ['a stall of 11 s', 275],
  ])('%s begins a new run at the next sync sample', async (_, jump) => {
    const jumped = range(20, 45).map((i) => ({ ...picture(i), dts: (i + jump + 300) * PICTURE_TICKS }));
    const before = range(0, 20).map((i) => ({ ...picture(i), dts: (i + 300) * PICTURE_TICKS }));
    const { segments, stats } = await record([...before, ...jumped]);
    expect(runsOf(segments)).toBe(2);
    expect(segments.map(({ head }) => head.sequence)).toEqual([0, 0]);
    expect(
      dtsOf(segments)
        .map((dts) => dts.length)
        .toSorted((a, b) => a - b),
    ).toEqual([20, 25]);
    expect(stats).toMatchObject({ appended: [45, 0], dropped: [0, 0] });
  });

  test('a stall of 9 s, and a jump back of 9 s, do not begin a run', async () => {
    const stalled = range(20, 40).map((i) => ({ ...picture(i), dts: (i + 225) * PICTURE_TICKS }));
    const back = range(40, 50).map((i) => ({ ...picture(i), dts: (i + 20) * PICTURE_TICKS }));
    const { segments } = await record([...range(0, 20).map((i) => picture(i)), ...stalled, ...back]);
    expect(segments.length).toBe(1);
    expect(segments[0]?.tracks[0]?.samples.count).toBe(50);
  });

  test('a stall that sound is the first to end begins a new run as well', async () => {
    const before = range(0, 20).map((i) => picture(i));
    const after = range(0, 20).map((i) => picture(i + 1500));
    const { segments } = await record([...before, sound(60 * 47), ...after]);
    expect(runsOf(segments)).toBe(2);
    expect(dtsOf(segments, 1).map((dts) => dts.length)).toEqual([0, 1]);
  });

  test('sound that was away for a minute, while pictures came, continues the run', async () => {
    const frames = [sound(0), ...range(0, 1500).map((i) => picture(i)), sound(60 * 47)];
    const { segments } = await record(frames);
    expect(segments.length).toBe(1);
    expect(dtsOf(segments, 1)[0]?.length).toBe(2);
  });

  test('a segment whose sound is all from before its cut is sealed', async () => {
    const late = [0, 1].map((i) => sound(i + 16, { dts: 16_000 + i * AUDIO_TICKS }));
    const frames = [...range(0, 20).map((i) => picture(i)), ...range(20, 22).map((i) => picture(i)), ...late];
    const { segments } = await record(frames, { segmentDurationMs: 800 });
    expect(segments.map(({ tracks }) => tracks.map(({ samples }) => samples.count))).toEqual([
      [20, 0],
      [2, 2],
    ]);
  });

  test('a recording of nothing but priming is sealed and kept', async () => {
    const { segments } = await record(range(0, 10).map((i) => picture(i, { dts: (i - 10) * PICTURE_TICKS })));
    expect(segments[0]?.tracks[0]?.samples.count).toBe(10);
  });

  test('a first picture more than 10 s before time 0 is refused: it would be hidden', async () => {
    const far = range(0, 20).map((i) => picture(i, { dts: (i - 300) * PICTURE_TICKS }));
    await expect(record(far)).rejects.toMatchObject({ code: 'E_FRAME' });
  });

  test('a first sample with a negative composition offset is sealed', async () => {
    const frames = range(0, 12).map((i) => picture(i, { compositionOffset: i === 0 ? -1800 : 0 }));
    const { segments } = await record(frames);
    expect(segments[0]?.tracks[0]?.samples.compositionOffset[0]).toBe(-1800);
  });

  test('after a pause a file without wall times goes on with the same clock', async () => {
    const later = range(20, 40).map((i) => ({ ...picture(i), dts: (i + 500) * PICTURE_TICKS }));
    await using archive = await openArchive(await temporaryFolder());
    const frames = source([...range(0, 20).map((i) => picture(i)), ...later]);
    await (
      await archive.record('door', { tracks: [VIDEO], startUtcMs: START_UTC_MS, frames })
    ).finished;
    const { spans } = await archive.timeline('door');
    expect(spans).toEqual([
      { startUtcMs: START_UTC_MS, endUtcMs: START_UTC_MS + 800 },
      { startUtcMs: START_UTC_MS + 20_800, endUtcMs: START_UTC_MS + 21_600 },
    ]);
  });

  test('pictures before the first sync sample are dropped and counted', async () => {
    const { segments, stats } = await record(range(3, 25).map((i) => picture(i)));
    expect(dtsOf(segments).flat()).toEqual(range(10, 25).map((i) => i * PICTURE_TICKS));
    expect(stats).toMatchObject({ appended: [15, 0], dropped: [7, 0], recordedMs: 600 });
  });

  test('sound without durations lasts until the next frame; the last is as long as its forerunner', async () => {
    const frames = [picture(0), ...range(0, 12).map((i) => soundWithoutDuration(i)), picture(1)];
    const { segments, stats } = await record(frames);
    const { samples, endDts } = segments[0]?.tracks[1] ?? {};
    expect(Array.from(samples?.duration.subarray(0, samples.count) ?? [])).toEqual(range(0, 12).map(() => AUDIO_TICKS));
    expect(endDts).toBe(12 * AUDIO_TICKS);
    expect(stats.appended).toEqual([2, 12]);
  });

  test('a pause of the sound is a pause, with and without durations', async () => {
    for (const durationTicks of [AUDIO_TICKS, undefined]) {
      const paused = range(0, 12).map((i): Frame => {
        const frame = soundWithoutDuration(i < 6 ? i : i + 20);
        return durationTicks === undefined ? frame : { ...frame, durationTicks };
      });
      const { segments } = await record([picture(0), ...paused, picture(1)]);
      const { samples } = segments[0]?.tracks[1] ?? {};
      expect(samples?.duration[5]).toBe(AUDIO_TICKS);
      expect(samples?.dts[6]).toBe(26 * AUDIO_TICKS);
    }
  });

  test.each([
    ['no data', { data: new Uint8Array(0) }],
    ['a DTS that is no integer', { dts: 0.5 }],
    ['a composition offset beyond 32 bits', { compositionOffset: 2 ** 31 }],
    ['a duration of nothing', { durationTicks: 0 }],
    ['a track that is not there', { track: 2 }],
  ])('a frame with %s ends the recording with E_FRAME; what came before is sealed', async (_, wrong) => {
    await using archive = await openArchive(await temporaryFolder());
    const frames = source([...range(0, 12).map((i) => picture(i)), picture(12, wrong)]);
    const recording = await archive.record('door', { tracks: [VIDEO, AUDIO], frames });
    await expect(recording.finished).rejects.toMatchObject({ code: 'E_FRAME' });
    expect((await segmentsOf(archive))[0]?.tracks[0]?.samples.count).toBe(12);
  });

  test('sound in frames of hundreds of kilobytes is read back: groups stay small enough for a scan', async () => {
    const big = range(0, 6).map((i) => sound(i, { data: noise(400_000, i) }));
    const { segments } = await record([picture(0), ...big, picture(1)]);
    expect(segments[0]?.tracks[1]?.samples.count).toBe(6);
  });
});

const stamped = (i: number, stepMs: number) => picture(i, { utcMs: START_UTC_MS + i * 40 + stepMs });

describe('two clocks', () => {
  test('a step of the wall clock becomes an anchor, and moves nothing that was recorded before', async () => {
    const frames = range(0, 50).map((i) => stamped(i, i < 20 ? 0 : 2000));
    const { segments } = await record(frames, { startUtcMs: START_UTC_MS });
    expect(segments[0]?.anchors).toEqual([
      { track: 0, dts: 20 * PICTURE_TICKS, utcMs: START_UTC_MS + 2800, discontinuity: false },
    ]);
    // Sample durations are never bent.
    expect(new Set(segments[0]?.tracks[0]?.samples.duration.subarray(0, 50))).toEqual(new Set([PICTURE_TICKS]));
  });

  test('jitter below the tolerance does not', async () => {
    const { segments } = await record(range(0, 50).map((i) => stamped(i, (i % 5) * 5)));
    expect(segments[0]?.anchors).toEqual([]);
  });

  test('the next segment begins with the anchor in force', async () => {
    const frames = range(0, 40).map((i) => stamped(i, i < 15 ? 0 : 5000));
    const { segments } = await record(frames, { segmentDurationMs: 700 });
    expect(segments[1]?.head.anchor).toMatchObject({ dts: 15 * PICTURE_TICKS, utcMs: START_UTC_MS + 5600 });
  });
});

describe('the end of a recording', () => {
  test.each(['stop', 'signal', 'close'])('a source that hangs does not keep it from ending: %s', async (way) => {
    await using archive = await openArchive(await temporaryFolder());
    const controller = new AbortController();
    const frames = hanging(range(0, 15).map((i) => picture(i)));
    const recording = await archive.record('door', { tracks: [VIDEO], frames, signal: controller.signal });
    while (recording.stats().appended[0] !== 15) await new Promise((resolve) => setTimeout(resolve, 5));
    if (way === 'stop') await recording.stop();
    else if (way === 'signal') controller.abort();
    else await archive.close();
    expect(await recording.finished).toMatchObject({ appended: [15], flushed: [15] });
    expect((await segmentsOf(archive))[0]?.tracks[0]?.samples.count).toBe(15);
  });

  test('a source that throws ends it with that error; what came before is sealed', async () => {
    await using archive = await openArchive(await temporaryFolder());
    async function* failing() {
      yield* range(0, 15).map((i) => picture(i));
      throw new Error('the camera is gone');
    }
    const recording = await archive.record('door', { tracks: [VIDEO], frames: failing() });
    await expect(recording.finished).rejects.toThrow('the camera is gone');
    expect((await segmentsOf(archive))[0]?.tracks[0]?.samples.count).toBe(15);
    // The camera is free again at once.
    const again = await archive.record('door', { tracks: [VIDEO], frames: source([picture(0), picture(1)]) });
    expect((await again.finished).appended).toEqual([2]);
  });

  test('without a single frame, or without a sync sample, nothing is left', async () => {
    for (const frames of [[], range(1, 9).map((i) => picture(i))]) {
      const { segments, stats } = await record(frames);
      expect(segments).toEqual([]);
      expect(stats).toMatchObject({ appended: [0, 0], segments: 0 });
    }
  });

  test('an aborted signal ends it before the first frame', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const options = { tracks: [VIDEO], frames: hanging([]), signal: AbortSignal.abort() };
    expect((await (await archive.record('door', options)).finished).appended).toEqual([0]);
  });
});

test('the source waits for the disk: no more than some megabytes are on the way', async () => {
  await using archive = await openArchive(await temporaryFolder());
  const MIB = 2 ** 20;
  let given = 0;
  let most = 0;
  let recording: Recording | undefined;
  const frames = async function* () {
    for (let i = 0; i < 64; i++) {
      const appended = recording?.stats().appended[0] ?? 0;
      most = Math.max(most, given - appended);
      given++;
      yield picture(i, { data: new Uint8Array(MIB) });
    }
  };
  recording = await archive.record('door', { tracks: [VIDEO], frames: frames() });
  expect((await recording.finished).appended).toEqual([64]);
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThanOrEqual(10);
});
