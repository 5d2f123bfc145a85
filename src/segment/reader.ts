/**
 * Reads a segment's tables: a sealed one from its `moov`, an open one from the pseudo-header and then a scan of the
 * tail. Reading changes nothing on disk, so any process may do it at any time.
 */
import { FootageError } from '../errors.ts';
import { viewOf } from '../format/bytes.ts';
import { DELIMITER_BYTES, readDelimiter } from '../format/delimiter.ts';
import { readIndexBlocks, recordOffsets } from '../format/index-block.ts';
import { type Head, readHead } from '../format/records.ts';
import { decodeSegmentIndex, type SegmentIndex } from '../format/segment-index.ts';
import { decodeTrailer, type Trailer, TRAILER_BYTES } from '../format/trailer.ts';
import type { Track } from '../media.ts';
import { type MovieTrack, readMovie } from '../mp4/reader.ts';
import type { SampleTable } from '../mp4/tables.ts';
import type { Native, ScanResult } from '../native-types.ts';
import { ContentsBuilder, type SegmentContents, type SegmentTrack } from './contents.ts';
import { type DiskFile, readIfThere, readUpTo, type SegmentIo } from './disk.ts';
import { isPlausible } from './plausible.ts';
import { DATA_START, indexPathOf, mayHold, MDAT_HEADER_AT, sealedMdatHeader } from './layout.ts';

/** Longest head: delimiter, fixed part and eight tracks fit easily. */
const HEAD_READ_BYTES = 512;
/** Records per scan call: bounds the memory of one batch to a few MB. */
const SCAN_BATCH = 65_536;
/** Of a scan that is held up between its batches: a few MB of the file. */
const PACED_BATCH = 64;

/** The head record of a segment file, or undefined if it holds none. */
export async function readFileHead(file: DiskFile, native: Native): Promise<Head | undefined> {
  return readHead(await readUpTo(file, DATA_START, HEAD_READ_BYTES), native.crc32c)?.head;
}

/** The trailer of a sealed segment; undefined if the file has none that holds. */
export async function readTrailer(file: DiskFile, native: Native): Promise<Trailer | undefined> {
  const { size } = await file.stat();
  if (size < DATA_START + TRAILER_BYTES) return undefined;
  const trailer = decodeTrailer(await readUpTo(file, size - TRAILER_BYTES, TRAILER_BYTES), native.crc32c);
  return trailer !== undefined && isPlausible(trailer, size) ? trailer : undefined;
}

/** Whether the 16 bytes that make the file an ordinary MP4 are in place. */
export async function hasSealedPrefix(file: DiskFile, trailer: Trailer): Promise<boolean> {
  const expected = sealedMdatHeader(trailer.moov.offset);
  return Buffer.compare(await readUpTo(file, MDAT_HEADER_AT, expected.byteLength), expected) === 0;
}

/**
 * The tables of a sealed segment, from its `moov`.
 * @throws FootageError E_DAMAGED when `moov` and trailer do not hold together.
 */
export async function readSealed(file: DiskFile, trailer: Trailer, native: Native): Promise<SegmentContents> {
  const { head } = trailer;
  const { moov, index } = await readMoov(file, trailer, native);
  const movie = readMovie(moov.subarray(8), (await file.stat()).size);
  const present = trailer.tracks.flatMap((summary, i) => (summary.samples > 0 ? [i] : []));
  const silent = present.length < trailer.tracks.length ? await configurations(file, head, native) : [];
  const tracks = trailer.tracks.map((summary, i): SegmentTrack => {
    const source = movie.tracks[present.indexOf(i)];
    if (source !== undefined) return sealedTrack(source, summary.firstDts ?? 0, index, i, summary.estimated);
    const track = silent[i];
    if (track === undefined) throw new FootageError('E_DAMAGED', `Segment ${head.segment} lacks track ${i}.`);
    return { track, samples: emptyTable(), endDts: undefined, estimated: false };
  });
  return { head, anchors: index.anchors, tracks, ended: true };
}

/**
 * The `moov` of a sealed segment as it lies in the file, and the segment index in it.
 * @throws FootageError E_DAMAGED
 */
