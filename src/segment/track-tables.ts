/**
 * The sample tables of one track of a segment as a plan looks into them: where a time or a file offset lies, the samples
 * of a window as columns, and the entries that stand for a block of samples in a later header.
 *
 * There are two of them: over the tables of a sealed `moov` as they lie in the file (nothing is unfolded but the window
 * that is asked for), and over columns in memory (an open segment, one with breaks). Both give the same entries for the
 * same samples.
 */
import { viewOf } from '../format/bytes.ts';
import type { TablePosition, TrackSummary } from '../format/trailer.ts';
import type { SampleTable } from '../mp4/tables.ts';
import {
  chunkOffsets,
  chunkStarts,
  compositionOffsets,
  ENTRY_BYTES,
  getUint64,
  sampleSizes,
  sampleToChunk,
  syncSamples,
  type TableEntries,
  timeToSample,
} from '../mp4/table-writer.ts';
import { type SyncTimes, syncTimesOf, syncTimesOfColumns } from './sync-times.ts';

/** Entries of a table: bytes, or a stretch of the segment's file that holds them. */
export type EntriesPart =
  | { readonly kind: 'bytes'; readonly data: Uint8Array }
  | { readonly kind: 'file'; readonly offset: number; readonly length: number };

export interface BlockTable {
  readonly count: number;
  readonly parts: readonly EntriesPart[];
}

/** Tables that a block of samples has of its own; `stsd` is the track's. */
export type BlockTableName = 'stts' | 'ctts' | 'stss' | 'stsz' | 'stsc' | 'co64';

/**
 * The table entries of samples [from, to). Sample numbers in `stss` and chunk numbers in `stsc` are those of the segment
 * (from 1), chunk offsets those of its file: whoever uses them adds what lies between.
 */
export interface BlockTables {
  /** Number of the first chunk in the segment, from 1. */
  readonly firstChunk: number;
  readonly tables: Readonly<Record<BlockTableName, BlockTable>>;
}

/** Sample indexes count from 0; times are ticks of the track on the run's timeline. */
export interface TrackTables {
  readonly count: number;
  /** File offset of a sample that is stored behind `count` but whose length is not known yet; else Infinity. */
  readonly behind: number;
  dts(sample: number): number;
  pts(sample: number): number;
  /** First sample whose DTS is `dts` or later; `count` if there is none. */
  sampleAt(dts: number): number;
  /** Last sync sample at or before `sample`; 0 if there is none. */
  syncBefore(sample: number): number;
  /** First sync sample at or behind `sample`; `count` if there is none. */
  syncAfter(sample: number): number;
  /** All sync samples, in one pass. */
  syncTimes(): SyncTimes;
  /** File offset of the chunk that holds `sample`. */
  chunkOffset(sample: number): number;
  /** First sample of the first chunk at or behind a file offset; `count` if there is none. */
  sampleAtOffset(offset: number): number;
  /** Samples [from, to) as columns; index 0 is sample `from`. */
  window(from: number, to: number): SampleTable;
  /** Samples [from, to), which begin and end with chunks. */
  block(from: number, to: number): BlockTables;
  /** Whether a composition offset of samples [from, to) is negative. */
  hasNegativeOffsets(from: number, to: number): boolean;
  /** Payload bytes and sync samples in [from, to). */
  sums(from: number, to: number): SampleSums;
}

export interface SampleSums {
  readonly bytes: number;
  readonly syncSamples: number;
  readonly syncBytes: number;
}

function whole({ count, offset, length }: TablePosition): BlockTable {
  return { count, parts: length === 0 ? [] : [{ kind: 'file', offset, length }] };
}

/** Entries for the whole of a sealed track, from its counters alone. */
export function wholeTables({ tables }: TrackSummary): BlockTables {
  return {
    firstChunk: 1,
    tables: {
      stts: whole(tables.stts),
      ctts: whole(tables.ctts),
      stss: whole(tables.stss),
      stsz: whole(tables.stsz),
      stsc: whole(tables.stsc),
      co64: whole(tables.co64),
    },
  };
}

