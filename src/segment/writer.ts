/**
 * One open segment being written: append, flush, seal. Owned by one recorder; all calls come from the loop thread.
 *
 * Invariants: records are written in order, one write at a time; a sub-block of the pseudo-header is written only after
 * the sync that covers its frames returned; a flush is acknowledged only after the directories that lead to the new
 * files are durable.
 */
import { dirname, join } from 'node:path';
import { FootageError, ioError } from '../errors.ts';
import { viewOf } from '../format/bytes.ts';
import { DELIMITER_BYTES, keptPayloadBytes } from '../format/delimiter.ts';
import { encodeIndexBlock } from '../format/index-block.ts';
import {
  type Anchor,
  encodeAnchor,
  encodeConfiguration,
  encodeEnd,
  encodeHead,
  type Head,
  seedOf,
  type TrackEnd,
} from '../format/records.ts';
import type { Trailer } from '../format/trailer.ts';
import type { Track } from '../media.ts';
import { concatBytes } from '../mp4/box.ts';
import { type Disk, type DiskFile, isThere, makeSegmentFolder, removeFile, type SegmentIo, writeAll } from './disk.ts';
import type { GroupFlusher } from './flusher.ts';
import { DATA_START, indexPathOf, OPEN_PREFIX, segmentPath } from './layout.ts';
import { OpenSegmentReader } from './reader.ts';
import { sealSegment } from './seal.ts';

export interface SegmentWriterOptions extends SegmentIo {
  /** Folder of the camera. */
  readonly directory: string;
  /** Wall time of the first sample; names the file. */
  readonly startUtcMs: number;
  readonly head: Head;
  readonly tracks: readonly Track[];
  /** Anchors of further tracks that hold from the beginning on. */
  readonly anchors: readonly Anchor[];
  /** How often a sub-block is written, ms. */
  readonly indexIntervalMs: number;
  readonly flusher: GroupFlusher;
}

/** Called when the record that it came with is written, that is: appended. */
type Appended = () => void;

interface Pending {
  readonly buffers: readonly Uint8Array[];
  readonly bytes: number;
  readonly appended: Appended | undefined;
}

/** More is written at once, however many others write. */
const GATHERED_BYTES = 2 ** 20;

export class SegmentWriter {
  readonly id: string;
  readonly path: string;
  readonly seed: number;
  readonly #options: SegmentWriterOptions;
  readonly #file: DiskFile;
  readonly #index: DiskFile;
  /** Settled once the new files' directory entries are durable. */
  readonly #entries: Promise<void>;
  /** End of the last whole record in the file. */
  #position = 0;
  #durableTo = 0;
  #closing: Promise<void> | undefined;
  #pending: Pending[] = [];
  #pendingBytes = 0;
  #writing: Promise<void> | undefined;
  /** The first failed write: nothing is written behind it, and every later wait reports it. */
  #failure: unknown;
  /** The first sync that failed: one that comes after it may succeed, and says nothing about what this one covered. */
  #syncFailure: unknown;
  /** Records written but not yet in the pseudo-header, and where they begin and end. */
  #unindexed: Uint8Array[] = [];
  #indexedTo = DATA_START;
  readonly #flushes = new Set<Promise<void>>();
  /** Records that went into sub-blocks so far. */
  #indexedRecords = 0;
  #indexPosition: number;
  #indexedAtMs = performance.now();

