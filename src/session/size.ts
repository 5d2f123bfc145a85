/**
 * How long an answer may be. A plan holds the tables of its whole range in memory and works on the loop, so its samples
 * are counted before they are read: as the catalog's rows tell them, and again when they have been selected.
 */
import type { SegmentRow } from '../catalog/catalog.ts';
import { FootageError } from '../errors.ts';
import type { Part, Span } from './select.ts';

/** Samples of one answer, all tracks; see docs/decisions.md for what they cost. */
export const MAX_SAMPLES = 2_000_000;

/**
 * Refuses a range by the counters of its sealed segments; those met in part count in part. Open ones have no counters
 * yet, and are counted once they are read.
 * @throws FootageError E_RANGE_TOO_LONG
 */
export function refuseLongRows(rows: readonly SegmentRow[], span: Span): void {
  refuseSamples(rows.reduce((sum, row) => sum + samplesWithin(row, span), 0));
}

function samplesWithin({ startUtcMs, endUtcMs, tracks }: SegmentRow, span: Span): number {
  if (endUtcMs === undefined || endUtcMs <= startUtcMs) return 0;
  const metMs = Math.min(endUtcMs, span.endUtcMs) - Math.max(startUtcMs, span.startUtcMs);
  const samples = tracks.reduce((sum, track) => sum + track.samples, 0);
  return (samples * Math.max(0, metMs)) / (endUtcMs - startUtcMs);
}

/** @throws FootageError E_RANGE_TOO_LONG */
export function refuseLongParts(parts: readonly Part[]): void {
  const selections = parts.flatMap(({ video, audio }) => [video ?? [], audio ?? []].flat());
  refuseSamples(selections.reduce((sum, { from, to }) => sum + to - from, 0));
}

/** @throws FootageError E_RANGE_TOO_LONG */
export function refuseSamples(samples: number): void {
  if (samples <= MAX_SAMPLES) return;
  throw new FootageError(
    'E_RANGE_TOO_LONG',
    `The range has about ${Math.round(samples)} frames and one answer holds ${MAX_SAMPLES}: ask for several shorter ranges.`,
  );
}
