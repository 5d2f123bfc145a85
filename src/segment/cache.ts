/**
 * Tables of segments that were read lately. Sealed ones never change (within a repair generation); open ones are read
 * on from where the last reading stopped.
 */
import type { FileHandle } from 'node:fs/promises';
import { FootageError } from '../errors.ts';
import type { Trailer } from '../format/trailer.ts';
import type { Native } from '../native-types.ts';
import type { SegmentContents } from './contents.ts';
import { openIfThere } from './disk.ts';
import { OpenSegmentReader, readSealed, readTrailer } from './reader.ts';
import { type SegmentView, viewOfContents, viewOfSealed } from './view.ts';

/** Samples kept over all sealed segments; about 40 bytes each. */
const MAX_CACHED_SAMPLES = 1_000_000;

export interface SegmentRef {
  readonly id: string;
  /** Absolute path. */
  readonly path: string;
  readonly state: 'open' | 'sealed';
  readonly repairGeneration: number;
}

export class SegmentCache {
  readonly #native: Native;
  readonly #sealed = new Map<string, SegmentContents>();
  #sealedSamples = 0;
  readonly #open = new Map<string, Promise<OpenSegmentReader | undefined>>();

  constructor(native: Native) {
    this.#native = native;
  }

  /** As the segments are checked with. */
  get crc32c(): Native['crc32c'] {
    return this.#native.crc32c;
  }

  /**
   * The segment's tables as they are now; undefined if its file is gone.
   * @throws FootageError E_DAMAGED
   */
  async read(ref: SegmentRef): Promise<SegmentContents | undefined> {
    if (ref.state === 'open') return this.#readOpen(ref);
    const key = `${ref.id}/${ref.repairGeneration}`;
    const cached = this.#sealed.get(key);
    if (cached !== undefined) return cached;
    await this.#forgetOpen(ref.id);
    const contents = await withSealed(ref, this.#native, readSealed);
    if (contents !== undefined) this.#remember(key, contents);
    return contents;
  }

  /**
   * What a plan looks into of the segment as it is now; undefined if its file is gone. It is not kept: plans are.
   * @throws FootageError E_DAMAGED
   */
  async view(ref: SegmentRef): Promise<SegmentView | undefined> {
    if (ref.state === 'sealed') return withSealed(ref, this.#native, viewOfSealed);
    const contents = await this.#readOpen(ref);
    return contents && viewOfContents(contents);
  }

  #remember(key: string, contents: SegmentContents): void {
    this.#sealed.set(key, contents);
    this.#sealedSamples += sampleCount(contents);
    for (const [oldest, old] of this.#sealed) {
      if (this.#sealedSamples <= MAX_CACHED_SAMPLES || oldest === key) break;
      this.#sealed.delete(oldest);
      this.#sealedSamples -= sampleCount(old);
    }
  }

  async #readOpen(ref: SegmentRef): Promise<SegmentContents | undefined> {
    const opening = this.#open.get(ref.id) ?? openReader(ref.path, this.#native);
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
    this.#sealedSamples = 0;
  }
}

function sampleCount({ tracks }: SegmentContents): number {
  return tracks.reduce((sum, { samples }) => sum + samples.count, 0);
}

async function openReader(path: string, native: Native): Promise<OpenSegmentReader | undefined> {
  const file = await openIfThere(path);
  return file === undefined ? undefined : OpenSegmentReader.open(file, path, native);
}

async function withSealed<T>(
  ref: SegmentRef,
  native: Native,
  read: (file: FileHandle, trailer: Trailer, native: Native) => Promise<T>,
): Promise<T | undefined> {
  const file = await openIfThere(ref.path);
  if (file === undefined) return undefined;
  try {
    const trailer = await readTrailer(file, native);
    if (trailer === undefined) {
      throw new FootageError('E_DAMAGED', `Segment ${ref.path} has lost its trailer: run "footage verify".`);
    }
    return await read(file, trailer, native);
  } finally {
    await file.close();
  }
}
