/**
 * The sync samples of a track with their times, in one pass over its run-length tables: what cuts a segment into pieces
 * that can be decoded alone, without unfolding its samples.
 */
import type { TrackCounters } from '../format/trailer.ts';
import type { SampleTable } from '../mp4/tables.ts';

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

/** A table of an MP4, entry by entry; one of run lengths has a number of samples and then the value of all of them. */
interface EntryTable {
  readonly count: number;
  word(entry: number, word?: number): number;
}

/** Walks a run-length table; samples are asked for in ascending order. */
class Walk {
  readonly #table: EntryTable;
  #entry = 0;
  /** Samples before the entry, and the sum of their values. */
  #first = 0;
  #sum = 0;

  constructor(table: EntryTable) {
    this.#table = table;
  }

  /** Value of a sample. */
  valueAt(sample: number): number {
    const table = this.#table;
    while (this.#entry + 1 < table.count && sample >= this.#first + table.word(this.#entry)) {
      const count = table.word(this.#entry);
      this.#first += count;
      this.#sum += count * table.word(this.#entry, 1);
      this.#entry++;
    }
    return table.word(this.#entry, 1);
  }

  /** Sum of the values of all samples before `sample`. */
  sumBefore(sample: number): number {
    const value = this.valueAt(sample);
    return this.#sum + (sample - this.#first) * value;
  }
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
  stts: EntryTable,
  ctts: EntryTable,
): SyncTimes {
  const all = syncSamples === samples;
  const sample = Uint32Array.from({ length: syncSamples }, (_, i) => (all ? i : stss.word(i) - 1));
  const [decode, offset] = [new Walk(stts), new Walk(ctts)];
  const dtsAt = (i: number) => firstDts + decode.sumBefore(i);
  return timesOf(sample, samples, dtsAt, (i) => dtsAt(i) + (ctts.count === 0 ? 0 : offset.valueAt(i) | 0));
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
