/**
 * Entries of the tables in `stbl` (ISO/IEC 14496-12 section 8.6 and 8.7), built from columns of samples: for segments
 * that are sealed, and for those samples of an answer that are not copied from such tables.
 *
 * Run lengths are maximal within the samples that are given. One chunk is a stretch of samples without other bytes in
 * between.
 */
import { viewOf } from './box.ts';

/** Tables of a track whose entries a later header may copy. */
export const MOVIE_TABLES = ['stsd', 'stts', 'ctts', 'stss', 'stsz', 'stsc', 'co64'] as const;
export type MovieTable = (typeof MOVIE_TABLES)[number];

/** Bytes of one entry of each run-length or plain table. */
export const ENTRY_BYTES = { stts: 8, ctts: 8, stss: 4, stsz: 4, stsc: 12, co64: 8 } as const;

/** Entries of one table. */
export interface TableEntries {
  readonly entries: Uint8Array;
  readonly count: number;
}

/** 32-bit words that grow. */
class Words {
  #words = new Uint8Array(256);
  #view = viewOf(this.#words);
  #length = 0;

  push(...values: readonly number[]): void {
    if (this.#length + 4 * values.length > this.#words.byteLength) {
      const grown = new Uint8Array(this.#words.byteLength * 2);
      grown.set(this.#words);
      this.#words = grown;
      this.#view = viewOf(grown);
    }
    for (const value of values) {
      this.#view.setUint32(this.#length, value);
      this.#length += 4;
    }
  }

  table(wordsPerEntry: number): TableEntries {
    const entries = this.#words.slice(0, this.#length);
    return { entries, count: this.#length / 4 / wordsPerEntry };
  }
}

/**
 * `stts` (8.6.1.2) of `count` samples. With `lastApart` the last sample is a run of its own, so that a later header
 * changes its length in place.
 */
export function timeToSample(count: number, delta: (i: number) => number, lastApart: boolean): TableEntries {
  const words = new Words();
  const end = lastApart ? count - 1 : count;
  for (let i = 0; i < count;) {
    const ticks = delta(i);
    let next = i + 1;
    while (next < end && delta(next) === ticks) next++;
    words.push(next - i, ticks);
    i = next;
  }
  return words.table(2);
}

/** `ctts` (8.6.1.3) of samples [from, to); entries of version 0 and 1 differ in sign alone. */
export function compositionOffsets(offsets: Int32Array, from: number, to: number): TableEntries {
  const words = new Words();
  for (let i = from; i < to;) {
    const offset = offsets[i] ?? 0;
    let next = i + 1;
    while (next < to && offsets[next] === offset) next++;
    words.push(next - i, offset);
    i = next;
  }
  return words.table(2);
}

/** `stss` (8.6.2) of samples [from, to); sample `from` has the number `number` (the first of a track has 1). */
export function syncSamples(sync: Uint8Array, from: number, to: number, number: number): TableEntries {
  const words = new Words();
  for (let i = from; i < to; i++) if (sync[i] === 1) words.push(number + i - from);
  return words.table(1);
}

/** `stsz` (8.7.3.2) of samples [from, to). */
export function sampleSizes(size: Uint32Array, from: number, to: number): TableEntries {
  const entries = new Uint8Array(4 * (to - from));
  const view = viewOf(entries);
  for (let i = from; i < to; i++) view.setUint32(4 * (i - from), size[i] ?? 0);
  return { entries, count: to - from };
}

/** Index of the first sample of each chunk of samples [from, to): a chunk ends where other bytes come in between. */
export function chunkStarts(position: (i: number) => number, size: Uint32Array, from: number, to: number): Uint32Array {
  const starts = new Uint32Array(to - from);
  let chunks = 0;
  let end = -1;
  for (let i = from; i < to; i++) {
    const at = position(i);
    if (at !== end) starts[chunks++] = i;
    end = at + (size[i] ?? 0);
  }
  return starts.subarray(0, chunks);
}

/** `stsc` (8.7.4) of chunks that begin at the given samples; the first one has the number `number`; one description. */
export function sampleToChunk(starts: Uint32Array, to: number, number: number): TableEntries {
  const words = new Words();
  let previous = 0;
  for (let chunk = 0; chunk < starts.length; chunk++) {
    const samples = (starts[chunk + 1] ?? to) - (starts[chunk] ?? 0);
    if (samples !== previous) words.push(chunk + number, samples, 1);
    previous = samples;
  }
  return words.table(3);
}

/** `co64` (8.7.5). */
export function chunkOffsets(starts: Uint32Array, position: (i: number) => number): TableEntries {
  const entries = new Uint8Array(8 * starts.length);
  const view = viewOf(entries);
  starts.forEach((sample, i) => setUint64(view, 8 * i, position(sample)));
  return { entries, count: starts.length };
}

const WORD = 0x1_0000_0000;

export function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / WORD));
  view.setUint32(at + 4, value % WORD);
}

export function getUint64(view: DataView, at: number): number {
  return view.getUint32(at) * WORD + view.getUint32(at + 4);
}

/** 32-bit numbers as bytes. */
export function words(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = viewOf(bytes);
  values.forEach((value, i) => view.setUint32(4 * i, value));
  return bytes;
}

/** `co64` of chunks of one sample each. */
export function offsetsOf(positions: Float64Array, add: number): Uint8Array {
  const bytes = new Uint8Array(8 * positions.length);
  const view = viewOf(bytes);
  positions.forEach((position, i) => setUint64(view, 8 * i, position + add));
  return bytes;
}
