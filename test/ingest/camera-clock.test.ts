/**
 * The wall time of frames, simulated: a camera with a clock of its own, a network that delays, and a machine whose clock
 * is set. All instants are UTC, so time zones and summer time have no part in it.
 */
import { describe, expect, test } from 'vitest';
import { CameraClock, type ClockStep } from '../../src/ingest/camera-clock.ts';
import type { Frame, Track } from '../../src/media.ts';
import { Random } from '../fuzz/random.ts';

const VIDEO: Track = { kind: 'video', codec: 'avc1.640028', timescale: 90_000, config: new Uint8Array(0) };
const AUDIO: Track = { kind: 'audio', codec: 'opus', timescale: 48_000, config: new Uint8Array(0) };
const TRACKS = [VIDEO, AUDIO];
const SYNC_EVERY = 10;
const START_UTC_MS = Date.parse('2026-10-25T00:30:00Z');
/** Of a monotonic clock; any number. */
const START_MONOTONIC_MS = 7_000_000;
/** The network's least. */
const DELAY_MS = 5;

interface World {
  readonly seconds: number;
  readonly periodMs?: number;
  /** How much faster the camera's clock runs. */
  readonly rate?: number;
  /** Delay beyond the least, ms; at true ms since the beginning. */
  readonly delayMs?: (atMs: number, random: Random) => number;
  /** What the camera has put its timestamps forward by then, ms. */
  readonly jumpedMs?: (track: number, atMs: number) => number;
  /** What this machine's clock has been set forward by then, ms. */
  readonly setMs?: (atMs: number) => number;
  readonly tracks?: readonly Track[];
}

interface Seen extends Frame {
  readonly number: number;
  /** True ms since the beginning at which it was taken. */
  readonly takenMs: number;
  readonly arrivalAtMs: number;
  /** How wrong its wall time is, by the clock of this machine when it came. */
  readonly errorMs: number;
}

interface Result {
  readonly seen: readonly Seen[];
  readonly steps: readonly ClockStep[];
  readonly jumps: number;
}

interface Sent {
  readonly track: number;
  readonly number: number;
  readonly takenMs: number;
  readonly arrivalAtMs: number;
}

/** Frames in order of arrival: none overtakes another one of one connection. */
function sentBy({ seconds, periodMs = 200, delayMs = () => 0, tracks = TRACKS }: World): Sent[] {
  const random = new Random(42);
  const sent: Sent[] = [];
  let lastMs = 0;
  for (let number = 0; number * periodMs < seconds * 1000; number++) {
    for (let track = 0; track < tracks.length; track++) {
      const takenMs = number * periodMs + track;
      lastMs = Math.max(lastMs, takenMs + DELAY_MS + delayMs(takenMs, random));
      sent.push({ track, number, takenMs, arrivalAtMs: lastMs });
    }
  }
  return sent;
}

function simulate(world: World): Result {
  const { rate = 1, jumpedMs = () => 0, setMs = () => 0, tracks = TRACKS } = world;
  const steps: ClockStep[] = [];
  const seen: Seen[] = [];
  const waiting: Sent[] = [];
  let nowMs = 0;
  const monotonicMs = () => START_MONOTONIC_MS + nowMs;
  const wallMs = () => START_UTC_MS + nowMs + setMs(nowMs);
  const clock = new CameraClock({ tracks, monotonicMs, wallMs, onStep: (step) => steps.push(step) });
  const see = (frames: readonly Frame[]) => {
    for (const frame of frames) {
      const sent = waiting.shift();
      if (sent === undefined) throw new Error('more frames leave than came');
      const trueUtcMs = START_UTC_MS + sent.takenMs + DELAY_MS + setMs(sent.arrivalAtMs);
      seen.push({ ...frame, ...sent, errorMs: (frame.utcMs ?? Number.NaN) - trueUtcMs });
    }
  };
  for (const sent of sentBy(world)) {
    const { track, number, takenMs, arrivalAtMs } = sent;
    nowMs = arrivalAtMs;
    waiting.push(sent);
    const timescale = tracks[track]?.timescale ?? 1;
    const dts = Math.round(((takenMs * rate + jumpedMs(track, takenMs)) * timescale) / 1000) + 1000 * timescale;
    const sync = tracks[track]?.kind === 'audio' || number % SYNC_EVERY === 0;
    see(clock.take({ track, data: Uint8Array.of(track), dts, compositionOffset: 0, sync, arrivalMs: monotonicMs() }));
  }
  see(clock.finish());
  expect(waiting, 'no frame is lost').toEqual([]);
  return { seen, steps, jumps: clock.jumps };
}

const mediaMsOf = ({ track, dts }: Frame) => (dts * 1000) / (TRACKS[track]?.timescale ?? 1);
const worst = (seen: readonly Seen[]) => Math.max(...seen.map(({ errorMs }) => Math.abs(errorMs)));
const after = (seconds: number, { seen }: Result) => seen.filter(({ takenMs }) => takenMs >= seconds * 1000);