/** Index of the first of `count` ascending values that is not below `value`. */
function lowerBound(count: number, at: (i: number) => number, value: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (at(middle) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Over columns in memory. */
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

/** A table of fixed-size entries as it lies in the file, with the file offset of its first byte. */
class StoredTable {
  readonly count: number;
  readonly view: DataView;
  readonly entryBytes: number;
  readonly #offset: number;

  constructor(moov: Uint8Array, moovOffset: number, { tables }: TrackSummary, name: BlockTableName) {
    const { offset, length, count } = tables[name];
    const at = offset - moovOffset;
    this.view = viewOf(count === 0 ? new Uint8Array(0) : moov.subarray(at, at + length));
    this.count = count;
    this.entryBytes = ENTRY_BYTES[name];
    this.#offset = offset;
  }

  word(entry: number, word = 0): number {
    return this.view.getUint32(entry * this.entryBytes + 4 * word);
  }

  /** Entries [from, to) as they lie in the file. */
  range(from: number, to: number): EntriesPart[] {
    if (to <= from) return [];
    return [{ kind: 'file', offset: this.#offset + from * this.entryBytes, length: (to - from) * this.entryBytes }];
  }
}

/** A place in a run-length table: entry, and how many of its samples lie before. */
interface RunPlace {
  readonly entry: number;
  readonly skipped: number;
}

/** Over the tables of a sealed segment. */
export class SealedTables implements TrackTables {
  readonly count: number;
  readonly behind = Infinity;
  readonly #summary: TrackSummary;
  readonly #stts: StoredTable;
  readonly #ctts: StoredTable;
  readonly #stss: StoredTable;
  readonly #stsz: StoredTable;
  readonly #stsc: StoredTable;
  readonly #co64: StoredTable;
  /** An `stss` that is not there means this; an empty one means that there is no sync sample. */
  readonly #allSync: boolean;

  constructor(moov: Uint8Array, moovOffset: number, summary: TrackSummary) {
    const stored = (name: BlockTableName) => new StoredTable(moov, moovOffset, summary, name);
    this.count = summary.samples;
    this.#summary = summary;
    this.#stts = stored('stts');
    this.#ctts = stored('ctts');
    this.#stss = stored('stss');
    this.#stsz = stored('stsz');
    this.#stsc = stored('stsc');
    this.#co64 = stored('co64');
    this.#allSync = summary.syncSamples === summary.samples;
  }

  dts(sample: number): number {
    let dts = this.#summary.firstDts ?? 0;
    let first = 0;
    for (let entry = 0; entry < this.#stts.count; entry++) {
      const count = this.#stts.word(entry);
      const delta = this.#stts.word(entry, 1);
      if (sample < first + count) return dts + (sample - first) * delta;
      first += count;
      dts += count * delta;
    }
    return dts;
  }

  pts(sample: number): number {
    if (this.#ctts.count === 0) return this.dts(sample);
    const { entry } = placeIn(this.#ctts, sample);
    return this.dts(sample) + signed(this.#ctts.word(entry, 1));
  }

  sampleAt(wanted: number): number {
    let dts = this.#summary.firstDts ?? 0;
    let first = 0;
    for (let entry = 0; entry < this.#stts.count; entry++) {
      const count = this.#stts.word(entry);
      const delta = this.#stts.word(entry, 1);
      if (wanted <= dts + (count - 1) * delta) return first + Math.max(0, Math.ceil((wanted - dts) / delta));
      first += count;
      dts += count * delta;
    }
    return this.count;
  }

  syncBefore(sample: number): number {
    if (this.#allSync) return Math.min(sample, Math.max(0, this.count - 1));
    const entry = lowerBound(this.#stss.count, (i) => this.#stss.word(i), sample + 2) - 1;
    return entry < 0 ? 0 : this.#stss.word(entry) - 1;
  }

  syncAfter(sample: number): number {
    if (this.#allSync) return Math.min(sample, this.count);
    const entry = lowerBound(this.#stss.count, (i) => this.#stss.word(i), sample + 1);
    return entry === this.#stss.count ? this.count : this.#stss.word(entry) - 1;
  }

  syncTimes(): SyncTimes {
    return syncTimesOf(this.#summary, this.#stss, this.#stts, this.#ctts);
  }

  chunkOffset(sample: number): number {
    return this.#chunkPosition(this.#chunkAt(sample).chunk);
  }

  sampleAtOffset(offset: number): number {
    const chunk = lowerBound(this.#co64.count, (i) => this.#chunkPosition(i), offset);
    return chunk === this.#co64.count ? this.count : this.#firstOfChunk(chunk);
  }

  window(from: number, to: number): SampleTable {
    const count = Math.max(0, to - from);
    const table = {
      count,
      dts: new Float64Array(count),
      duration: new Float64Array(count),
      compositionOffset: new Int32Array(count),
      size: new Uint32Array(count),
      offset: new Float64Array(count),
      sync: new Uint8Array(count),
    };
    if (count === 0) return table;
    this.#fillTimes(table, from);
    this.#fillPlaces(table, from);
    if (this.#allSync) table.sync.fill(1);
    const first = lowerBound(this.#stss.count, (i) => this.#stss.word(i), from + 1);
    for (let i = first; i < this.#stss.count; i++) {
      const sample = this.#stss.word(i) - 1;
      if (sample >= to) break;
      table.sync[sample - from] = 1;
    }
    return table;
  }

  #fillTimes({ count, dts, duration, compositionOffset }: SampleTable, from: number): void {
    let at = this.dts(from);
    const length = placeIn(this.#stts, from);
    const offset = this.#ctts.count === 0 ? undefined : placeIn(this.#ctts, from);
    let [entry, left] = [length.entry, this.#stts.word(length.entry) - length.skipped];
    let [offsetEntry, offsetLeft] = offset ? [offset.entry, this.#ctts.word(offset.entry) - offset.skipped] : [0, 0];
    for (let i = 0; i < count; i++) {
      const ticks = this.#stts.word(entry, 1);
      dts[i] = at;
      duration[i] = ticks;
      at += ticks;
      if (--left === 0 && ++entry < this.#stts.count) left = this.#stts.word(entry);
      if (offset === undefined) continue;
      compositionOffset[i] = signed(this.#ctts.word(offsetEntry, 1));
      if (--offsetLeft === 0 && ++offsetEntry < this.#ctts.count) offsetLeft = this.#ctts.word(offsetEntry);
    }
  }

  #fillPlaces({ count, size, offset }: SampleTable, from: number): void {
    const place = this.#chunkAt(from);
    let { chunk, entry } = place;
    let within = place.within;
    let at = this.#chunkPosition(chunk);
    for (let i = from - within; i < from; i++) at += this.#stsz.word(i);
    for (let i = 0; i < count; i++) {
      const bytes = this.#stsz.word(from + i);
      size[i] = bytes;
      offset[i] = at;
      at += bytes;
      if (++within < this.#stsc.word(entry, 1)) continue;
      within = 0;
      chunk++;
      if (entry + 1 < this.#stsc.count && this.#stsc.word(entry + 1) === chunk + 1) entry++;
      if (chunk < this.#co64.count) at = this.#chunkPosition(chunk);
    }
  }

  block(from: number, to: number): BlockTables {
    const first = this.#chunkAt(from).chunk;
    const end = to >= this.count ? this.#co64.count : this.#chunkAt(to).chunk;
    const syncFrom = lowerBound(this.#stss.count, (i) => this.#stss.word(i), from + 1);
    const syncTo = lowerBound(this.#stss.count, (i) => this.#stss.word(i), to + 1);
    return {
      firstChunk: first + 1,
      tables: {
        stts: runLengths(this.#stts, from, to),
        ctts: this.#ctts.count === 0 ? NOTHING : runLengths(this.#ctts, from, to),
        stss: { count: syncTo - syncFrom, parts: this.#stss.range(syncFrom, syncTo) },
        stsz: { count: to - from, parts: this.#stsz.range(from, to) },
        stsc: this.#chunkRuns(first, end),
        co64: { count: end - first, parts: this.#co64.range(first, end) },
      },
    };
  }

  hasNegativeOffsets(from: number, to: number): boolean {
    if (!this.#summary.negativeOffsets || to <= from) return false;
    const last = placeIn(this.#ctts, to - 1).entry;
    for (let { entry } = placeIn(this.#ctts, from); entry <= last; entry++) {
      if (signed(this.#ctts.word(entry, 1)) < 0) return true;
    }
    return false;
  }

  sums(from: number, to: number): SampleSums {
    let bytes = 0;
    for (let i = from; i < to; i++) bytes += this.#stsz.word(i);
    if (this.#allSync) return { bytes, syncSamples: to - from, syncBytes: bytes };
    const first = lowerBound(this.#stss.count, (i) => this.#stss.word(i), from + 1);
    let [entry, syncBytes] = [first, 0];
    for (; entry < this.#stss.count && this.#stss.word(entry) <= to; entry++) {
      syncBytes += this.#stsz.word(this.#stss.word(entry) - 1);
    }
    return { bytes, syncSamples: entry - first, syncBytes };
  }

  #chunkPosition(chunk: number): number {
    return getUint64(this.#co64.view, 8 * chunk);
  }

  /** The chunk (from 0) that holds a sample, its `stsc` entry, and the sample's place in it. */
  #chunkAt(sample: number): { readonly chunk: number; readonly entry: number; readonly within: number } {
    let first = 0;
    for (let entry = 0; ; entry++) {
      const perChunk = this.#stsc.word(entry, 1);
      const chunk = this.#stsc.word(entry) - 1;
      const last = entry + 1 === this.#stsc.count;
      const chunks = last ? Infinity : this.#stsc.word(entry + 1) - 1 - chunk;
      if (last || sample < first + chunks * perChunk) {
        const before = Math.floor((sample - first) / perChunk);
        return { chunk: chunk + before, entry, within: sample - first - before * perChunk };
      }
      first += chunks * perChunk;
    }
  }

  /** First sample of a chunk (from 0). */
  #firstOfChunk(wanted: number): number {
    let first = 0;
    for (let entry = 0; ; entry++) {
      const perChunk = this.#stsc.word(entry, 1);
      const chunk = this.#stsc.word(entry) - 1;
      const next = entry + 1 === this.#stsc.count ? Infinity : this.#stsc.word(entry + 1) - 1;
      if (wanted < next) return first + (wanted - chunk) * perChunk;
      first += (next - chunk) * perChunk;
    }
  }

  /** `stsc` of chunks [from, to), counted from 0. */
  #chunkRuns(from: number, to: number): BlockTable {
    const entry = lowerBound(this.#stsc.count, (i) => this.#stsc.word(i), from + 2) - 1;
    const end = lowerBound(this.#stsc.count, (i) => this.#stsc.word(i), to + 1);
    const begins = this.#stsc.word(entry) === from + 1;
    if (begins) return { count: end - entry, parts: this.#stsc.range(entry, end) };
    const first = words(from + 1, this.#stsc.word(entry, 1), this.#stsc.word(entry, 2));
    return { count: end - entry, parts: [{ kind: 'bytes', data: first }, ...this.#stsc.range(entry + 1, end)] };
  }
}

const NOTHING: BlockTable = { count: 0, parts: [] };

const signed = (word: number) => word | 0;

function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = viewOf(bytes);
  values.forEach((value, i) => view.setUint32(4 * i, value));
  return bytes;
}

function placeIn(table: StoredTable, sample: number): RunPlace {
  let first = 0;
  for (let entry = 0; entry < table.count; entry++) {
    const count = table.word(entry);
    if (sample < first + count) return { entry, skipped: sample - first };
    first += count;
  }
  return { entry: table.count, skipped: 0 };
}

/** Samples [from, to) of a run-length table: the first and the last entry count only what lies inside. */
function runLengths(table: StoredTable, from: number, to: number): BlockTable {
  const first = placeIn(table, from);
  const last = placeIn(table, to - 1);
  const entry = (index: number, count: number): EntriesPart => ({
    kind: 'bytes',
    data: words(count, table.word(index, 1)),
  });
  const count = last.entry - first.entry + 1;
  if (first.entry === last.entry) return { count, parts: [entry(first.entry, to - from)] };
  const headCut = first.skipped > 0;
  const tailCut = last.skipped + 1 < table.word(last.entry);
  return {
    count,
    parts: [
      ...(headCut ? [entry(first.entry, table.word(first.entry) - first.skipped)] : []),
      ...table.range(first.entry + (headCut ? 1 : 0), last.entry + (tailCut ? 0 : 1)),
      ...(tailCut ? [entry(last.entry, last.skipped + 1)] : []),
    ],
  };
}