export async function readMoov(
  file: DiskFile,
  trailer: Trailer,
  native: Native,
): Promise<{ readonly moov: Uint8Array; readonly index: SegmentIndex }> {
  const moov = await readUpTo(file, trailer.moov.offset, trailer.moov.length);
  const index = indexOf(moov, trailer, native);
  if (index === undefined) {
    throw new FootageError(
      'E_DAMAGED',
      `The index of segment ${trailer.head.segment} is damaged: run "footage verify --repair".`,
    );
  }
  return { moov, index };
}

function indexOf(moov: Uint8Array, trailer: Trailer, native: Native): SegmentIndex | undefined {
  if (moov.byteLength !== trailer.moov.length || native.crc32c(moov) !== trailer.moov.crc) return undefined;
  const at = trailer.index.offset - trailer.moov.offset;
  return decodeSegmentIndex(moov.subarray(at, at + trailer.index.length), trailer.index.crc, native.crc32c);
}

function emptyTable(): SampleTable {
  const none = new Float64Array(0);
  return {
    count: 0,
    dts: none,
    duration: none,
    offset: none,
    compositionOffset: new Int32Array(0),
    size: new Uint32Array(0),
    sync: new Uint8Array(0),
  };
}

/** Media times of the `moov` begin at 0: back to the run's timeline, and breaks to the samples' own lengths. */
function sealedTrack(
  source: MovieTrack,
  firstDts: number,
  index: SegmentIndex,
  track: number,
  estimated: boolean,
): SegmentTrack {
  const { samples } = source;
  const dts = samples.dts.map((ticks) => ticks + firstDts);
  const duration = samples.duration.slice();
  for (const item of index.breaks) if (item.track === track) duration[item.sample] = item.durationTicks;
  const last = samples.count - 1;
  const endDts = (dts[last] ?? 0) + (duration[last] ?? 0);
  return { track: source.track, samples: { ...samples, dts, duration }, endDts, estimated };
}

/** The tracks as the configuration records behind the head give them. */
export async function configurations(file: DiskFile, head: Head, native: Native): Promise<Track[]> {
  const builder = new ContentsBuilder(head, native.crc32c);
  const limit = 1 + head.tracks.length;
  const result = await scanBatch(file, builder, { from: DATA_START, verify: false, resync: false, limit }, native);
  builder.addAll(result.records, result.offsets);
  return builder.contents(false).tracks.map(({ track }) => track);
}

interface BatchOptions {
  readonly from: number;
  readonly verify: boolean;
  readonly resync: boolean;
  readonly limit: number;
  readonly to?: number;
}

async function scanBatch(
  file: DiskFile,
  builder: ContentsBuilder,
  options: BatchOptions,
  native: Native,
): Promise<ScanResult> {
  const to = options.to ?? (await file.stat()).size;
  return native.scan({ fd: file.fd, seed: builder.seed, ...options, to });
}

export interface ScanOptions {
  /** Check every payload's CRC as well. */
  readonly verify: boolean;
  /** Search on behind damage. */
  readonly resync: boolean;
  /** End of the scan; default the file's end now. */
  readonly to?: number;
  /** Called between batches, with the bytes read since: holds the scan up. */
  readonly pace?: ((bytes: number) => Promise<void>) | undefined;
}

export interface ScanReport {
  /** Where the scan stopped: the end of the last record or of the end record, or of the file with `resync`. */
  readonly next: number;
  /** Bytes [from, to) that belong to no valid record. */
  readonly damaged: readonly (readonly [number, number])[];
}

/** Scans a file's records from `from` on into `builder`, in batches, until its end, an end record, or damage. */
export async function scanInto(
  file: DiskFile,
  builder: ContentsBuilder,
  from: number,
  options: ScanOptions,
  native: Native,
): Promise<ScanReport> {
  const damaged: [number, number][] = [];
  const { pace, ...area } = options;
  const limit = pace === undefined ? SCAN_BATCH : PACED_BATCH;
  let next = from;
  while (!builder.ended) {
    const at = next;
    const batch = await scanBatch(file, builder, { ...area, from: at, limit }, native);
    next = addBatch(builder, batch, damaged);
    await pace?.(next - at);
    if (batch.stop !== 'limit') break;
  }
  return { next, damaged };
}

