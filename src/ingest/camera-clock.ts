/**
 * The wall time of a camera's frames, by the clock of this machine: anchored on arrival, led after it by at most 500 ppm,
 * and begun anew only when one of the two clocks has stepped. The camera's own clock is never asked (docs/cameras.md,
 * "Clocks").
 *
 * A frame cannot come before it was taken, and of many frames one comes with hardly any delay: so the least difference
 * of arrival and media time seen lately tells when media time 0 was. Media times are the camera's; only where its timestamps
 * jump are those behind the jump moved, so that they go on where the frames before them ended.
 *
 * Invariants: frames leave in the order in which they came, none is lost; between two steps the wall time of a track's
 * frames grows with their media time, to within 500 ppm.
 */
import { type Frame, leadingOf, type Track } from '../media.ts';
import type { SourceFrame } from './source.ts';

export interface ClockStep {
  /** `system`: this machine's clock was set; `camera`: its rate is so wrong that it could not be followed. */
  readonly clock: 'system' | 'camera';
  /** How far wall time steps, ms; below 0: it is told twice. */
  readonly byMs: number;
}

export interface CameraClockOptions {
  readonly tracks: readonly Track[];
  /** Ms of a clock that is never set: that of `arrivalMs`. */
  readonly monotonicMs: () => number;
  /** Unix ms, by a clock that may be set. */
  readonly wallMs: () => number;
  readonly onStep: (step: ClockStep) => void;
}

/** Frames are held for so long in the beginning: the first ones come late, or all at once. */
const SETTLE_MS = 1000;
const SLEW = 500e-6;
/** The least difference is that of the last one to two of these. */
const WINDOW_MS = 30_000;
/** A smaller change of this machine's clock is followed slowly. */
const SYSTEM_STEP_MS = 500;
/** What cannot be followed slowly any more. */
const CAMERA_STEP_MS = 1000;
/** A frame that would be so far ahead of its arrival has a timestamp that jumped. */
const AHEAD_MS = 2000;
/** The same while nothing is known yet: ahead of its forerunner, beyond the time between their arrivals. */
const AHEAD_AT_FIRST_MS = 10_000;
/** Timestamps that go back by more have jumped; by less, the recorder corrects them. */
const BACK_MS = 500;
/** Tracks that jump alike within this time have jumped together. */
const TOGETHER_MS = 10_000;
const ALIKE_MS = 1000;

/** Where the timestamps of a track are, and how they are moved. */
interface TrackTime {
  readonly timescale: number;
  /** Added to the DTS, ticks. */
  shift: number;
  lastDts: number | undefined;
  lastArrivalMs: number;
}

export class CameraClock {
  readonly #options: CameraClockOptions;
  readonly #times: readonly TrackTime[];
  readonly #leading: number;
  #held: { readonly frame: SourceFrame; readonly mediaMs: number }[] = [];
  #beganMs: number | undefined;
  readonly #least = new LeastDifference();
  /** Wall time minus monotonic time, when it was last looked at. */
  #wallOffset: number;
  /** Wall time of media time 0; undefined while frames are held. */
  #origin: number | undefined;
  #originAtMediaMs = 0;
  #step: ClockStep | undefined;
  /** Jumps of timestamps that were smoothed. */
  #jumps = 0;
  #lastJump: { readonly byMs: number; readonly arrivalMs: number } | undefined;

  constructor(options: CameraClockOptions) {
    this.#options = options;
    const { tracks, wallMs, monotonicMs } = options;
    this.#times = tracks.map(timeOf);
    this.#leading = leadingOf(tracks);
    this.#wallOffset = wallMs() - monotonicMs();
  }

  get jumps(): number {
    return this.#jumps;
  }

