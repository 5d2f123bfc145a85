/**
 * A segment of which an answer takes only chosen samples, one behind the other, with no delimiters and nothing else in
 * between. Its length is known from counters; which bytes these are is worked out when they are reached, from the tables
 * of this one segment.
 */
import type { FileHandle } from 'node:fs/promises';
import { FootageError } from '../errors.ts';
import type { SegmentCache, SegmentRef } from '../segment/cache.ts';
import type { SegmentContents } from '../segment/contents.ts';
import type { SampleSums } from '../segment/track-tables.ts';
import { openSegment, readWhole } from './entries.ts';
import type { PlanSegment } from './run.ts';
import { lastAtOrBelow } from './search.ts';
import { type BytesSlice, type ComputedSlice, partOf, type StoredSlice } from './virtual-file.ts';

/** What a segment's sync samples are preceded by. */
export interface Prefixes {
  of(segment: PlanSegment): Uint8Array | undefined;
}

/** Samples of one track that an answer takes. */
export interface PackedPick {
  /** Index of the track in the segment. */
  readonly track: number;
  /** Samples [from, to), ascending. */
  readonly ranges: readonly { readonly from: number; readonly to: number }[];
  /** Only the sync samples among them. */
  readonly keyframes: boolean;
  /** Bytes in front of every sync sample. */
  readonly prefix: Uint8Array | undefined;
}

export interface PackedDeps {
  readonly cache: SegmentCache;
  readonly expansions: Expansions;
}

/** The picked samples in file order. */
interface Expansion {
  readonly count: number;
  /** Position of each in the packed segment, prefix included, and the end. */
  readonly position: Float64Array;
  /** Where each lies in the file. */
  readonly offset: Float64Array;
  readonly size: Uint32Array;
  /** Index of the pick. */
  readonly pick: Uint8Array;
  /** 1 = a prefix goes in front. */
  readonly prefixed: Uint8Array;
  /** The tables that it was made from. */
  readonly contents: SegmentContents;
}

/** Expansions that were used lately: header and payload of a segment ask for the same one. */
export class Expansions {
  readonly #kept = new Map<PackedSegment, { readonly made: Promise<Expansion>; samples: number }>();

  of(segment: PackedSegment, expand: () => Promise<Expansion>): Promise<Expansion> {
    const known = this.#kept.get(segment);
    if (known !== undefined) return known.made;
    const kept = { made: expand(), samples: 0 };
    this.#kept.set(segment, kept);
    void kept.made.then(
      ({ count }) => {
        kept.samples = count;
        this.#makeRoom();
      },
      () => this.#kept.delete(segment),
    );
    return kept.made;
  }

  /** Those that were made longest ago go; the newest stays, however large it is. */
  #makeRoom(): void {
    let samples = 0;
    for (const kept of this.#kept.values()) samples += kept.samples;
    for (const [oldest, kept] of this.#kept) {
      if (samples <= MAX_EXPANDED_SAMPLES || this.#kept.size === 1) return;
      this.#kept.delete(oldest);
      samples -= kept.samples;
    }
  }
}

/** Samples of all expansions that are kept, about 60 bytes each with their tables. */
const MAX_EXPANDED_SAMPLES = 600_000;
/** Smaller samples are copied: a system call each would cost more. */
const COPY_BYTES = 16_384;
/** Bytes read at once to copy samples from. */
const READ_BYTES = 2 ** 20;

export class PackedSegment {
  /** Bytes. */
  readonly length: number;
  readonly #ref: SegmentRef;
  readonly #picks: readonly PackedPick[];
  readonly #deps: PackedDeps;

  constructor(segment: PlanSegment, picks: readonly PackedPick[], deps: PackedDeps) {
    const { row, path } = segment;
    // Not the segment itself: plans are kept, and what was looked into for them is large.
    this.#ref = { id: row.id, path, state: row.state, repairGeneration: row.repairGeneration };
    this.#picks = picks;
    this.#deps = deps;
    this.length = picks.reduce((sum, pick) => sum + bytesOf(segment, pick), 0);
  }

