/**
 * Which samples of a segment a plan looks at one by one, and which it takes as a block.
 *
 * A segment is cut into zones in the order of its file: windows around the instants that matter (a border of the range,
 * the beginning or the end of what is continuous), blocks between them. Where a zone ends depends on the samples alone,
 * never on how the segment is stored, so that an open segment and the sealed one give the same answer.
 */
import type { SegmentView, TrackView } from '../segment/view.ts';

/** Instants of the run's timeline, seconds, that a window has to hold whole. */
export interface Interval {
  readonly fromS: number;
  readonly toS: number;
}

export interface Zone {
  readonly kind: 'window' | 'block';
  /** Per track: its samples [from, to). */
  readonly from: readonly number[];
  readonly to: readonly number[];
}

/** A window reaches this far beyond its instant: farther than tracks are apart in a file, or than cameras drift. */
export const REACH_S = 1;
/** Pictures that may be decoded before one that is shown, and one more: of a slow camera they take longer. */
const REORDERED = 17;

/** Around a wall time, as the segment's head tells it. */
export function aroundUtc({ head }: SegmentView, utcMs: number): Interval {
  const { track, dts, utcMs: anchorMs } = head.anchor;
  const atS = dts / (head.tracks[track]?.timescale ?? 1) + (utcMs - anchorMs) / 1000;
  return { fromS: atS - REACH_S, toS: atS + REACH_S };
}

const filled = ({ tracks }: SegmentView) => tracks.filter(({ tables }) => tables.count > 0);

/** The zones of a segment, in file order; together they hold every sample. */
export function zonesOf(view: SegmentView, intervals: readonly Interval[]): Zone[] {
  const counts = view.tracks.map(({ tables }) => tables.count);
  // Without an interval a segment whose clock jumps is in the answer as a whole: its row would have been enough.
  const opened = view.discontinuous || (!view.steady && intervals.length > 0);
  if (opened) return [{ kind: 'window', from: counts.map(() => 0), to: counts }];
  const zones: Zone[] = [];
  let from = counts.map(() => 0);
  const add = (kind: Zone['kind'], to: readonly number[]) => {
    if (to.some((sample, i) => sample > (from[i] ?? 0))) zones.push({ kind, from, to });
    from = [...to];
  };
  for (const window of merged(intervals.map((interval) => stretchOf(view, interval)))) {
    add('block', samplesAt(view, window.from));
    add('window', samplesAt(view, window.to));
  }
  add('block', counts);
  return zones;
}

/** File offsets [from, to). */
interface FileStretch {
  readonly from: number;
  readonly to: number;
}

/** Per track: the first sample at or behind a file offset. */
function samplesAt({ tracks }: SegmentView, offset: number): number[] {
  return tracks.map(({ tables }) => (offset === Infinity ? tables.count : tables.sampleAtOffset(offset)));
}

/** Where the samples of an interval lie: of video whole GOPs, and one more, so that leading pictures are in it. */
function stretchOf(view: SegmentView, { fromS, toS }: Interval): FileStretch {
  let from = Infinity;
  let to = -Infinity;
  for (const track of filled(view)) {
    const { tables } = track;
    const first = firstOf(track, fromS);
    const end = endOf(track, toS);
    from = Math.min(from, first === 0 ? -Infinity : tables.chunkOffset(first));
    to = Math.max(to, end === tables.count ? Infinity : tables.chunkOffset(end));
  }
  return { from, to };
}

function firstOf({ track, tables }: TrackView, fromS: number): number {
  if (fromS === -Infinity) return 0;
  const first = Math.min(tables.sampleAt(Math.floor(fromS * track.timescale)), tables.count - 1);
  return track.kind === 'video' ? tables.syncBefore(Math.max(0, first - REORDERED)) : first;
}

function endOf({ track, tables }: TrackView, toS: number): number {
  if (toS === Infinity) return tables.count;
  const end = tables.sampleAt(Math.ceil(toS * track.timescale));
  if (track.kind === 'audio' || end >= tables.count) return end;
  return tables.syncAfter(Math.min(tables.count, tables.syncAfter(end) + 1));
}

/** Sorted, disjoint, none touching another. */
function merged(stretches: readonly FileStretch[]): FileStretch[] {
  const result: FileStretch[] = [];
  for (const stretch of stretches.toSorted((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (last === undefined || stretch.from > last.to) result.push(stretch);
    else result[result.length - 1] = { from: last.from, to: Math.max(last.to, stretch.to) };
  }
  return result;
}
