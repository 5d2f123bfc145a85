/**
 * Plays a media file in real time, as if it were a camera: a source of frames for demonstrations and tests.
 *
 * It does not touch the frames' bytes and opens no file.
 *
 * Invariants: every frame's moment is computed from one start instant (waiting never adds up to drift); a slow taker
 * gets late frames, never fewer; with `loop` the timestamps go on as if the file had no end, and DTS of a track never
 * go back.
 */
import { performance } from 'node:perf_hooks';
import type { Frame, Track } from '../media.ts';
import type { MediaFile } from './media-file.ts';

export interface ReplayOptions {
  /** Ends the replay: the iterator returns, without an error. */
  readonly signal?: AbortSignal;
  /** Begin again at the end, for ever. Default false. */
  readonly loop?: boolean;
  /** Monotonic clock in milliseconds. Default `performance.now`. */
  readonly now?: () => number;
  /** Media seconds per wall second, above 0. Default 1. */
  readonly speed?: number;
}

/** Timers take at most 2^31 − 1 ms; a longer wait is taken in pieces. */
const MAX_WAIT_MS = 2 ** 30;

/**
 * The frames of the file, each no earlier than the wall moment of its decode time counted from the start. `utcMs` is
 * the wall time of the start plus the frame's presentation time. Errors are those of `MediaFile.frames`.
 */
export function replay(file: MediaFile, options: ReplayOptions = {}): AsyncIterableIterator<Frame> {
  const { speed = 1 } = options;
  if (!(speed > 0 && speed < Infinity)) throw new RangeError(`speed must be above 0, not ${speed}`);
  return play(file, options, speed);
}

async function* play(file: MediaFile, options: ReplayOptions, speed: number): AsyncGenerator<Frame, void, undefined> {
  const { signal, loop = false, now = () => performance.now() } = options;
  const startUtcMs = Date.now();
  const startMs = now();
  for await (const frame of loop ? looped(file) : file.frames()) {
    const { timescale } = trackOf(file, frame);
    await waitUntil(startMs + (frame.dts / timescale) * (1000 / speed), now, signal);
    if (signal?.aborted === true) return;
    yield { ...frame, utcMs: startUtcMs + ((frame.dts + frame.compositionOffset) / timescale) * 1000 };
  }
}

/** Resolves when the clock has reached `dueMs`, or the signal is aborted. */
async function waitUntil(dueMs: number, now: () => number, signal: AbortSignal | undefined): Promise<void> {
  for (;;) {
    const wait = dueMs - now();
    if (wait <= 0 || signal?.aborted === true) return;
    await sleep(Math.min(wait, MAX_WAIT_MS), signal);
  }
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', wake);
      resolve();
    };
    const timer = setTimeout(wake, Math.ceil(ms));
    signal?.addEventListener('abort', wake);
  });
}

/** An instant as a fraction of a second, exact. */
interface Instant {
  readonly ticks: number;
  readonly timescale: number;
}

/** What the first loop has shown of a track, in its ticks. */
interface TrackSpan {
  firstDts: number;
  lastDts: number;
  endDts: number;
  endPts: number;
}

/** The file's frames again and again, each loop later by the file's period. */
async function* looped(file: MediaFile): AsyncGenerator<Frame, void, undefined> {
  const spans = new Map<number, TrackSpan>();
  for await (const frame of file.frames()) {
    noteSpan(spans, frame);
    yield frame;
  }
  const period = periodOf(file, spans);
  const lastDts = new Map([...spans].map(([track, span]) => [track, span.lastDts]));
  for (let loop = 1; ; loop++) {
    for await (const frame of file.frames()) {
      const dts = frame.dts + ticksAfter(period, loop, trackOf(file, frame).timescale);
      if (dts <= (lastDts.get(frame.track) ?? -Infinity)) continue;
      lastDts.set(frame.track, dts);
      yield { ...frame, dts };
    }
  }
}

function noteSpan(spans: Map<number, TrackSpan>, frame: Frame): void {
  // A sample without a length counts as one tick, so that the next loop begins later.
  const endDts = frame.dts + Math.max(1, frame.durationTicks ?? 0);
  const endPts = endDts + frame.compositionOffset;
  const span = spans.get(frame.track);
  if (span === undefined) {
    spans.set(frame.track, { firstDts: frame.dts, lastDts: frame.dts, endDts, endPts });
    return;
  }
  span.lastDts = frame.dts;
  span.endDts = Math.max(span.endDts, endDts);
  span.endPts = Math.max(span.endPts, endPts);
}

/**
 * How much later the next loop is: the end of the longest track. For video also at least all its decode time, since
 * of hidden video (a lead-in before an edit) nothing may be dropped: what follows is decoded from it. It is shown
 * from the second loop on. Hidden audio, of which that is not so, is dropped where it would go back in time.
 */
function periodOf(file: MediaFile, spans: ReadonlyMap<number, TrackSpan>): Instant {
  let longest: Instant = { ticks: 0, timescale: 1 };
  for (const [index, { firstDts, endDts, endPts }] of spans) {
    const track = file.tracks[index];
    if (track === undefined) continue;
    const ticks = track.kind === 'video' ? Math.max(endPts, endDts - firstDts) : endPts;
    if (ticks / track.timescale > longest.ticks / longest.timescale) longest = { ticks, timescale: track.timescale };
  }
  return longest;
}

/** `loops` periods in ticks of a timescale, rounded once: no error adds up over the loops. */
function ticksAfter(period: Instant, loops: number, timescale: number): number {
  if (period.timescale === timescale) return period.ticks * loops;
  const exact = BigInt(period.ticks) * BigInt(loops) * BigInt(timescale);
  const divisor = BigInt(period.timescale);
  return Number((2n * exact + divisor) / (2n * divisor));
}

function trackOf(file: MediaFile, frame: Frame): Track {
  const track = file.tracks[frame.track];
  if (track === undefined) throw new RangeError(`a frame names track ${frame.track}, of ${file.tracks.length}`);
  return track;
}
