/** Random ranges of wall time over what was recorded: most begin and end at, or next to, borders of samples. */
import * as fc from 'fast-check';
import { shares } from './archives.ts';
import { endDts, endPts, type Line, linesOf, pts, type Run, utcOf } from './footage.ts';
import type { Options, Request } from './select.ts';

export interface RangeSpec {
  /** Which borders of samples, as shares of all. */
  readonly from: number;
  readonly to: number;
  /** How far from them, ms. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly options: Options;
}

/** What is asked besides a range; most often nothing. */
const VARIANTS: readonly Options[] = [
  ...[{}, {}, {}, {}],
  ...[{ gaps: 'freeze' as const }, { tracks: 'video' as const, gaps: 'freeze' as const }],
  ...[{ tracks: 'video' as const }, { tracks: 'audio' as const }],
  ...[{ begin: 'keyframe' as const }, { begin: 'next' as const }],
  ...[{ keyframes: true as const }, { keyframes: true as const, speed: 8 }],
];

const offsetMs = fc.oneof(fc.constantFrom(0, 0, 0.25, -0.25, 1, -1), fc.integer({ min: -700, max: 700 }));

export const rangeSpecs: fc.Arbitrary<RangeSpec> = fc.record({
  from: shares,
  to: shares,
  fromMs: offsetMs,
  toMs: offsetMs,
  options: fc.constantFrom(...VARIANTS),
});

/** Every instant, Unix ms, at which a sample begins or ends. */
export function bordersOf(runs: readonly Run[]): number[] {
  const borders = runs.flatMap((run) => linesOf(run).flatMap((line) => lineBorders(run, line)));
  return borders.toSorted((a, b) => a - b);
}

function lineBorders(run: Run, line: Line): number[] {
  return line.samples.flatMap((sample) =>
    [pts(sample), endPts(sample), endDts(sample)].map((ticks) => utcOf(run, line, ticks, sample)),
  );
}

/** Whole milliseconds next to the borders, moved by the offsets; at least one long. */
export function requestOf(spec: RangeSpec, borders: readonly number[]): Request {
  const at = (of: number) => Math.round(borders[Math.floor(of * borders.length)] ?? 0);
  const [a, b] = [at(spec.from) + spec.fromMs, at(spec.to) + spec.toMs];
  const startUtcMs = Math.min(a, b);
  return { startUtcMs, endUtcMs: Math.max(a, b, startUtcMs + 1), ...spec.options };
}
