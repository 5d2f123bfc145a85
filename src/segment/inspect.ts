/**
 * The anatomy of one segment file, whatever state it is in: boxes, head, records, groups of pictures, pseudo-header,
 * tables, trailer, and what is damaged where. Needs neither catalog nor archive, and changes nothing.
 */
import { basename } from 'node:path';
import { FootageError } from '../errors.ts';
import { viewOf } from '../format/bytes.ts';
import { DELIMITER_BYTES, keptPayloadBytes, readDelimiter, RecordFlag, RecordType } from '../format/delimiter.ts';
import { decodeCameraClock, type Head, seedOf } from '../format/records.ts';
import { TABLE_NAMES, type Trailer } from '../format/trailer.ts';
import { parseBoxHeader } from '../mp4/box.ts';
import { FTYP } from '../mp4/movie.ts';
import type { Native } from '../native-types.ts';
import { type DiskFile, openIfThere, readUpTo, type SegmentIo } from './disk.ts';
import { examine, type Examination, type Problem } from './examine.ts';
import { checkIndex, type IndexCheck } from './index-check.ts';
import { DATA_START, segmentIdOf } from './layout.ts';

export interface BoxPlace {
  readonly type: string;
  readonly offset: number;
  readonly length: number;
}

export interface RecordPlace {
  readonly type: string;
  /** Of the delimiter. */
  readonly offset: number;
  /** Of delimiter and payload. */
  readonly length: number;
  readonly track: number;
  /** Ticks. */
  readonly dts: number;
  readonly sync: boolean;
  /** Samples in it. */
  readonly frames: number;
  /** Of a camera clock, if records are listed: the time that it tells, Unix ms. */
  readonly cameraUtcMs?: number;
}

interface TypeCount {
  count: number;
  bytes: number;
  frames: number;
}

/** From a sync sample of a video track to the next one. */
export interface GroupOfPictures {
  readonly track: number;
  readonly offset: number;
  readonly dts: number;
  readonly frames: number;
  readonly bytes: number;
}

export interface Anatomy {
  readonly bytes: number;
  readonly state: 'sealed' | 'open';
  readonly boxes: readonly BoxPlace[];
  readonly head: Head | null;
  readonly tracks: readonly object[];
  /** By type of record. */
  readonly records: Readonly<Record<string, TypeCount>>;
  readonly groupsOfPictures: readonly GroupOfPictures[];
  /** The pseudo-header beside the file; null if there is none. */
  readonly index: Pick<IndexCheck, 'blocks' | 'bytes' | 'to'> | null;
  readonly trailer: Omit<Trailer, 'head'> | null;
  readonly damaged: Examination['damaged'];
  readonly unexplainedBytes: number;
  readonly problems: readonly Problem[];
  /** Each record, if that was asked for. */
  readonly list?: readonly RecordPlace[];
}

/**
 * @throws FootageError E_INPUT_MISSING, E_NOT_SEGMENT for a file of somebody else, E_FORMAT_VERSION, E_IO
 */
export async function inspectSegment(path: string, io: SegmentIo, listRecords = false): Promise<Anatomy> {
  const file = await openIfThere(io.disk, path);
  if (file === undefined)
    throw new FootageError('E_INPUT_MISSING', `There is no file ${path}: name a segment (an .mp4 below a camera).`);
  try {
    return await anatomyOf(file, path, io, listRecords);
  } finally {
    await file.close();
  }
}

async function anatomyOf(file: DiskFile, path: string, io: SegmentIo, listRecords: boolean): Promise<Anatomy> {
  const examined = await examine(file, path, io);
  const { head, trailer, size, contents, damaged, unexplainedBytes, problems, wasSealed } = examined;
  if (head === undefined) await refuseForeign(file, path);
  const index = await checkIndex(file, path, head, io);
  const records = head === undefined ? [] : await recordsOf(file, head, trailer?.moov.offset ?? size, io.native);
  const { head: _, ...rest } = trailer ?? { head };
  return {
    ...{ bytes: size, state: wasSealed ? 'sealed' : 'open', boxes: await boxesOf(file, size), head: head ?? null },
    tracks: (contents?.tracks ?? []).map(({ track: { config, ...track } }) => ({
      ...track,
      configBytes: config.length,
    })),
    records: countsOf(records),
    groupsOfPictures: groupsOf(records, head),
    index: index === undefined ? null : { blocks: index.blocks, bytes: index.bytes, to: index.to },
    trailer: trailer === undefined ? null : (rest as Omit<Trailer, 'head'>),
    ...{ damaged, unexplainedBytes, problems },
    ...(listRecords ? { list: await withCameraTimes(file, records) } : {}),
  };
}

