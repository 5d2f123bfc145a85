/**
 * The sample tables of one track of a segment as a plan looks into them: where a time or a file offset lies, the samples
 * of a window as columns, and the entries that stand for a block of samples in a later header.
 *
 * There are two of them: over the tables of a sealed `moov` as they lie in the file (SealedTables), and over columns in
 * memory (ColumnTables: an open segment, one with breaks). Both give the same entries for the same samples.
 */
import type { TablePosition, TrackSummary } from '../format/trailer.ts';
import type { SampleTable } from '../mp4/tables.ts';
import type { SyncTimes } from './sync-times.ts';

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
export function lowerBound(count: number, at: (i: number) => number, value: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (at(middle) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
