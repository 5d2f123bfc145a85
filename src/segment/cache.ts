/**
 * Tables of segments that were read lately. Sealed ones never change (within a repair generation); open ones are read
 * on from where the last reading stopped.
 */
import { FootageError } from '../errors.ts';
import type { Trailer } from '../format/trailer.ts';
import type { Native } from '../native-types.ts';
import type { SegmentContents } from './contents.ts';
import { type DiskFile, isThere, openIfThere, type SegmentIo } from './disk.ts';
import { OpenSegmentReader, readSealed, readTrailer } from './reader.ts';
import { type SegmentView, viewOfContents, viewOfSealed } from './view.ts';

/** Bytes kept of sealed segments' tables, unfolded and as they lie in the file. */
const MAX_CONTENTS_BYTES = 40_000_000;
const MAX_VIEW_BYTES = 8_000_000;
/** Of unfolded tables. */
const SAMPLE_BYTES = 40;

/** What was asked for last, up to so many bytes; one alone may have more. */
class Recent<T> {
  readonly #kept = new Map<string, { readonly value: T; readonly bytes: number }>();
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(key: string): T | undefined {
    const found = this.#kept.get(key);
    if (found !== undefined) this.set(key, found.value, found.bytes);
    return found?.value;
  }

  set(key: string, value: T, bytes: number): void {
    this.#delete(key);
    this.#kept.set(key, { value, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#kept.keys()) {
      if (this.#bytes <= this.#maxBytes || oldest === key) break;
      this.#delete(oldest);
    }
  }

  #delete(key: string): void {
    this.#bytes -= this.#kept.get(key)?.bytes ?? 0;
    this.#kept.delete(key);
  }

  clear(): void {
    this.#kept.clear();
    this.#bytes = 0;
  }
}

export interface SegmentRef {
  readonly id: string;
  /** Absolute path. */
  readonly path: string;
  readonly state: 'open' | 'sealed';
  readonly repairGeneration: number;
}

export class SegmentCache {
  readonly #io: SegmentIo;
  readonly #sealed = new Recent<SegmentContents>(MAX_CONTENTS_BYTES);
  readonly #views = new Recent<SegmentView>(MAX_VIEW_BYTES);
  readonly #open = new Map<string, Promise<OpenSegmentReader | undefined>>();

  constructor(io: SegmentIo) {
    this.#io = io;
  }

  /** As the segments are checked with. */
  get crc32c(): Native['crc32c'] {
    return this.#io.native.crc32c;
  }

  /**
   * The segment's tables as they are now; undefined if its file is gone.
   * @throws FootageError E_DAMAGED
   */
  async read(ref: SegmentRef): Promise<SegmentContents | undefined> {
    if (ref.state === 'open') return this.#readOpen(ref);
    const key = keyOf(ref);
    const cached = this.#sealed.get(key);
    if (cached !== undefined) return cached;
    await this.#forgetOpen(ref.id);
    const contents = await withSealed(ref, this.#io, readSealed);
    if (contents !== undefined)
      this.#sealed.set(key, contents, SAMPLE_BYTES * total(contents.tracks.map(({ samples }) => samples.count)));
    return contents;
  }

  /**
   * What a plan looks into of the segment as it is now; undefined if its file is gone.
   * @throws FootageError E_DAMAGED
   */
  async view(ref: SegmentRef): Promise<SegmentView | undefined> {
    if (ref.state === 'sealed') return this.#viewSealed(ref);
    const contents = await this.#readOpen(ref);
    return contents && viewOfContents(contents);
  }

  async #viewSealed(ref: SegmentRef): Promise<SegmentView | undefined> {
    const key = keyOf(ref);
    const kept = this.#views.get(key);
    if (kept !== undefined) return (await isThere(this.#io.disk, ref.path)) ? kept : undefined;
    let bytes = 0;
    const view = await withSealed(ref, this.#io, (file, trailer, native) => {
      const unfolded = trailer.discontinuous ? SAMPLE_BYTES * total(trailer.tracks.map(({ samples }) => samples)) : 0;
      bytes = trailer.moov.length + unfolded;
      return viewOfSealed(file, trailer, native);
    });
    if (view !== undefined) this.#views.set(key, view, bytes);
    return view;
  }

  async #readOpen(ref: SegmentRef): Promise<SegmentContents | undefined> {
    const opening = this.#open.get(ref.id) ?? openReader(ref.path, this.#io);
    this.#open.set(ref.id, opening);
    const reader = await opening.catch((error: unknown) => {
      this.#open.delete(ref.id);
      throw error;
    });
    if (reader === undefined) {
      this.#open.delete(ref.id);
      return undefined;
    }
    try {
      await reader.refresh();
    } catch (error) {
      // Another request saw that the segment was sealed, and closed this reader: the file is read anew.
      if (this.#open.get(ref.id) === opening) throw error;
      return this.#readOpen(ref);
    }
    return reader.contents(false);
  }

  async #forgetOpen(id: string): Promise<void> {
    const opening = this.#open.get(id);
    this.#open.delete(id);
    await (await opening?.catch(() => undefined))?.close();
  }

  /** Closes the files of open segments other than those named: they have been sealed or removed since. */
  async keepOpen(ids: ReadonlySet<string>): Promise<void> {
    for (const id of this.#open.keys()) if (!ids.has(id)) await this.#forgetOpen(id);
  }

  async close(): Promise<void> {
    await this.keepOpen(new Set());
    this.#sealed.clear();
    this.#views.clear();
  }
}

const total = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);

const keyOf = ({ id, repairGeneration }: SegmentRef) => `${id}/${repairGeneration}`;

async function openReader(path: string, io: SegmentIo): Promise<OpenSegmentReader | undefined> {
  const file = await openIfThere(io.disk, path);
  return file === undefined ? undefined : OpenSegmentReader.open(file, path, io);
}

async function withSealed<T>(
  ref: SegmentRef,
  { disk, native }: SegmentIo,
  read: (file: DiskFile, trailer: Trailer, native: Native) => Promise<T>,
): Promise<T | undefined> {
  const file = await openIfThere(disk, ref.path);
  if (file === undefined) return undefined;
  try {
    const trailer = await readTrailer(file, native);
    if (trailer === undefined) {
      throw new FootageError('E_DAMAGED', `Segment ${ref.path} has lost its trailer: run "footage verify --repair".`);
    }
    return await read(file, trailer, native);
  } finally {
    await file.close();
  }
}
