/** The tables of a track over columns in memory: of a segment that is open, or whose samples do not follow each other. */
import type { SampleTable } from '../mp4/tables.ts';
import {
  chunkOffsets,
  chunkStarts,
  compositionOffsets,
  sampleSizes,
  sampleToChunk,
  syncSamples,
  type TableEntries,
  timeToSample,
} from '../mp4/table-writer.ts';
import { type SyncTimes, syncTimesOfColumns } from './sync-times.ts';
import { type BlockTable, type BlockTables, lowerBound, type SampleSums, type TrackTables } from './track-tables.ts';

export class ColumnTables implements TrackTables {
  readonly count: number;
  readonly #samples: SampleTable;
  readonly behind: number;
  /** The segment has ended: its last sample is a run of its own, as in the `moov` it will get. */
  readonly #ended: boolean;
  #starts: Uint32Array | undefined;

  constructor(samples: SampleTable, ended: boolean) {
    this.count = samples.count;
    this.#samples = samples;
    this.#ended = ended;
    this.behind = samples.offset[samples.count] || Infinity;
  }

  dts(sample: number): number {
    return this.#samples.dts[sample] ?? 0;
  }

  pts(sample: number): number {
    return this.dts(sample) + (this.#samples.compositionOffset[sample] ?? 0);
  }

  sampleAt(dts: number): number {
    return lowerBound(this.count, (i) => this.dts(i), dts);
  }

  syncBefore(sample: number): number {
    for (let i = Math.min(sample, this.count - 1); i > 0; i--) if (this.#samples.sync[i] === 1) return i;
    return 0;
  }

  syncAfter(sample: number): number {
    for (let i = sample; i < this.count; i++) if (this.#samples.sync[i] === 1) return i;
    return this.count;
  }

  syncTimes(): SyncTimes {
    return syncTimesOfColumns(this.#samples);
  }

  chunkOffset(sample: number): number {
    return this.#samples.offset[this.#chunks()[this.#chunkOf(sample)] ?? 0] ?? 0;
  }

  sampleAtOffset(offset: number): number {
    const starts = this.#chunks();
    const chunk = lowerBound(starts.length, (i) => this.#samples.offset[starts[i] ?? 0] ?? 0, offset);
    return starts[chunk] ?? this.count;
  }

  window(from: number, to: number): SampleTable {
    const { dts, duration, compositionOffset, size, offset, sync } = this.#samples;
    return {
      count: to - from,
      dts: dts.subarray(from, to),
      duration: duration.subarray(from, to),
      compositionOffset: compositionOffset.subarray(from, to),
      size: size.subarray(from, to),
      offset: offset.subarray(from, to),
      sync: sync.subarray(from, to),
    };
  }

  block(from: number, to: number): BlockTables {
    const { dts, duration, compositionOffset, size, offset, sync } = this.#samples;
    const delta = (i: number) =>
      from + i + 1 < this.count ? (dts[from + i + 1] ?? 0) - (dts[from + i] ?? 0) : (duration[from + i] ?? 0);
    const position = (i: number) => offset[i] ?? 0;
    const first = this.#chunkOf(from);
    const starts = chunkStarts(position, size, from, to);
    return {
      firstChunk: first + 1,
      tables: {
        stts: inMemory(timeToSample(to - from, delta, this.#ended && to === this.count)),
        ctts: inMemory(compositionOffsets(compositionOffset, from, to)),
        stss: inMemory(syncSamples(sync, from, to, from + 1)),
        stsz: inMemory(sampleSizes(size, from, to)),
        stsc: inMemory(sampleToChunk(starts, to, first + 1)),
        co64: inMemory(chunkOffsets(starts, position)),
      },
    };
  }

  hasNegativeOffsets(from: number, to: number): boolean {
    return this.#samples.compositionOffset.subarray(from, to).some((offset) => offset < 0);
  }

  sums(from: number, to: number): SampleSums {
    const { size, sync } = this.#samples;
    let [bytes, syncCount, syncBytes] = [0, 0, 0];
    for (let i = from; i < to; i++) {
      bytes += size[i] ?? 0;
      if (sync[i] !== 1) continue;
      syncCount++;
      syncBytes += size[i] ?? 0;
    }
    return { bytes, syncSamples: syncCount, syncBytes };
  }

  #chunks(): Uint32Array {
    this.#starts ??= chunkStarts((i) => this.#samples.offset[i] ?? 0, this.#samples.size, 0, this.count);
    return this.#starts;
  }

  #chunkOf(sample: number): number {
    const starts = this.#chunks();
    return lowerBound(starts.length, (i) => starts[i] ?? 0, sample + 1) - 1;
  }
}

function inMemory({ entries, count }: TableEntries): BlockTable {
  return { count, parts: entries.byteLength === 0 ? [] : [{ kind: 'bytes', data: entries }] };
}