  /** Takes the next frame; gives those whose wall time is known now. */
  take(given: SourceFrame): Frame[] {
    const arrivalMs = given.arrivalMs ?? this.#options.monotonicMs();
    const frame = this.#smooth(given, arrivalMs);
    const mediaMs = this.#mediaMs(frame);
    this.#least.add(arrivalMs - mediaMs, arrivalMs);
    this.#noticeSystemStep();
    this.#beganMs ??= arrivalMs;
    if (this.#origin !== undefined) return [this.#stamp(frame, mediaMs)];
    this.#held.push({ frame, mediaMs });
    return arrivalMs - this.#beganMs < SETTLE_MS ? [] : this.finish();
  }

  /** The frames that are held, when no more come. */
  finish(): Frame[] {
    const [first] = this.#held;
    if (first === undefined) return [];
    this.#origin = this.#least.value + this.#wallOffset;
    this.#originAtMediaMs = first.mediaMs;
    this.#step = undefined;
    return this.#held.splice(0).map(({ frame, mediaMs }) => this.#stamp(frame, mediaMs));
  }

  #mediaMs({ track, dts }: SourceFrame): number {
    return (dts * 1000) / (this.#times[track]?.timescale ?? 1);
  }

  #stamp(frame: SourceFrame, mediaMs: number): Frame {
    const { arrivalMs: _, ...rest } = frame;
    const newRun = this.#follow(frame, mediaMs);
    const offsetMs = (frame.compositionOffset * 1000) / (this.#times[frame.track]?.timescale ?? 1);
    const utcMs = (this.#origin ?? 0) + mediaMs + offsetMs;
    return newRun ? { ...rest, utcMs, newRun } : { ...rest, utcMs };
  }

  /** Leads the origin after what arrivals say; true where a step takes effect: at a sync sample of the leading track. */
  #follow({ track, sync }: SourceFrame, mediaMs: number): boolean {
    const origin = this.#origin ?? 0;
    const target = this.#least.value + this.#wallOffset;
    const off = target - origin;
    if (Math.abs(off) > CAMERA_STEP_MS) this.#step ??= { clock: 'camera', byMs: off };
    if (this.#step !== undefined) {
      if (track !== this.#leading || !sync) return false;
      const { clock } = this.#step;
      this.#step = undefined;
      this.#origin = target;
      this.#options.onStep({ clock, byMs: off });
      return true;
    }
    const most = Math.max(0, mediaMs - this.#originAtMediaMs) * SLEW;
    this.#originAtMediaMs = Math.max(this.#originAtMediaMs, mediaMs);
    this.#origin = origin + Math.max(-most, Math.min(most, off));
    return false;
  }

  #noticeSystemStep(): void {
    const { wallMs, monotonicMs } = this.#options;
    const offset = wallMs() - monotonicMs();
    const byMs = offset - this.#wallOffset;
    this.#wallOffset = offset;
    if (Math.abs(byMs) > SYSTEM_STEP_MS) this.#step = { clock: 'system', byMs };
  }

  /** The frame with its timestamps moved, if they have jumped here or before. */
  #smooth(frame: SourceFrame, arrivalMs: number): SourceFrame {
    const time = this.#times[frame.track];
    if (time === undefined) return frame;
    const jumped = this.#jumped(time, frame.dts + time.shift, arrivalMs);
    if (jumped) this.#absorb(time, frame.dts, arrivalMs);
    const dts = frame.dts + time.shift;
    time.lastDts = dts;
    time.lastArrivalMs = arrivalMs;
    return time.shift === 0 ? frame : { ...frame, dts };
  }

  #jumped({ timescale, lastDts, lastArrivalMs }: TrackTime, dts: number, arrivalMs: number): boolean {
    const aheadMs = (dts * 1000) / timescale + this.#least.value - arrivalMs;
    // The first frame of a track that comes later than the others.
    if (lastDts === undefined) return this.#origin !== undefined && aheadMs > AHEAD_MS;
    const onMs = ((dts - lastDts) * 1000) / timescale;
    // Where one track has jumped, less tells that another one has done so, too.
    const share = this.#jumpedLately(arrivalMs) ? 0.5 : 1;
    if (onMs < -BACK_MS * share) return true;
    if (this.#origin === undefined) return onMs - (arrivalMs - lastArrivalMs) > AHEAD_AT_FIRST_MS;
    return aheadMs > AHEAD_MS * share;
  }

  #jumpedLately(arrivalMs: number): boolean {
    return this.#lastJump !== undefined && arrivalMs - this.#lastJump.arrivalMs < TOGETHER_MS;
  }

  #absorb(time: TrackTime, dts: number, arrivalMs: number): void {
    const { timescale, lastArrivalMs } = time;
    // A track of which nothing has come yet begins where it arrives.
    const lastDts = time.lastDts ?? Math.floor(((arrivalMs - this.#least.value) * timescale) / 1000) - 1;
    const passedMs = time.lastDts === undefined ? 0 : arrivalMs - lastArrivalMs;
    const goesOnAt = lastDts + Math.max(1, (passedMs * timescale) / 1000);
    const byMs = ((goesOnAt - dts) * 1000) / timescale;
    const last = this.#lastJump;
    // Tracks that jump together stay as they were to each other.
    const together = last !== undefined && this.#jumpedLately(arrivalMs) && Math.abs(last.byMs - byMs) < ALIKE_MS;
    const shiftMs = together ? last.byMs : byMs;
    const shift = Math.round((shiftMs * timescale) / 1000);
    // Whatever the others did, a track does not go back.
    time.shift = dts + shift > lastDts ? shift : Math.ceil(goesOnAt - dts);
    if (together) return;
    this.#jumps++;
    this.#lastJump = { byMs, arrivalMs };
  }
}

function timeOf({ timescale }: Track): TrackTime {
  return { timescale, shift: 0, lastDts: undefined, lastArrivalMs: 0 };
}

/** The least difference of arrival and media time in the last one to two windows, ms. */
class LeastDifference {
  #before = Infinity;
  #now = Infinity;
  #endMs = -Infinity;

  get value(): number {
    return Math.min(this.#before, this.#now);
  }

  add(differenceMs: number, arrivalMs: number): void {
    if (arrivalMs >= this.#endMs) {
      this.#before = this.#now;
      this.#now = Infinity;
      this.#endMs = arrivalMs + WINDOW_MS;
    }
    this.#now = Math.min(this.#now, differenceMs);
  }
}
