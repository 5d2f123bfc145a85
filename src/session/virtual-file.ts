/**
 * The result of pass 1: an immutable, sorted list of slices with a length, an ETag and a Last-Modified. Everything that
 * is served is a virtual file; a byte range is a binary search.
 *
 * A slice's length is known when the file is planned. What is in a computed slice is worked out when it is reached, and
 * only for the bytes that are asked for: a plan costs as much as there are segments, not as there are frames.
 */

import { lastAtOrBelow } from './search.ts';

/** Bytes in memory. */
export interface BytesSlice {
  readonly kind: 'bytes';
  readonly data: Uint8Array;
}

/** A range of a file. */
export interface FileSlice {
  readonly kind: 'file';
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** Slices that can be sent as they are. */
export type StoredSlice = BytesSlice | FileSlice;

/** Bytes that are worked out when they are reached. */
export interface ComputedSlice {
  readonly kind: 'computed';
  readonly length: number;
  /** The bytes [from, to) of this slice, in order; always the same for the same range. */
  readonly read: (from: number, to: number) => AsyncIterable<StoredSlice> | Iterable<StoredSlice>;
}

export type Slice = StoredSlice | ComputedSlice;

export function sliceLength(slice: Slice): number {
  return slice.kind === 'bytes' ? slice.data.byteLength : slice.length;
}

/** Byte positions [start, end) in a virtual file. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Rough memory of a slice that holds no bytes of its own. */
const SLICE_BYTES = 200;

export class VirtualFile {
  /** Bytes. */
  readonly length: number;
  /** Strong entity tag, quotes included (RFC 9110 8.8.3). */
  readonly etag: string;
  /** UTC end of the last planned sample, rounded up to a second, Unix ms. */
  readonly lastModifiedUtcMs: number;
  readonly #slices: readonly Slice[];
  /** Position of each slice. */
  readonly #starts: Float64Array;
  /** Memory that the file holds, bytes: roughly. */
  readonly memoryBytes: number;

  constructor(slices: readonly Slice[], etag: string, lastModifiedUtcMs: number) {
    this.#slices = slices;
    this.#starts = new Float64Array(slices.length);
    let at = 0;
    let inMemory = 0;
    slices.forEach((slice, i) => {
      this.#starts[i] = at;
      at += sliceLength(slice);
      if (slice.kind === 'bytes') inMemory += slice.data.byteLength;
    });
    this.length = at;
    this.memoryBytes = inMemory + SLICE_BYTES * slices.length;
    this.etag = etag;
    this.lastModifiedUtcMs = lastModifiedUtcMs;
  }

  /** The parts of slices that make up `range`, in order; none is empty. */
  async *slices({ start, end }: ByteRange): AsyncGenerator<StoredSlice, void, undefined> {
    for (let i = this.#indexAt(start); i < this.#slices.length; i++) {
      const slice = this.#slices[i];
      const at = this.#starts[i] ?? 0;
      if (slice === undefined || at >= end) return;
      const from = Math.max(0, start - at);
      const to = Math.min(sliceLength(slice), end - at);
      if (to > from) yield* storedParts(slice, from, to);
    }
  }

  /** Index of the slice that holds `position`. */
  #indexAt(position: number): number {
    return lastAtOrBelow(this.#starts.length, (i) => this.#starts[i] ?? 0, position);
  }
}

async function* storedParts(slice: Slice, from: number, to: number): AsyncGenerator<StoredSlice, void, undefined> {
  if (slice.kind !== 'computed') {
    yield partOf(slice, from, to);
    return;
  }
  let missing = to - from;
  for await (const part of slice.read(from, to)) {
    missing -= sliceLength(part);
    // An answer whose length was announced must not end up shorter or longer in silence.
    if (missing < 0) break;
    if (sliceLength(part) > 0) yield part;
  }
  if (missing !== 0)
    throw new RangeError(`a computed slice gives other bytes than it announced (${missing} are missing)`);
}

/** The bytes [from, to) of a slice. */
export function partOf(slice: StoredSlice, from: number, to: number): StoredSlice {
  if (slice.kind === 'bytes') return { kind: 'bytes', data: slice.data.subarray(from, to) };
  return { ...slice, offset: slice.offset + from, length: to - from };
}
