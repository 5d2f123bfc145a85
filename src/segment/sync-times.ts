/**
 * The sync samples of a track with their times, in one pass over its run-length tables: what cuts a segment into pieces
 * that can be decoded alone, without unfolding its samples.
 */
import type { TrackCounters } from '../format/trailer.ts';
import type { SampleTable } from '../mp4/tables.ts';
import type { EntryTable, RunLengths } from './run-lengths.ts';

/** Index i of every column belongs to the i-th sync sample. Times are ticks of the track on the run's timeline. */
export interface SyncTimes {
  readonly count: number;
  /** Index in the track, from 0. */
  readonly sample: Uint32Array;
  readonly dts: Float64Array;
  readonly pts: Float64Array;
  /** 1 = the sample behind it in decode order is presented before it: an open GOP. */
  readonly leads: Uint8Array;
}

/** Of columns in memory. */
export function syncTimesOfColumns({ count, dts, compositionOffset, sync }: SampleTable): SyncTimes {
  const all: number[] = [];
  for (let i = 0; i < count; i++) if (sync[i] === 1) all.push(i);
  const dtsAt = (i: number) => dts[i] ?? 0;
  return timesOf(Uint32Array.from(all), count, dtsAt, (i) => dtsAt(i) + (compositionOffset[i] ?? 0));
}

/** Of a sealed track: no `stss` means that all samples are sync samples, no `ctts` that all offsets are 0. */
export function syncTimesOf(
  { firstDts = 0, samples, syncSamples }: TrackCounters,
  stss: EntryTable,
  stts: RunLengths,
  ctts: RunLengths | undefined,
): SyncTimes {
  const all = syncSamples === samples;
  const sample = Uint32Array.from({ length: syncSamples }, (_, i) => (all ? i : stss.word(i) - 1));
  const dtsAt = (i: number) => firstDts + stts.sumBefore(i);
  return timesOf(sample, samples, dtsAt, (i) => dtsAt(i) + (ctts === undefined ? 0 : ctts.valueAt(i) | 0));
}

/** The functions are asked for ascending samples. */
function timesOf(
  sample: Uint32Array,
  samples: number,
  dtsAt: (i: number) => number,
  ptsAt: (i: number) => number,
): SyncTimes {
  const { length: count } = sample;
  const [dts, pts] = [new Float64Array(count), new Float64Array(count)];
  const leads = new Uint8Array(count);
  sample.forEach((index, i) => {
    dts[i] = dtsAt(index);
    pts[i] = ptsAt(index);
    if (index + 1 < samples && ptsAt(index + 1) < (pts[i] ?? 0)) leads[i] = 1;
  });
  return { count, sample, dts, pts, leads };
}