  private constructor(
    options: SegmentWriterOptions,
    path: string,
    files: readonly [DiskFile, DiskFile],
    headBytes: Uint8Array,
    syncEntries: () => Promise<void>,
  ) {
    this.#options = options;
    this.id = options.head.segment;
    this.path = path;
    this.seed = seedOf(options.head.segment, options.native.crc32c);
    [this.#file, this.#index] = files;
    this.#indexPosition = headBytes.byteLength;
    this.#entries = syncEntries();
    // Whoever flushes meets the failure; until then it is not unhandled.
    this.#entries.catch(() => undefined);
  }

  /** Creates both files and writes the head, the configurations and the anchors. */
  static async create(options: SegmentWriterOptions): Promise<SegmentWriter> {
    const { disk, native, head } = options;
    const path = join(options.directory, segmentPath(options.startUtcMs, head.segment));
    const syncEntries = await makeSegmentFolder(disk, options.directory, dirname(path));
    const file = await createFile(disk, path);
    const index = await createFile(disk, indexPathOf(path)).catch(async (error: unknown) => {
      await file.close();
      await removeFile(disk, path);
      throw error;
    });
    const headBytes = encodeHead(head, native.crc32c);
    const writer = new SegmentWriter(options, path, [file, index], headBytes, syncEntries);
    try {
      await writer.#begin(headBytes);
    } catch (error) {
      // Nothing is recorded in it yet: a full disk must not fill with beginnings.
      await writer.close();
      await removeSegment(disk, path);
      throw error;
    }
    return writer;
  }

  async #begin(headBytes: Uint8Array): Promise<void> {
    const { native, tracks, anchors } = this.#options;
    await writeAll(this.#index, [headBytes], 0);
    await writeAll(this.#file, [OPEN_PREFIX], 0);
    this.#position = OPEN_PREFIX.byteLength;
    this.#push([headBytes], undefined);
    tracks.forEach((track, i) => {
      this.#push([encodeConfiguration(i, track, this.seed, native.crc32c)], undefined);
    });
    for (const anchor of anchors) this.#push([encodeAnchor(anchor, this.seed, native.crc32c)], undefined);
    await this.written();
  }

  /** Bytes of the file, those waiting to be written included. */
  get bytes(): number {
    return this.#position + this.#pendingBytes;
  }

  /** End of the bytes that a sync which has returned covers. */
  get durableTo(): number {
    return this.#durableTo;
  }

  /** Bytes handed over but not yet written. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /**
   * Queues one record (delimiter first) and begins to write. `appended` is called when it is in the file: visible to
   * every reader, and safe from a crash of this process.
   */
  append(buffers: readonly Uint8Array[], appended?: Appended): void {
    this.#push(buffers, appended);
  }

  #push(buffers: readonly Uint8Array[], appended: Appended | undefined): void {
    const bytes = buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
    this.#pending.push({ buffers, bytes, appended });
    this.#pendingBytes += bytes;
    if (this.#failure !== undefined) return;
    this.#writing ??= this.#write();
  }

  /** Resolves when everything queued so far is in the file; rejects when a write failed. */
  async written(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Nothing is waited for between the last look at what is pending and the end: what is pushed then begins another. */
  async #write(): Promise<void> {
    try {
      while (this.#pending.length > 0) {
        if (this.#pendingBytes < GATHERED_BYTES) await this.#options.flusher.gather();
        await this.#writeBatch();
      }
    } catch (error) {
      this.#failure = error;
    }
    this.#writing = undefined;
  }

  async #writeBatch(): Promise<void> {
    const batch = this.#pending;
    this.#pending = [];
    let taken = 0;
    // A write that fails half-way has written some records whole: they are appended all the same.
    await writeAll(
      this.#file,
      batch.flatMap(({ buffers }) => buffers),
      this.#position,
      (end) => {
        for (let next = batch[taken]; next !== undefined && this.#position + next.bytes <= end; next = batch[taken]) {
          this.#taken(next);
          taken++;
        }
      },
    );
  }

  /** The record is in the file, whole. */
  #taken({ buffers, bytes, appended }: Pending): void {
    this.#position += bytes;
    this.#pendingBytes -= bytes;
    this.#unindexed.push(keptPart(buffers));
    appended?.();
  }

  /** Makes durable what has been written; then, when it is time, writes a sub-block of what is durable now. */
  flush(): Promise<void> {
    const flushing = this.#flush().finally(() => this.#flushes.delete(flushing));
    this.#flushes.add(flushing);
    return flushing;
  }

  async #flush(): Promise<void> {
    const covered = { to: this.#position, records: this.#indexedRecords + this.#unindexed.length };
    await this.#sync();
    this.#durableTo = Math.max(this.#durableTo, covered.to);
    if (this.#failure !== undefined) throw this.#failure;
    if (performance.now() - this.#indexedAtMs < this.#options.indexIntervalMs) return;
    await this.#checkPath();
    await this.#writeIndex(covered);
  }

  /** A file that was removed takes writes and syncs as before: without a look at its name the loss would not be seen. */
  async #checkPath(): Promise<void> {
    if (await isThere(this.#options.disk, this.path)) return;
    throw new FootageError(
      'E_IO',
      `The segment ${this.path} was removed or renamed while it was being recorded: leave the archive's folders alone.`,
    );
  }

  /** Both are waited for even when one fails: `close` must not take the descriptors from a sync that still uses them. */
  async #sync(): Promise<void> {
    const flushing = this.#options.flusher.flush([this.#file.fd, this.#index.fd]).catch((error: unknown) => {
      this.#syncFailure ??= error;
    });
    const [entries] = await Promise.allSettled([this.#entries, flushing]);
    if (this.#syncFailure !== undefined) throw this.#syncFailure;
    if (entries.status === 'rejected') throw entries.reason;
  }

  /** `covered.records` counts from the beginning: flushes may overlap, and another may have written a block since. */
  async #writeIndex(covered: { to: number; records: number }): Promise<void> {
    const count = covered.records - this.#indexedRecords;
    if (count <= 0) return;
    const records = concatBytes(this.#unindexed.slice(0, count));
    const block = encodeIndexBlock(
      { from: this.#indexedTo, to: covered.to, records },
      this.seed,
      this.#options.native.crc32c,
    );
    this.#unindexed = this.#unindexed.slice(count);
    this.#indexedRecords += count;
    this.#indexedTo = covered.to;
    this.#indexedAtMs = performance.now();
    const position = this.#indexPosition;
    this.#indexPosition += block.byteLength;
    await writeAll(this.#index, [block], position);
  }

  /** Appends the end record and seals the segment; the pseudo-header stays until `discardIndex`. */
  async seal(ends: readonly TrackEnd[]): Promise<Trailer> {
    const { disk, native } = this.#options;
    this.#push([encodeEnd(ends, this.seed, native.crc32c)], undefined);
    await this.written();
    const dataEnd = this.#position;
    await this.#sync();
    const reader = await OpenSegmentReader.open(this.#file, this.path, { disk, native });
    if (reader === undefined) throw ioError(new Error('the head does not read back'), 'sealing a segment');
    await reader.refresh();
    const trailer = await sealSegment(this.#file, reader.contents(false), {
      dataEnd,
      recovered: false,
      repairGeneration: 0,
      flush: () => this.#sync(),
      native,
    });
    await this.#checkPath();
    return trailer;
  }

  /** Removes the pseudo-header of a sealed segment. */
  async discardIndex(): Promise<void> {
    await removeFile(this.#options.disk, indexPathOf(this.path));
  }

  /** Closes both files. The segment stays as it is: sealed, or open and recoverable. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.written().catch(() => undefined);
    // A flush may still be about to write its sub-block.
    await Promise.allSettled(this.#flushes);
    await Promise.all([this.#file.close(), this.#index.close()]);
  }
}

/** Removes both files: for footage that must not be, such as the beginning of an import that failed. */
export async function removeSegment(disk: Disk, path: string): Promise<void> {
  await removeFile(disk, path);
  await removeFile(disk, indexPathOf(path));
}

async function createFile(disk: Disk, path: string): Promise<DiskFile> {
  return disk.open(path, 'wx+').catch((error: unknown) => {
    throw ioError(error, `creating ${path}`);
  });
}

/** The part of a record that the pseudo-header keeps: the delimiter, and of some types the payload. */
function keptPart(buffers: readonly Uint8Array[]): Uint8Array {
  const [first = new Uint8Array(0)] = buffers;
  const view = viewOf(first);
  // A group's delimiter and table come in the first buffer; keptPayloadBytes reads the count behind the delimiter.
  return first.subarray(0, DELIMITER_BYTES + keptPayloadBytes(view, 0));
}
