/** Replay: frames come in real time, for ever if asked, and stop when told. */
import { describe, expect, test } from 'vitest';
import type { MediaFile } from '../../src/ingest/media-file.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import { replay } from '../../src/ingest/replay.ts';
import type { ReplayOptions } from '../../src/ingest/replay.ts';
import type { Frame, Track } from '../../src/media.ts';
import { mediaFile } from '../support/media.ts';

const VIDEO: Track = { kind: 'video', codec: 'avc1.640028', timescale: 90_000, config: new Uint8Array(7) };
const AUDIO: Track = { kind: 'audio', codec: 'mp4a.40.2', timescale: 48_000, config: new Uint8Array(30) };
const PICTURE_TICKS = 3600;
const SOUND_TICKS = 1024;

/** `count` frames one behind the other, from `firstDts`. */
function run(track: number, count: number, firstDts: number, durationTicks: number): Frame[] {
  return Array.from({ length: count }, (_, i) => ({
    track,
    data: Uint8Array.of(i),
    dts: firstDts + i * durationTicks,
    compositionOffset: track === 0 ? 2 * PICTURE_TICKS : 0,
    sync: track === 1 || i === 0,
    durationTicks,
  }));
}

/** A file in memory: 0.2 s of video with a composition delay of two pictures, sound with one frame of priming. */
function fileOf(frames: readonly Frame[], tracks: readonly Track[] = [VIDEO, AUDIO]): MediaFile {
  const scale = (frame: Frame): number => tracks[frame.track]?.timescale ?? 1;
  const ordered = frames.toSorted((a, b) => a.dts / scale(a) - b.dts / scale(b));
  return {
    tracks,
    skipped: [],
    durationMs: 200,
    async *frames() {
      yield* ordered;
    },
    close: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

const CLIP = [...run(0, 5, -2 * PICTURE_TICKS, PICTURE_TICKS), ...run(1, 10, -SOUND_TICKS, SOUND_TICKS)];

async function take(file: MediaFile, count: number, options: ReplayOptions): Promise<Frame[]> {
  const frames: Frame[] = [];
  for await (const frame of replay(file, options)) {
    frames.push(frame);
    if (frames.length === count) break;
  }
  return frames;
}

describe('pace', () => {
  test('no frame comes before its time, and waiting does not add up', async () => {
    const start = performance.now();
    const wallStart = Date.now();
    let firstAt = Infinity;
    const early: number[] = [];
    const starts: number[] = [];
    for await (const frame of replay(fileOf(CLIP))) {
      const due = (frame.dts / (frame.track === 0 ? VIDEO : AUDIO).timescale) * 1000;
      if (performance.now() - start < due) early.push(due);
      const pts = ((frame.dts + frame.compositionOffset) / (frame.track === 0 ? VIDEO : AUDIO).timescale) * 1000;
      firstAt = Math.min(firstAt, Date.now());
      starts.push((frame.utcMs ?? 0) - pts);
    }
    expect(early).toEqual([]);
    expect(starts).toHaveLength(CLIP.length);
    // One instant for all, the one at which the replay began.
    for (const one of starts) expect(one).toBeCloseTo(starts[0] ?? Number.NaN, 2);
    expect(starts[0]).toBeGreaterThan(wallStart - 0.01);
    expect(starts[0]).toBeLessThan(firstAt + 0.01);
    expect(performance.now() - start).toBeGreaterThanOrEqual(((8 * SOUND_TICKS) / AUDIO.timescale) * 1000);
  });

  test('the clock can be replaced: nothing waits when it is already late', async () => {
    let clock = 0;
    const now = (): number => (clock += 1_000_000);
    // Two hours of media: whoever waited would be ended by the test's timeout.
    expect(await take(fileOf(run(0, 3000, 0, 60 * PICTURE_TICKS)), 3000, { now })).toHaveLength(3000);
  });

  test('speed is media time over wall time', async () => {
    const begin = performance.now();
    const frames = await take(fileOf(run(0, 100, 0, PICTURE_TICKS)), 100, { speed: 40 });
    expect(performance.now() - begin).toBeGreaterThanOrEqual((99 * 40) / 40);
    expect(frames).toHaveLength(100);
    expect(() => replay(fileOf(CLIP), { speed: 0 })).toThrow(RangeError);
    expect(() => replay(fileOf(CLIP), { speed: Number.NaN })).toThrow(RangeError);
  });
});

describe('end', () => {
  test('a signal ends a wait at once, without an error', async () => {
    const hourLater = [...run(0, 1, 0, PICTURE_TICKS), ...run(0, 1, 3600 * VIDEO.timescale, PICTURE_TICKS)];
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 20);
    // Else it would last for an hour.
    expect(await take(fileOf(hourLater), 9, { signal: stop.signal })).toHaveLength(1);
  });

  test('a signal that is already aborted gives no frame', async () => {
    expect(await take(fileOf(CLIP), 9, { signal: AbortSignal.abort() })).toEqual([]);
  });

  test('without loop the file ends', async () => {
    expect(await take(fileOf(CLIP), 999, { speed: 1000 })).toHaveLength(CLIP.length);
  });
});

const dtsOf = (frames: readonly Frame[], track: number): number[] =>
  frames.filter((frame) => frame.track === track).map(({ dts }) => dts);

describe('loop', () => {
  const LOOPS = 200;
  test('video goes on seamlessly; sound never goes back; nothing drifts', async () => {
    const frames = await take(fileOf(CLIP), LOOPS * 15 - LOOPS, { loop: true, speed: 100_000 });
    const video = dtsOf(frames, 0);
    const sound = dtsOf(frames, 1);
    for (const dts of [video, sound]) {
      expect(dts.every((value, i) => i === 0 || value > (dts[i - 1] ?? 0))).toBe(true);
    }
    // The video is the longest track: its times have no hole, over all loops.
    expect(video).toEqual(video.map((_, i) => (i - 2) * PICTURE_TICKS));
    const [lastVideo = 0, lastSound = 0] = [video.at(-1), sound.at(-1)];
    expect(Math.abs(lastVideo / VIDEO.timescale - lastSound / AUDIO.timescale)).toBeLessThan(0.2);
  });

  test('priming that would go back is left out from the second loop on', async () => {
    const sound = run(0, 10, -SOUND_TICKS, SOUND_TICKS).map((frame) => ({ ...frame, compositionOffset: 0 }));
    const frames = await take(fileOf(sound, [AUDIO]), 28, { loop: true, speed: 100_000 });
    expect(dtsOf(frames, 0)).toEqual(Array.from({ length: 28 }, (_, i) => (i - 1) * SOUND_TICKS));
    // Byte 0 marks the priming frame.
    expect(frames.filter(({ data }) => data[0] === 0)).toHaveLength(1);
  });

  test('a hidden lead-in of video is kept, since later frames need it', async () => {
    const leadIn = run(0, 30, -20 * PICTURE_TICKS, PICTURE_TICKS);
    const frames = await take(fileOf(leadIn, [VIDEO]), 90, { loop: true, speed: 100_000 });
    expect(dtsOf(frames, 0)).toEqual(Array.from({ length: 90 }, (_, i) => (i - 20) * PICTURE_TICKS));
  });

  test('a period that is no whole number of ticks of the other track is rounded once, not once per loop', async () => {
    const third: Track = { ...VIDEO, timescale: 3 };
    const frames = await take(
      fileOf([...run(0, 1, 0, 1), ...run(1, 1, 0, 1)], [third, { ...AUDIO, timescale: 1000 }]),
      600,
      {
        loop: true,
        speed: 1_000_000,
      },
    );
    const periodTicks = 2 * PICTURE_TICKS + 1;
    const sound = dtsOf(frames, 1);
    expect(sound).toEqual(sound.map((_, loop) => Math.round((loop * periodTicks * 1000) / 3)));
  });

  test('a real file goes round', async () => {
    const file = await openMediaFile(await mediaFile('flash-beep'));
    try {
      const frames = await take(file, 5000, { loop: true, speed: 100_000 });
      const video = dtsOf(frames, 0);
      const step = (video[1] ?? 0) - (video[0] ?? 0);
      expect(video).toEqual(video.map((_, i) => (video[0] ?? 0) + i * step));
      const sound = dtsOf(frames, 1);
      expect(sound.every((value, i) => i === 0 || value > (sound[i - 1] ?? 0))).toBe(true);
    } finally {
      await file.close();
    }
  });
});
