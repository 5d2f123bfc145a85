/**
 * The result of pass 1: an immutable, sorted list of slices with a length, an ETag and a Last-Modified. Everything that
 * is served is a virtual file; a byte range is a binary search.
 */

/** Bytes in memory, or a range of a file. */
export type Slice =
  | { readonly kind: 'bytes'; readonly data: Uint8Array }
  | { readonly kind: 'file'; readonly path: string; readonly offset: number; readonly length: number };

export function sliceLength(slice: Slice): number {
  return slice.kind === 'bytes' ? slice.data.byteLength : slice.length;
}

/** Byte positions [start, end) in a virtual file. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

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

  constructor(slices: readonly Slice[], etag: string, lastModifiedUtcMs: number) {
    this.#slices = slices;
    this.#starts = new Float64Array(slices.length);
    let at = 0;
    slices.forEach((slice, i) => {
      this.#starts[i] = at;
      at += sliceLength(slice);
    });
    this.length = at;
    this.etag = etag;
    this.lastModifiedUtcMs = lastModifiedUtcMs;
  }

  /** Bytes of the answer that are held in memory. */
  get memoryBytes(): number {
    return this.#slices.reduce((sum, slice) => sum + (slice.kind === 'bytes' ? slice.data.byteLength : 0), 0);
  }

  /** The parts of slices that make up `range`, in order. */
  *slices({ start, end }: ByteRange): Generator<Slice, void, undefined> {
    for (let i = this.#indexAt(start); i < this.#slices.length; i++) {
      const slice = this.#slices[i];
      const at = this.#starts[i] ?? 0;
      if (slice === undefined || at >= end) return;
      const from = Math.max(0, start - at);
      const to = Math.min(sliceLength(slice), end - at);
      if (to > from) yield part(slice, from, to);
    }
  }

  /** Index of the slice that holds `position`. */
  #indexAt(position: number): number {
    let low = 0;
    for (let high = this.#starts.length; high - low > 1;) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] ?? 0) <= position) low = middle;
      else high = middle;
    }
    return low;
  }
}

function part(slice: Slice, from: number, to: number): Slice {
  if (slice.kind === 'bytes') return { kind: 'bytes', data: slice.data.subarray(from, to) };
  return { ...slice, offset: slice.offset + from, length: to - from };
}