  slice(): ComputedSlice {
    return { kind: 'computed', length: this.length, read: (from, to) => this.#read(from, to) };
  }

  /** What is in front of each sync sample of a track. */
  prefixBytes(track: number): number {
    return this.#picks.find((pick) => pick.track === track)?.prefix?.byteLength ?? 0;
  }

  /** The tables of the segment. */
  async contents(): Promise<SegmentContents> {
    const contents = await this.#deps.cache.read(this.#ref);
    if (contents !== undefined) return contents;
    throw new FootageError('E_IO', `Segment ${this.#ref.path} is gone while it is sent: ask again.`);
  }

  /** Positions of the samples of a track, [from, to) of the segment's, counted from the first byte of this slice. */
  async positions(track: number, from: number, to: number): Promise<Float64Array> {
    const { count, position, pick: picks, contents } = await this.#expansion();
    const rank = this.#picks.findIndex((pick) => pick.track === track);
    const pick = this.#picks[rank];
    if (pick === undefined) return new Float64Array(0);
    const skipped = pickedBefore(contents, pick, from);
    const wanted = pickedBefore(contents, pick, to) - skipped;
    const found = new Float64Array(wanted);
    for (let i = 0, seen = 0; i < count && seen < skipped + wanted; i++) {
      if (picks[i] !== rank) continue;
      if (seen >= skipped) found[seen - skipped] = position[i] ?? 0;
      seen++;
    }
    return found;
  }

  #expansion(): Promise<Expansion> {
    return this.#deps.expansions.of(this, () => this.#expand());
  }

  async #expand(): Promise<Expansion> {
    return expand(await this.contents(), this.#picks);
  }

  async *#read(from: number, to: number): AsyncGenerator<StoredSlice, void, undefined> {
    const expansion = await this.#expansion();
    const reader = new SampleReader(this.#ref.path);
    try {
      for (let i = sampleAt(expansion, from); i < expansion.count && (expansion.position[i] ?? 0) < to;) {
        const { slices, next } = await this.#slicesAt(expansion, i, to, reader);
        yield* clipped(slices, expansion.position[i] ?? 0, from, to);
        i = next;
      }
    } finally {
      await reader.close();
    }
  }

