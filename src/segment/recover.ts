/**
 * Recovery of a segment that was left open (docs/format.md, "Recovery"). Only the holder of the camera's writer lock
 * may call this. Nothing recorded is deleted: what cannot be understood is set aside and reported.
 */
import { FootageError, ioError, systemCode } from '../errors.ts';
import { encodeAnchor, encodeEnd, type TrackEnd } from '../format/records.ts';
import type { Trailer } from '../format/trailer.ts';
import type { Native } from '../native-types.ts';
import { clocksOf, ContentsBuilder, type SegmentContents } from './contents.ts';
import {
  BLOCK_BYTES,
  checkReadable,
  type Disk,
  type DiskFile,
  openIfThere,
  readUpTo,
  removeFile,
  type SegmentIo,
  withZeros,
  writeAll,
} from './disk.ts';
import type { GroupFlusher } from './flusher.ts';
import { DATA_START, indexPathOf, mayHold, MDAT_HEADER_AT, sealedMdatHeader } from './layout.ts';
import { OpenSegmentReader, readTrailer, scanInto, type ScanReport } from './reader.ts';
import { sealSegment } from './seal.ts';
import { setAside } from './set-aside.ts';
import { extentOf } from './summary.ts';

export type Recovery =
  /** The segment is sealed; `frames` counts those the tables refer to. */
  | {
      readonly outcome: 'sealed';
      readonly trailer: Trailer;
      readonly frames: number;
      /** Video frames behind a hole, before the next sync sample: kept in the file, in no table. */
      readonly unreferenced: number;
      /** Bytes [from, to) that no record explains; they stay in the file. */
      readonly damaged: readonly (readonly [number, number])[];
    }
  /** Nothing was recorded in it: the files are gone. */
  | { readonly outcome: 'empty' }
  /** Its bytes cannot be understood: the files were renamed, the segment to `path`. */
  | { readonly outcome: 'set-aside'; readonly path: string }
  /** It could not be recovered now (a full disk, a newer format); it stays as it is. */
  | { readonly outcome: 'failed'; readonly error: FootageError };

export interface RecoverOptions extends SegmentIo {
  /**
   * A sync of the segment has failed: bytes from here on may be in memory only, and a later sync would say nothing about
   * them. They are written again, as they read now; the checksums tell which of them are good.
   */
  readonly rewriteFrom?: number;
  readonly flusher: GroupFlusher;
}

const REWRITE_BYTES = 2 ** 20;

export async function recoverSegment(path: string, options: RecoverOptions): Promise<Recovery> {
  const opened = await options.disk.open(path, 'r+').catch((error: unknown) => {
    throw ioError(error, `opening ${path} for recovery`);
  });
  const file = withZeros(opened);
  try {
    // Not with zeros: what cannot be read must not be written over.
    if (options.rewriteFrom !== undefined) await rewrite(opened, options.rewriteFrom);
    const trailer = await readTrailer(file, options.native);
    const own = trailer !== undefined && mayHold(path, trailer.head.segment);
    if (own && (await tablesHold(file, trailer, options.native))) {
      return await finishPrefix(file, path, trailer, options);
    }
    return await rebuild(file, path, options);
  } finally {
    await file.close();
  }
}

async function rewrite(file: DiskFile, from: number): Promise<void> {
  const { size } = await file.stat();
  for (let at = from; at < size; at += REWRITE_BYTES) {
    await rewritePart(file, at, Math.min(REWRITE_BYTES, size - at));
  }
}

/** What the disk cannot read stays as it is: the scan takes it as damage. */
async function rewritePart(file: DiskFile, at: number, length: number): Promise<void> {
  try {
    await writeAll(file, [await readUpTo(file, at, length)], at);
  } catch (error) {
    if (!(error instanceof FootageError && systemCode(error.cause) === 'EIO')) throw error;
    const half = Math.ceil(length / 2 / BLOCK_BYTES) * BLOCK_BYTES;
    if (half >= length) return;
    await rewritePart(file, at, half);
    await rewritePart(file, at + half, length - half);
  }
}

/** Whether `moov` is the one that the trailer names. */
export async function tablesHold(file: DiskFile, trailer: Trailer, native: Native): Promise<boolean> {
  const moov = await readUpTo(file, trailer.moov.offset, trailer.moov.length);
  return moov.byteLength === trailer.moov.length && native.crc32c(moov) === trailer.moov.crc;
}

/** A trailer that holds: the 16 bytes are written again, whatever they are now. */
async function finishPrefix(
  file: DiskFile,
  path: string,
  trailer: Trailer,
  { disk, flusher }: RecoverOptions,
): Promise<Recovery> {
  await flusher.flush([file.fd]);
  await writeAll(file, [sealedMdatHeader(trailer.moov.offset)], MDAT_HEADER_AT);
  await flusher.flush([file.fd]);
  await removeFile(disk, indexPathOf(path));
  return { outcome: 'sealed', trailer, frames: framesNamed(trailer), unreferenced: 0, damaged: [] };
}