/** A segment that has lost its head is still told from a file that never was one. */
async function refuseForeign(file: DiskFile, path: string): Promise<void> {
  const begin = await readUpTo(file, 0, FTYP.byteLength);
  const named = segmentIdOf(basename(path).replace(/\.unreadable(-\d+)?$/, '')) !== undefined;
  if (named || Buffer.compare(begin, FTYP) === 0) return;
  throw new FootageError(
    'E_NOT_SEGMENT',
    `${path} is no segment of an archive: name an .mp4 below a camera's folder, or look at other files with ffprobe.`,
  );
}

async function boxesOf(file: DiskFile, size: number): Promise<BoxPlace[]> {
  const places: BoxPlace[] = [];
  for (let at = 0; at + 8 <= size;) {
    const header = headerIn(await readUpTo(file, at, 16));
    if (header === undefined) break;
    const length = header.size === 0 ? size - at : header.size;
    places.push({ type: header.type, offset: at, length });
    at += length;
  }
  return places;
}

function headerIn(bytes: Uint8Array) {
  try {
    return parseBoxHeader(bytes);
  } catch (error) {
    // Bytes that are no box end the list; what that means the problems say.
    if (error instanceof FootageError) return undefined;
    throw error;
  }
}

const TYPE_NAMES = new Map<number, string>(Object.entries(RecordType).map(([name, type]) => [type, name]));
const MAX_RECORDS = 2 ** 31 - 1;

async function recordsOf(file: DiskFile, head: Head, to: number, native: Native): Promise<RecordPlace[]> {
  const seed = seedOf(head.segment, native.crc32c);
  const area = { fd: file.fd, from: DATA_START, to, seed, verify: true, resync: true, limit: MAX_RECORDS };
  const { records, offsets } = await native.scan(area);
  const view = viewOf(records);
  const places: RecordPlace[] = [];
  let at = 0;
  for (const offset of offsets) {
    const place = placeOf(view, at, offset);
    places.push(place);
    at += DELIMITER_BYTES + keptPayloadBytes(view, at);
    if (place.type === 'end') break;
  }
  return places;
}

function placeOf(view: DataView, at: number, offset: number): RecordPlace {
  const { type, flags, track, dts, length } = readDelimiter(view, at);
  const inGroup = type === RecordType.group ? view.getUint32(at + DELIMITER_BYTES) : 0;
  return {
    ...{ type: TYPE_NAMES.get(type) ?? `type ${type}`, offset, length: DELIMITER_BYTES + length, track, dts },
    sync: (flags & RecordFlag.sync) !== 0,
    frames: type === RecordType.frame ? 1 : inGroup,
  };
}

/** A scan returns nothing of the payload of a camera clock. */
async function withCameraTimes(file: DiskFile, records: readonly RecordPlace[]): Promise<RecordPlace[]> {
  const found = [...records];
  for (const [i, record] of records.entries()) {
    if (record.type !== 'cameraClock') continue;
    const { offset, length } = record;
    const cameraUtcMs = decodeCameraClock(
      await readUpTo(file, offset + DELIMITER_BYTES, Math.min(length - DELIMITER_BYTES, 8)),
    );
    if (cameraUtcMs !== undefined) found[i] = { ...record, cameraUtcMs };
  }
  return found;
}

function countsOf(records: readonly RecordPlace[]): Record<string, TypeCount> {
  const counts: Record<string, TypeCount> = {};
  for (const { type, length, frames } of records) {
    const count = (counts[type] ??= { count: 0, bytes: 0, frames: 0 });
    count.count++;
    count.bytes += length;
    count.frames += frames;
  }
  return counts;
}

function groupsOf(records: readonly RecordPlace[], head: Head | undefined): GroupOfPictures[] {
  const groups: { -readonly [Key in keyof GroupOfPictures]: GroupOfPictures[Key] }[] = [];
  for (const { type, track, offset, dts, sync, length } of records) {
    if (type !== 'frame' || head?.tracks[track]?.kind !== 'video') continue;
    if (sync || groups.length === 0) groups.push({ track, offset, dts, frames: 0, bytes: 0 });
    const group = groups.findLast((one) => one.track === track);
    if (group === undefined) continue;
    group.frames++;
    group.bytes += length - DELIMITER_BYTES;
  }
  return groups;
}

/** Tables of a trailer that are there, by track. */
export function tablesOf({ tracks }: Pick<Trailer, 'tracks'>) {
  return tracks.map(({ tables }) =>
    TABLE_NAMES.filter((name) => tables[name].length > 0).map((name) => ({ name, ...tables[name] })),
  );
}