/** Between two frames of a track wall time and media time go on alike, to within 500 ppm. */
function expectSlow({ seen }: Result): void {
  const bent = [0, 1].flatMap((track) => {
    const own = seen.filter((frame) => frame.track === track);
    return own.slice(1).map((frame, i) => {
      const before = own[i] ?? frame;
      const mediaMs = mediaMsOf(frame) - mediaMsOf(before);
      // The other track may be a frame ahead.
      return Math.abs((frame.utcMs ?? 0) - (before.utcMs ?? 0) - mediaMs) - (mediaMs + 400) * 500e-6;
    });
  });
  expect(Math.max(...bent)).toBeLessThan(1e-3);
}

const jitter = (_atMs: number, random: Random) => random.below(random.oneIn(20) ? 150_000 : 20_000) / 1000;

describe('a camera whose clock is nearly right', () => {
  test.each([0, 100e-6, -100e-6, 300e-6, -300e-6])('%f off, for three hours, with jitter', (off) => {
    const result = simulate({ seconds: 3 * 3600, periodMs: 400, rate: 1 + off, delayMs: jitter });
    expect(result.steps).toEqual([]);
    expect(worst(after(120, result))).toBeLessThan(20);
    expectSlow(result);
  });

  test('what it sends at once in the beginning is placed where it was taken', () => {
    // Two seconds that were kept for whoever connects.
    const result = simulate({ seconds: 60, periodMs: 40, delayMs: (atMs) => Math.max(0, 2000 - atMs) });
    expect(worst(result.seen)).toBeLessThan(1);
    expect(result.steps).toEqual([]);
  });

  test('when its first frames come late, the first second is not wrong for long', () => {
    const result = simulate({ seconds: 900, delayMs: (atMs) => (atMs < 3000 ? 300 : 0) });
    expect(worst(result.seen)).toBeLessThanOrEqual(300);
    expect(worst(after(700, result))).toBeLessThan(1);
    expectSlow(result);
  });

  test.each([5, 29, 31, 65, 300])('a connection that stalls for %i s and catches up moves nothing', (seconds) => {
    const stall = { fromMs: 100_000, toMs: 100_000 + seconds * 1000 };
    const delayMs = (atMs: number) => (atMs >= stall.fromMs && atMs < stall.toMs ? stall.toMs - atMs : 0);
    const result = simulate({ seconds: 600, delayMs });
    expect(worst(result.seen)).toBeLessThan(1);
    expect(result).toMatchObject({ steps: [], jumps: 0 });
  });
});

describe('a camera whose clock is hopeless', () => {
  // A fast one is seen at once; a slow one looks like a network that delays, for up to two windows of 30 s.
  test.each([
    [0.02, 1200],
    [-0.02, 2300],
  ])('%f off: wall time steps, and is never wrong by more than %i ms', (off, mostMs) => {
    const result = simulate({ seconds: 1800, rate: 1 + off, delayMs: jitter });
    expect(worst(result.seen)).toBeLessThan(mostMs);
    expect(result.steps.length).toBeGreaterThan(10);
    for (const { clock, byMs } of result.steps) {
      expect(clock).toBe('camera');
      expect(Math.sign(byMs)).toBe(-Math.sign(off));
    }
    const runs = result.seen.filter(({ newRun }) => newRun);
    expect(runs).toHaveLength(result.steps.length);
    expect(runs.every(({ track, sync }) => track === 0 && sync)).toBe(true);
  });
});

describe('a clock of this machine that is set', () => {
  test.each([3_600_000, -3_600_000, 2000])('by %i ms: one new run, at the next sync sample', (byMs) => {
    const result = simulate({ seconds: 300, setMs: (atMs) => (atMs >= 100_300 ? byMs : 0), delayMs: jitter });
    const runs = result.seen.filter(({ newRun }) => newRun);
    expect(runs).toHaveLength(1);
    const [run] = runs;
    const next = result.seen.find(({ track, sync, arrivalAtMs }) => track === 0 && sync && arrivalAtMs >= 100_300);
    expect(run?.takenMs).toBe(next?.takenMs);
    expect(result.steps).toHaveLength(1);
    expect(result.steps[0]?.clock).toBe('system');
    expect(Math.abs((result.steps[0]?.byMs ?? 0) - byMs)).toBeLessThan(20);
    const [before, behind] = [
      result.seen.filter((f) => f.arrivalAtMs < 100_300),
      after((run?.takenMs ?? 0) / 1000, result),
    ];
    expect(worst(before)).toBeLessThan(20);
    expect(worst(behind)).toBeLessThan(20);
    // The media timeline knows nothing of it.
    for (const { track, takenMs, dts } of result.seen) {
      expect(dts).toBe(
        Math.round((takenMs * (TRACKS[track]?.timescale ?? 0)) / 1000) + 1000 * (TRACKS[track]?.timescale ?? 0),
      );
    }
  });

  test('by little is followed slowly', () => {
    const result = simulate({ seconds: 1500, setMs: (atMs) => (atMs >= 60_000 ? 400 : 0) });
    expect(result.steps).toEqual([]);
    expectSlow(result);
    expect(worst(after(1000, result))).toBeLessThan(1);
  });

  test('while frames are held in the beginning is no step', () => {
    const result = simulate({ seconds: 60, setMs: (atMs) => (atMs >= 500 ? 3_600_000 : 0) });
    expect(result.steps).toEqual([]);
    expect(worst(after(1, result))).toBeLessThan(1);
  });

  test('with sound alone a new run begins with any of its frames', () => {
    const result = simulate({ seconds: 60, tracks: [AUDIO], setMs: (atMs) => (atMs >= 30_000 ? -60_000 : 0) });
    expect(result.seen.filter(({ newRun }) => newRun)).toHaveLength(1);
    expect(worst(result.seen)).toBeLessThan(1);
  });
});