/** How many frames the tables refer to. */
export function framesNamed({ tracks }: Trailer): number {
  return tracks.reduce((sum, { samples }) => sum + samples, 0);
}

async function rebuild(file: DiskFile, path: string, options: RecoverOptions): Promise<Recovery> {
  const { disk, native, flusher } = options;
  const opened = await openForReading(path, options);
  if (opened === undefined) return leftover(disk, file, path, undefined);
  try {
    // The system went down with this file open: what no sub-block covers counts only if its payload is there, too.
    await opened.refresh(true);
    const { builder } = opened;
    const wasEnded = builder.ended;
    // Behind the first damage records may follow: a hole, not the end.
    const report = wasEnded
      ? { next: opened.position, damaged: [] }
      : await scanInto(file, builder, opened.position, { verify: true, resync: true }, native);
    const contents = understood(builder);
    if (contents === undefined || extentOf(contents) === undefined) {
      return await leftover(disk, file, path, builder.frames === 0 ? opened.position : undefined);
    }
    const dataEnd = builder.ended
      ? await truncateTo(file, report.next)
      : await appendEnd(file, builder, contents, report, native);
    await flusher.flush([file.fd]);
    const trailer = await sealSegment(file, withHoleAnchors(contents), {
      dataEnd,
      recovered: true,
      repairGeneration: 0,
      flush: () => flusher.flush([file.fd]),
      native,
    });
    await removeFile(disk, indexPathOf(path));
    const frames = frameCount(contents);
    return { outcome: 'sealed', trailer, frames, unreferenced: builder.unreferenced, damaged: report.damaged };
  } finally {
    await opened.close();
  }
}

/** The tables, or undefined when a configuration is lost, without which nothing can be played. */
function understood(builder: ContentsBuilder): SegmentContents | undefined {
  try {
    return builder.contents(true);
  } catch (error) {
    if (error instanceof FootageError && error.code === 'E_DAMAGED') return undefined;
    throw error;
  }
}

function frameCount({ tracks }: SegmentContents): number {
  return tracks.reduce((sum, { samples }) => sum + samples.count, 0);
}

async function openForReading(path: string, io: SegmentIo): Promise<OpenSegmentReader | undefined> {
  const file = await openIfThere(io.disk, path);
  return file === undefined ? undefined : OpenSegmentReader.open(withZeros(file), path, io);
}

/** An end record without a good trailer: everything behind it is an unfinished sealing, made again. */
async function truncateTo(file: DiskFile, dataEnd: number): Promise<number> {
  await file.truncate(dataEnd);
  return dataEnd;
}

/** The torn tail stays inside `mdat`; the anchors of holes and the end record go behind it. */
async function appendEnd(
  file: DiskFile,
  builder: ContentsBuilder,
  contents: SegmentContents,
  report: ScanReport,
  native: Native,
): Promise<number> {
  const { size } = await file.stat();
  const ends: TrackEnd[] = contents.tracks.map(({ endDts, estimated }) => ({ endDts, estimated }));
  const records = [
    ...holeAnchors(contents).map((anchor) => encodeAnchor(anchor, builder.seed, native.crc32c)),
    encodeEnd(ends, builder.seed, native.crc32c),
  ];
  const at = Math.max(size, report.next);
  await writeAll(file, records, at);
  return records.reduce((sum, record) => sum + record.byteLength, at);
}

/** A flagged anchor for each video sample that comes behind a hole. */
function holeAnchors(contents: SegmentContents) {
  const clocks = clocksOf(contents);
  return contents.tracks.flatMap(({ track, samples }, index) => {
    const anchors = [];
    for (let i = 1; track.kind === 'video' && i < samples.count; i++) {
      const dts = samples.dts[i] ?? 0;
      if ((samples.dts[i - 1] ?? 0) + (samples.duration[i - 1] ?? 0) === dts) continue;
      // As it is stored, so that the counters made with it are those that are read back.
      const utcMs = Math.round((clocks[index]?.utcMs(dts, dts) ?? 0) * 1000) / 1000;
      anchors.push({ track: index, dts, utcMs, discontinuity: true });
    }
    return anchors;
  });
}

/** The contents with an anchor for each video sample behind a hole. */
export function withHoleAnchors(contents: SegmentContents): SegmentContents {
  const known = new Set(contents.anchors.filter((anchor) => anchor.discontinuity).map((anchor) => anchor.dts));
  const added = holeAnchors(contents).filter((anchor) => !known.has(anchor.dts));
  return added.length === 0 ? contents : { ...contents, anchors: [...contents.anchors, ...added] };
}

/** Files without a presentable frame: removed when nothing but our own records is in them, else set aside. */
async function leftover(disk: Disk, file: DiskFile, path: string, understoodTo: number | undefined): Promise<Recovery> {
  const { size } = await file.stat();
  if (size <= DATA_START || size === understoodTo) {
    await checkReadable(disk, path);
    await removeFile(disk, path);
    await removeFile(disk, indexPathOf(path));
    return { outcome: 'empty' };
  }
  return { outcome: 'set-aside', path: await setAside(disk, path) };
}