/**
 * Adds a batch record by record, so that each track knows which samples come behind a hole. Returns where to go on: the
 * end of the batch, or of the end record, behind which nothing is a record.
 */
function addBatch(builder: ContentsBuilder, batch: ScanResult, damaged: [number, number][]): number {
  const holes: [number, number][] = [];
  for (let i = 0; i + 1 < batch.damaged.length; i += 2) holes.push([batch.damaged[i] ?? 0, batch.damaged[i + 1] ?? 0]);
  const view = viewOf(batch.records);
  let at = 0;
  let hole = 0;
  for (const offset of batch.offsets) {
    for (; hole < holes.length && (holes[hole]?.[0] ?? 0) < offset; hole++) builder.hole();
    const length = readDelimiter(view, at).length;
    at = builder.add(view, batch.records, at, offset);
    if (!builder.ended) continue;
    damaged.push(...holes.slice(0, hole));
    return offset + DELIMITER_BYTES + length;
  }
  for (; hole < holes.length; hole++) builder.hole();
  damaged.push(...holes);
  return batch.next;
}

/** An open segment, read again and again as it grows: each refresh looks only at what is new. */
export class OpenSegmentReader {
  readonly builder: ContentsBuilder;
  readonly #file: DiskFile;
  readonly #path: string;
  readonly #io: SegmentIo;
  /** Where the next record is expected; 0 before the first refresh. */
  #position = 0;
  #turn: Promise<void> = Promise.resolve();

  private constructor(file: DiskFile, path: string, head: Head, io: SegmentIo) {
    this.#file = file;
    this.#path = path;
    this.#io = io;
    this.builder = new ContentsBuilder(head, io.native.crc32c);
  }

  /** Takes over `file`. Undefined (and `file` is closed) when it does not begin with the head of its segment. */
  static async open(file: DiskFile, path: string, io: SegmentIo): Promise<OpenSegmentReader | undefined> {
    const head = await readFileHead(file, io.native).catch(async (error: unknown) => {
      await file.close();
      throw error;
    });
    if (head !== undefined && mayHold(path, head.segment)) return new OpenSegmentReader(file, path, head, io);
    await file.close();
    return undefined;
  }

  /** End of the last record that was read: behind it lies a torn or unfinished one, or nothing. */
  get position(): number {
    return this.#position;
  }

  /** Reads what was appended since the last time. With `verify` a record counts only if its payload's CRC holds. */
  refresh(verify = false): Promise<void> {
    const turn = this.#turn.then(() => this.#refresh(verify));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #refresh(verify: boolean): Promise<void> {
    if (this.#position === 0) this.#position = await this.#readIndex();
    const { native } = this.#io;
    const scanned = await scanInto(this.#file, this.builder, this.#position, { verify, resync: false }, native);
    this.#position = scanned.next;
  }

  contents(estimate: boolean): SegmentContents {
    return this.builder.contents(estimate);
  }

  /** Takes the sub-blocks of the pseudo-header; returns where the scan of the delimiters begins. */
  async #readIndex(): Promise<number> {
    const { disk, native } = this.#io;
    const bytes = await readIfThere(disk, indexPathOf(this.#path));
    if (bytes === undefined) return DATA_START;
    const copy = readHead(bytes, native.crc32c);
    if (copy === undefined || copy.head.segment !== this.builder.head.segment) return DATA_START;
    const rest = bytes.subarray(copy.lengthBytes);
    const { blocks, to } = readIndexBlocks(rest, DATA_START, this.builder.seed, native.crc32c);
    // A block may be durable while its stretch is not only on a disk that lies; then the delimiters decide.
    if (to > (await this.#file.stat()).size) return DATA_START;
    for (const block of blocks) this.builder.addAll(block.records, recordOffsets(block));
    return to;
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.#file.close();
  }
}