/** Frames of a track go on, and the two tracks lie to each other as they did. */
function expectTogether({ seen }: Result): void {
  const [video = [], audio = []] = [0, 1].map((track) => seen.filter((frame) => frame.track === track));
  for (const own of [video, audio]) {
    const goesBack = own.slice(1).filter((frame, i) => frame.dts <= (own[i]?.dts ?? 0));
    expect(goesBack).toEqual([]);
  }
  // A frame of sound is taken 1 ms behind its picture.
  const apart = video.map((frame, i) => Math.abs(mediaMsOf(audio[i] ?? frame) - mediaMsOf(frame) - 1));
  expect(Math.max(...apart)).toBeLessThanOrEqual(1);
}

const HOUR = 3_600_000;
const someDelay = (_atMs: number, random: Random) => random.below(30_000) / 1000;
/** All tracks from there on. */
const jumpAt = (fromMs: number, byMs: number) => (_track: number, atMs: number) => (atMs >= fromMs ? byMs : 0);

describe('timestamps that jump', () => {
  test.each([HOUR, -HOUR, 5000, -5000, -900])('by %i ms in both tracks: the tracks stay together', (byMs) => {
    const jumpedMs = jumpAt(100_000, byMs);
    const result = simulate({ seconds: 300, jumpedMs, delayMs: someDelay });
    expect(result.jumps).toBe(1);
    expect(result.steps).toEqual([]);
    expectTogether(result);
    expect(worst(result.seen)).toBeLessThan(70);
  });

  test('by so much that it hardly shows in the track that comes later: the tracks stay together', () => {
    const jumpedMs = jumpAt(100_000, 2010);
    const result = simulate({ seconds: 300, jumpedMs, delayMs: (atMs) => (atMs % 2) * 25 });
    expect(result.jumps).toBe(1);
    expectTogether(result);
  });

  test.each([HOUR, -HOUR, 5000, -5000])('by %i ms in one track: it goes on, the other does not move', (byMs) => {
    for (const jumping of [0, 1]) {
      const jumpedMs = (track: number, atMs: number) => (track === jumping && atMs >= 100_000 ? byMs : 0);
      const result = simulate({ seconds: 300, jumpedMs, delayMs: someDelay });
      expect(result).toMatchObject({ jumps: 1, steps: [] });
      expect(worst(result.seen)).toBeLessThan(70);
      for (const { track, takenMs, dts } of result.seen) {
        if (track === jumping) continue;
        expect(dts).toBe(
          Math.round((takenMs * (TRACKS[track]?.timescale ?? 0)) / 1000) + 1000 * (TRACKS[track]?.timescale ?? 0),
        );
      }
    }
  });

  test('there and back again, again and again', () => {
    const result = simulate({
      seconds: 300,
      jumpedMs: (_track, atMs) => (Math.floor(atMs / 20_000) % 2) * HOUR,
      delayMs: someDelay,
    });
    expect(result.jumps).toBe(14);
    expectTogether(result);
    expect(worst(result.seen)).toBeLessThan(500);
  });

  test.each([HOUR, -HOUR])('by %i ms while the first frames are held', (byMs) => {
    const jumpedMs = jumpAt(500, byMs);
    const result = simulate({ seconds: 60, jumpedMs, delayMs: someDelay });
    expect(result.steps).toEqual([]);
    expectTogether(result);
    expect(worst(result.seen)).toBeLessThan(70);
  });

  test('by less than a second is the way of the camera, and is kept', () => {
    const jumpedMs = jumpAt(100_000, 800);
    const result = simulate({ seconds: 200, jumpedMs });
    expect(result).toMatchObject({ jumps: 0, steps: [] });
  });
});

test('frames that are presented later than decoded have the wall time of their presentation', () => {
  let nowMs = 0;
  const [monotonicMs, wallMs] = [() => nowMs, () => START_UTC_MS + nowMs];
  const clock = new CameraClock({ tracks: [VIDEO], monotonicMs, wallMs, onStep: () => undefined });
  const frames: Frame[] = [];
  for (let i = 0; i < 60; i++, nowMs += 40) {
    const compositionOffset = i % 2 === 0 ? 7200 : 0;
    frames.push(...clock.take({ track: 0, data: Uint8Array.of(i), dts: i * 3600, compositionOffset, sync: i === 0 }));
  }
  expect(frames).toHaveLength(60);
  expect(frames[10]?.utcMs).toBeCloseTo(START_UTC_MS + 400 + 80, 3);
  expect(frames[11]?.utcMs).toBeCloseTo(START_UTC_MS + 440, 3);
});