  /** Slices from sample `i` on: a large one by itself, small ones together. */
  async #slicesAt(expansion: Expansion, i: number, to: number, reader: SampleReader) {
    const { offset, size } = expansion;
    const bytes = size[i] ?? 0;
    if (bytes >= COPY_BYTES) {
      const file: StoredSlice = { kind: 'file', path: this.#ref.path, offset: offset[i] ?? 0, length: bytes };
      return { slices: [...this.#prefixAt(expansion, i), file], next: i + 1 };
    }
    const next = endOfCopy(expansion, i, to);
    const slices: BytesSlice[] = [];
    const begin = offset[i] ?? 0;
    const read = await reader.read(begin, (offset[next - 1] ?? 0) + (size[next - 1] ?? 0) - begin);
    for (let k = i; k < next; k++) {
      const at = (offset[k] ?? 0) - begin;
      slices.push(...this.#prefixAt(expansion, k), { kind: 'bytes', data: read.subarray(at, at + (size[k] ?? 0)) });
    }
    return { slices: [together(slices)], next };
  }

  #prefixAt({ prefixed, pick }: Expansion, i: number): BytesSlice[] {
    const prefix = prefixed[i] === 1 ? this.#picks[pick[i] ?? 0]?.prefix : undefined;
    return prefix === undefined ? [] : [{ kind: 'bytes', data: prefix }];
  }
}

/** Bytes of a pick: from counters where the segment was not looked into. */
function bytesOf(segment: PlanSegment, { track, ranges, keyframes, prefix }: PackedPick): number {
  return ranges.reduce((sum, { from, to }) => {
    const { bytes, syncSamples, syncBytes } = sumsOf(segment, track, from, to);
    return sum + (keyframes ? syncBytes : bytes) + (prefix?.byteLength ?? 0) * syncSamples;
  }, 0);
}

/** Counters of samples [from, to) of a track. */
export function sumsOf({ view, row }: PlanSegment, track: number, from: number, to: number): SampleSums {
  const tables = view?.tracks[track]?.tables;
  if (tables !== undefined) return tables.sums(from, to);
  const { payloadBytes: bytes = 0, syncSamples = 0, syncBytes = 0 } = row.tracks[track] ?? {};
  return { bytes, syncSamples, syncBytes };
}

/** How many samples of a pick lie before sample `end` of the segment. */
function pickedBefore({ tracks }: SegmentContents, { track, ranges, keyframes }: PackedPick, end: number): number {
  const sync = tracks[track]?.samples.sync;
  let count = 0;
  for (const { from, to } of ranges) {
    const last = Math.min(to, end);
    if (!keyframes) count += Math.max(0, last - from);
    else for (let i = from; i < last; i++) count += sync?.[i] ?? 0;
  }
  return count;
}

function expand(contents: SegmentContents, picks: readonly PackedPick[]): Expansion {
  const count = picks.reduce((sum, pick) => sum + pickedBefore(contents, pick, Infinity), 0);
  const expansion = {
    ...{ count, contents, position: new Float64Array(count + 1), offset: new Float64Array(count) },
    ...{ size: new Uint32Array(count), pick: new Uint8Array(count), prefixed: new Uint8Array(count) },
  };
  const lanes = picks.map((pick, rank) => new PickLane(contents, pick, rank));
  let position = 0;
  for (let i = 0; i < count; i++) {
    const lane = lanes.reduce((best, other) => (other.offset < best.offset ? other : best));
    const prefixed = lane.isPrefixed;
    expansion.position[i] = position;
    expansion.offset[i] = lane.offset;
    expansion.size[i] = lane.size;
    expansion.pick[i] = lane.rank;
    expansion.prefixed[i] = prefixed ? 1 : 0;
    position += lane.size + (prefixed ? (lane.pick.prefix?.byteLength ?? 0) : 0);
    lane.advance();
  }
  expansion.position[count] = position;
  return expansion;
}

/** Walks the samples of a pick. */
class PickLane {
  readonly rank: number;
  readonly pick: PackedPick;
  readonly #samples: SegmentContents['tracks'][number]['samples'] | undefined;
  #range = 0;
  #sample: number;

  constructor({ tracks }: SegmentContents, pick: PackedPick, rank: number) {
    this.rank = rank;
    this.pick = pick;
    this.#samples = tracks[pick.track]?.samples;
    this.#sample = (pick.ranges[0]?.from ?? 0) - 1;
    this.advance();
  }

  get offset(): number {
    return this.#range < this.pick.ranges.length ? (this.#samples?.offset[this.#sample] ?? Infinity) : Infinity;
  }

  get size(): number {
    return this.#samples?.size[this.#sample] ?? 0;
  }

  get isPrefixed(): boolean {
    return this.pick.prefix !== undefined && this.#samples?.sync[this.#sample] === 1;
  }

  advance(): void {
    do this.#step();
    while (this.#isLeftOut());
  }

  /** To the next sample of the ranges. */
  #step(): void {
    const { ranges } = this.pick;
    this.#sample++;
    while (this.#range < ranges.length && this.#sample >= (ranges[this.#range]?.to ?? 0)) {
      this.#range++;
      this.#sample = ranges[this.#range]?.from ?? 0;
    }
  }

  #isLeftOut(): boolean {
    const { ranges, keyframes } = this.pick;
    return keyframes && this.#range < ranges.length && this.#samples?.sync[this.#sample] !== 1;
  }
}

/** Index of the sample that holds a position. */
function sampleAt({ count, position }: Expansion, at: number): number {
  return lastAtOrBelow(count, (i) => position[i] ?? 0, at);
}

/** End of the row of small samples from `i` on that are read at once. */
function endOfCopy({ count, offset, size, position }: Expansion, i: number, to: number): number {
  const begin = offset[i] ?? 0;
  let next = i + 1;
  for (; next < count && (position[next] ?? 0) < to; next++) {
    const gap = (offset[next] ?? 0) - (offset[next - 1] ?? 0) - (size[next - 1] ?? 0);
    const end = (offset[next] ?? 0) + (size[next] ?? 0);
    if ((size[next] ?? 0) >= COPY_BYTES || gap > COPY_BYTES || end - begin > READ_BYTES) break;
  }
  return next;
}

/** One slice out of many in memory. */
function together(slices: readonly BytesSlice[]): StoredSlice {
  return { kind: 'bytes', data: Buffer.concat(slices.map(({ data }) => data)) };
}

/** What of slices that begin at position `at` lies in [from, to). */
function* clipped(slices: readonly StoredSlice[], at: number, from: number, to: number) {
  let position = at;
  for (const slice of slices) {
    const length = slice.kind === 'bytes' ? slice.data.byteLength : slice.length;
    const [first, end] = [Math.max(0, from - position), Math.min(length, to - position)];
    position += length;
    if (end > first) yield partOf(slice, first, end);
  }
}

/** Reads samples of one file. */
class SampleReader {
  readonly #path: string;
  #file: FileHandle | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.#file ??= await openSegment(this.#path);
    return readWhole(this.#file, this.#path, offset, length);
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}
