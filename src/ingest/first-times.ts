/**
 * The times of the first pictures of an RTSP stream. RTP tells when a picture is presented, not when it is decoded; FFmpeg works
 * that out from the order, may not know when the very first one is presented, and decodes the first few too early. Seen with
 * 5.1: with B-frames at -2, -1, 0, 3, 4 pictures, the first presented at -2; without them at 1, 1, 2, 3, 4, a tick apart.
 * What comes behind them says what is right.
 *
 * Pictures are held back for it only where the first ones show one of the two; other times are left alone.
 */
import type { SourceFrame } from './source.ts';

/** As many as tell the distance of pictures, whatever their order. */
const HELD_PICTURES = 12;
/** A camera with few pictures is not waited for. */
const HELD_MS = 2000;
/** Fewer tell nothing. */
const LEAST_PICTURES = 3;
/** A decode time that is this many pictures behind its forerunner's is behind the guessed ones. */
const STEP_PICTURES = 1.4;
/** FFmpeg puts a picture so many ticks behind the one before, where both would be decoded at once. */
const CLAMPED_TICKS = 1;

export class FirstTimes {
  /** Undefined: the beginning is over. */
  #held: SourceFrame[] | undefined = [];

  /** Takes the next picture; gives those whose times are known. */
  take(frame: SourceFrame): SourceFrame[] {
    const held = this.#held;
    if (held === undefined) return [frame];
    held.push(frame);
    return this.#isOver(held) ? this.finish() : [];
  }

  #isOver(held: readonly SourceFrame[]): boolean {
    const [first, second] = held;
    if (first === undefined || !mayBeGuessed(first)) return true;
    if (second === undefined) return false;
    if ((second.arrivalMs ?? 0) - (first.arrivalMs ?? 0) > HELD_MS) return true;
    if (!isGuessed(held)) return true;
    const ageMs = (held.at(-1)?.arrivalMs ?? 0) - (first.arrivalMs ?? 0);
    return held.length >= (second.compositionOffset !== 0 ? HELD_PICTURES : LEAST_PICTURES) || ageMs > HELD_MS;
  }

  /** What is held, when no more come. */
  finish(): SourceFrame[] {
    const held = this.#held ?? [];
    this.#held = undefined;
    return held.length >= LEAST_PICTURES && isGuessed(held) ? corrected(held) : held;
  }
}

/** FFmpeg was asked to give a picture whose presentation time is not known its decode time for one. */
const mayBeGuessed = ({ sync, compositionOffset }: SourceFrame) => sync && compositionOffset === 0;

/** Whether the pictures begin as FFmpeg's guesses do. */
function isGuessed([first, second]: readonly SourceFrame[]): boolean {
  if (first === undefined || second === undefined || !mayBeGuessed(first)) return false;
  return second.compositionOffset !== 0 || second.dts - first.dts <= CLAMPED_TICKS;
}

function corrected(frames: readonly SourceFrame[]): SourceFrame[] {
  const [first, ...others] = frames;
  if (first === undefined) return [];
  const presented = others.map(({ dts, compositionOffset }) => dts + compositionOffset).toSorted((a, b) => a - b);
  const distance = median(presented.slice(1).map((pts, i) => pts - (presented[i] ?? 0)));
  const firstPts = (presented[0] ?? 0) - distance;
  const step = others.findIndex(({ dts }, i) => dts - (frames[i]?.dts ?? 0) > STEP_PICTURES * distance) + 1;
  const early = step === 0 ? 0 : (frames[step]?.dts ?? 0) - (frames[step - 1]?.dts ?? 0) - distance;
  const [begin, ...rest] = frames.map((frame, i) => (i < step ? movedBy(frame, early) : frame));
  if (begin === undefined) return [];
  const off = firstPts - begin.dts - begin.compositionOffset;
  if (Math.abs(off) < distance / 2) return [...frames];
  const dts = Math.min(begin.dts, firstPts);
  return [{ ...begin, dts, compositionOffset: firstPts - dts }, ...rest];
}

/** Decoded later, presented as before. */
function movedBy(frame: SourceFrame, ticks: number): SourceFrame {
  return { ...frame, dts: frame.dts + ticks, compositionOffset: frame.compositionOffset - ticks };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
