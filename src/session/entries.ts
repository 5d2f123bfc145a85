/**
 * Entries of stored tables as a new header needs them: as they lie in the file where nothing changes, and with an
 * addition or a factor, worked out when they are reached, where numbers are counted from another beginning.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { FootageError, ioError } from '../errors.ts';
import { getUint64, setUint64 } from '../mp4/table-writer.ts';
import { readUpTo } from '../segment/disk.ts';
import type { EntriesPart } from '../segment/track-tables.ts';
import type { ComputedSlice, FileSlice, StoredSlice } from './virtual-file.ts';

/** What becomes of one number of every entry: `value * factor + add`. */
export interface Change {
  readonly entryBytes: number;
  /** Byte position of the number in its entry. */
  readonly at: number;
  /** A 64-bit number, not one of 32. */
  readonly wide: boolean;
  readonly factor: number;
  readonly add: number;
}

/** A part of a header: bytes, or slices. */
export type HeaderPart = FileSlice | ComputedSlice;

/** Bytes worked on at once; a multiple of every entry size. */
const BLOCK_BYTES = 24 * 4096;

/** Fewer bytes are copied: many segments give a few each, and each would hold a descriptor while a client is slow. */
const COPY_BYTES = 16_384;

export function changed(part: EntriesPart, path: string, change: Change | undefined): Uint8Array | HeaderPart {
  const same = change === undefined || (change.factor === 1 && change.add === 0);
  if (part.kind === 'file') {
    const { offset, length } = part;
    if (same && length >= COPY_BYTES) return { kind: 'file', path, offset, length };
    const what = same ? undefined : change;
    return { kind: 'computed', length, read: (from, to) => changedRange(path, offset, from, to, what) };
  }
  if (same) return part.data;
  const data = part.data.slice();
  applyChange(data, change);
  return data;
}

function applyChange(bytes: Uint8Array, { entryBytes, at, wide, factor, add }: Change): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let entry = at; entry < bytes.byteLength; entry += entryBytes) {
    // Composition offsets are signed: 32-bit arithmetic is the same for both.
    if (wide) setUint64(view, entry, getUint64(view, entry) * factor + add);
    else view.setUint32(entry, view.getUint32(entry) * factor + add);
  }
}

/** Bytes [from, to) of the entries at `offset`, changed or as they are. */
async function* changedRange(
  path: string,
  offset: number,
  from: number,
  to: number,
  change: Change | undefined,
): AsyncGenerator<StoredSlice, void, undefined> {
  const file = await openSegment(path);
  try {
    const entryBytes = change?.entryBytes ?? 1;
    const end = Math.ceil(to / entryBytes) * entryBytes;
    for (let at = Math.floor(from / entryBytes) * entryBytes; at < end; at += BLOCK_BYTES) {
      const data = await readWhole(file, path, offset + at, Math.min(BLOCK_BYTES, end - at));
      if (change !== undefined) applyChange(data, change);
      yield { kind: 'bytes', data: data.subarray(Math.max(0, from - at), to - at) };
    }
  } finally {
    await file.close();
  }
}

export async function openSegment(path: string): Promise<FileHandle> {
  return open(path).catch((error: unknown) => {
    throw ioError(error, `opening ${path} to send it`);
  });
}

/** @throws FootageError E_IO for a file that ends before */
export async function readWhole(file: FileHandle, path: string, offset: number, length: number): Promise<Uint8Array> {
  const data = await readUpTo(file, offset, length);
  if (data.byteLength === length) return data;
  throw new FootageError('E_IO', `Segment ${path} ends at ${offset + data.byteLength}: run "footage verify".`);
}

/** Bytes that are made as a whole when the first of them is asked for. */
export function madeOnDemand(length: number, make: () => Promise<Uint8Array>): ComputedSlice {
  return {
    kind: 'computed',
    length,
    read: async function* (from, to): AsyncGenerator<StoredSlice, void, undefined> {
      const data = await make();
      yield { kind: 'bytes', data: data.subarray(from, to) };
    },
  };
}

/** Repeated bytes are made in blocks of this size. */
const REPEATED_BLOCK_BYTES = 65_536;

/** The same bytes `count` times. */
export function repeated(bytes: Uint8Array, count: number): ComputedSlice {
  const read = (from: number, to: number) => repeatedBytes(bytes, from, to);
  return { kind: 'computed', length: bytes.byteLength * count, read };
}

function* repeatedBytes(bytes: Uint8Array, from: number, to: number): Generator<StoredSlice, void, undefined> {
  for (let at = from; at < to; at += REPEATED_BLOCK_BYTES) {
    const data = new Uint8Array(Math.min(REPEATED_BLOCK_BYTES, to - at));
    for (let i = 0; i < data.byteLength; i++) data[i] = bytes[(at + i) % bytes.byteLength] ?? 0;
    yield { kind: 'bytes', data };
  }
}
