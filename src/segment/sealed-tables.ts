/**
 * The tables of a track over the `moov` of its sealed segment, as they lie in the file: nothing is unfolded but the
 * window that is asked for.
 */
import { FootageError } from '../errors.ts';
import { viewOf } from '../format/bytes.ts';
import type { TrackSummary } from '../format/trailer.ts';
import type { SampleTable } from '../mp4/tables.ts';
import { ENTRY_BYTES, getUint64, words } from '../mp4/table-writer.ts';
import { RunLengths } from './run-lengths.ts';
import { type SyncTimes, syncTimesOf } from './sync-times.ts';
import {
  type BlockTable,
  type BlockTableName,
  type BlockTables,
  type EntriesPart,
  lowerBound,
  type SampleSums,
  type TrackTables,
} from './track-tables.ts';

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

  /** @throws FootageError E_DAMAGED for an entry that is not there: tables disagree */
  word(entry: number, word = 0): number {
    if (entry < 0 || entry >= this.count) throw tablesDisagree();
    return this.view.getUint32(entry * this.entryBytes + 4 * word);
  }

  /** Entries [from, to) as they lie in the file. */
  range(from: number, to: number): EntriesPart[] {
    if (to <= from) return [];
    return [{ kind: 'file', offset: this.#offset + from * this.entryBytes, length: (to - from) * this.entryBytes }];
  }
}

export class SealedTables implements TrackTables {
  readonly count: number;
  readonly behind = Infinity;
  readonly #summary: TrackSummary;
  readonly #stts: StoredTable;
  readonly #ctts: StoredTable;
  readonly #times: RunLengths;
  /** Undefined where all offsets are 0. */
  readonly #offsets: RunLengths | undefined;
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
    this.#times = new RunLengths(this.#stts);
    this.#offsets = this.#ctts.count === 0 ? undefined : new RunLengths(this.#ctts);
    this.#stss = stored('stss');
    this.#stsz = stored('stsz');
    this.#stsc = stored('stsc');
    this.#co64 = stored('co64');
    this.#allSync = summary.syncSamples === summary.samples;
    this.#check();
  }

  /** Every sample has a size, a length of time and a chunk. */
  #check(): void {
    const filled = Math.min(this.#stts.count, this.#stsc.count, this.#co64.count) > 0;
    if (this.#stsz.count === this.count && (filled || this.count === 0)) return;
    throw tablesDisagree();
  }

  dts(sample: number): number {
    return (this.#summary.firstDts ?? 0) + this.#times.sumBefore(sample);
  }

  pts(sample: number): number {
    return this.dts(sample) + signed(this.#offsets?.valueAt(sample) ?? 0);
  }

  sampleAt(wanted: number): number {
    return this.#times.firstAtSum(wanted - (this.#summary.firstDts ?? 0));
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
    return syncTimesOf(this.#summary, this.#stss, this.#times, this.#offsets);
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
    const length = this.#times.place(from);
    const offset = this.#offsets?.place(from);
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
        stts: runLengths(this.#stts, this.#times, from, to),
        ctts: this.#offsets === undefined ? NOTHING : runLengths(this.#ctts, this.#offsets, from, to),
        stss: { count: syncTo - syncFrom, parts: this.#stss.range(syncFrom, syncTo) },
        stsz: { count: to - from, parts: this.#stsz.range(from, to) },
        stsc: this.#chunkRuns(first, end),
        co64: { count: end - first, parts: this.#co64.range(first, end) },
      },
    };
  }

  hasNegativeOffsets(from: number, to: number): boolean {
    if (!this.#summary.negativeOffsets || this.#offsets === undefined || to <= from) return false;
    let { entry } = this.#offsets.place(from);
    for (const last = this.#offsets.place(to - 1).entry; entry <= last; entry++) {
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
    if (chunk < 0 || chunk >= this.#co64.count) throw tablesDisagree();
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
    const first = words([from + 1, this.#stsc.word(entry, 1), this.#stsc.word(entry, 2)]);
    return { count: end - entry, parts: [{ kind: 'bytes', data: first }, ...this.#stsc.range(entry + 1, end)] };
  }
}

const NOTHING: BlockTable = { count: 0, parts: [] };

/** Their checksums hold, and yet one names what another does not have. */
function tablesDisagree(): FootageError {
  return new FootageError('E_DAMAGED', 'The tables of a segment do not hold together: run "footage verify".');
}

const signed = (word: number) => word | 0;

/** Samples [from, to) of a run-length table: the first and the last entry count only what lies inside. */
function runLengths(table: StoredTable, places: RunLengths, from: number, to: number): BlockTable {
  const first = places.place(from);
  const last = places.place(to - 1);
  const entry = (index: number, count: number): EntriesPart => ({
    kind: 'bytes',
    data: words([count, table.word(index, 1)]),
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
