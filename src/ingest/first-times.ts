/**
 * The times of the first pictures of an RTSP stream. RTP tells when a picture is presented, not when it is decoded; FFmpeg works
 * that out from the order, may not know when the very first one is presented, and decodes the first few too early (seen with
 * 5.1: at -2, -1, 0, 3, 4 pictures, the first presented at -2; or at 1, 1, 2, 3, 4). What comes behind them says what is right.
 *
 * Some pictures are held back for it in the beginning; only times that are off by half a picture or more are changed.
 */
import type { SourceFrame } from './source.ts';

/** As many as tell the distance of pictures, whatever their order. */
const HELD_PICTURES = 12;
/** A camera with few pictures is not waited for. */
const HELD_MS = 2000;
const LEAST_PICTURES = 4;
/** A decode time that is this many pictures behind its forerunner's is behind the guessed ones. */
const STEP_PICTURES = 1.4;

export class FirstTimes {
  /** Undefined: the beginning is over. */
  #held: SourceFrame[] | undefined = [];

  /** Takes the next picture; gives those whose times are known. */
  take(frame: SourceFrame): SourceFrame[] {
    const held = this.#held;
    if (held === undefined) return [frame];
    held.push(frame);
    const [first] = held;
    // FFmpeg was asked to give it its decode time for one that is not known.
    const isKnown = first?.sync !== true || first.compositionOffset !== 0;
    return isKnown || this.#hasEnough(held) ? this.finish() : [];
  }

  #hasEnough(held: readonly SourceFrame[]): boolean {
    if (held.length >= HELD_PICTURES) return true;
    const ageMs = (held.at(-1)?.arrivalMs ?? 0) - (held[0]?.arrivalMs ?? 0);
    return held.length >= LEAST_PICTURES && ageMs > HELD_MS;
  }

  /** What is held, when no more come. */
  finish(): SourceFrame[] {
    const held = this.#held ?? [];
    this.#held = undefined;
    return held.length < LEAST_PICTURES ? held : corrected(held);
  }
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
