/**
 * The trailer: a `uuid` box of fixed size at the end of a sealed segment (docs/format.md, "Trailer"). It holds a copy of
 * the head, the counters of each track, and offset, length, count and CRC32C of each table, so that a catalog is
 * rebuilt from trailers alone, and a header is made out of existing ones.
 *
 * Valid if and only if: box header and user type are ours, and the CRC over all but its last four bytes holds.
 */
import { type Crc32c, getInt64, setInt64, viewOf } from './bytes.ts';
import { encodeHead, type Head, readHead } from './records.ts';

export const TRAILER_BYTES = 4096;
/** User type of the `uuid` box (ISO/IEC 14496-12 11.1). */
const USER_TYPE = Uint8Array.from([
  0x7f, 0x1c, 0x3a, 0x52, 0x0b, 0x5d, 0x4e, 0x0c, 0x9a, 0x6f, 0x46, 0x6f, 0x6f, 0x74, 0x61, 0x67,
]);
const TRAILER_VERSION = 1;
const BOX_TYPE = 0x75756964; // 'uuid'
const HEAD_AT = 128;
const TRACKS_AT = 384;
const TRACK_BYTES = 256;
const TABLES_AT = 80;
const TABLE_BYTES = 20;

const SegmentFlag = { recovered: 1, discontinuous: 2 } as const;
const TrackFlag = { estimated: 1, firstSync: 2, negativeOffsets: 4 } as const;

/** Tables of a track in the sealed `moov`, in the order of the trailer. Positions are those of the entries alone. */
export const TABLE_NAMES = ['stsd', 'stts', 'ctts', 'stss', 'stsz', 'stsc', 'co64'] as const;
export type TableName = (typeof TABLE_NAMES)[number];

/** Where a table lies in its file. */
export interface TablePosition {
  readonly offset: number;
  readonly length: number;
  /** Entries. */
  readonly count: number;
  readonly crc: number;
}

export const NO_TABLE: TablePosition = { offset: 0, length: 0, count: 0, crc: 0 };

/** Counters of one track of a sealed segment: what a plan needs to know without opening a table. */
export interface TrackCounters {
  /** DTS of the first sample and end of the last one, ticks; both undefined for a track without samples. */
  readonly firstDts: number | undefined;
  readonly endDts: number | undefined;
  readonly estimated: boolean;
  readonly samples: number;
  readonly syncSamples: number;
  readonly payloadBytes: number;
  /** Payload of the sync samples. */
  readonly syncBytes: number;
  /** Earliest presentation time and latest presentation end, ticks. */
  readonly firstPts: number;
  readonly endPts: number;
  /** Samples whose own length ends elsewhere than where the next begins. */
  readonly breaks: number;
  /**
   * Ticks from each sample to the next (`stts`) if that is the same for all, else 0; the own length of a sample that
   * has no neighbour.
   */
  readonly frameTicks: number;
  /** Own length of the last sample, ticks; 0 without samples. */
  readonly lastTicks: number;
  /** The first sample is a sync sample. */
  readonly firstSync: boolean;
  /** A composition offset is negative: the `ctts` has version 1. */
  readonly negativeOffsets: boolean;
}

export interface TrackSummary extends TrackCounters {
  readonly tables: Readonly<Record<TableName, TablePosition>>;
}

export interface Trailer {
  readonly head: Head;
  /** Incremented whenever a repair changes what the segment presents. */
  readonly repairGeneration: number;
  /** Sealed by recovery, not by its recorder. */
  readonly recovered: boolean;
  /** A track has a break, or samples come behind a hole: neither need what follows in a table follow in time. */
  readonly discontinuous: boolean;
  readonly moov: { readonly offset: number; readonly length: number; readonly crc: number };
  /** The stretch of the file that holds all samples: from the first byte of the first to the end of the last. */
  readonly payload: { readonly offset: number; readonly end: number };
  /** Wall time of the first presented instant and of the presentation's end, Unix milliseconds. */
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  /** Body of the segment-index box inside `moov`: anchors, and breaks in tracks. */
  readonly index: TablePosition;
  readonly tracks: readonly TrackSummary[];
}

export function encodeTrailer(trailer: Trailer, crc32c: Crc32c): Uint8Array {
  const bytes = new Uint8Array(TRAILER_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, TRAILER_BYTES);
  view.setUint32(4, BOX_TYPE);
  bytes.set(USER_TYPE, 8);
  view.setUint16(24, TRAILER_VERSION);
  view.setUint8(26, trailer.tracks.length);
  view.setUint8(27, segmentFlags(trailer));
  view.setUint32(28, trailer.repairGeneration);
  setInt64(view, 32, trailer.moov.offset);
  setInt64(view, 40, trailer.moov.length);
  view.setUint32(48, trailer.moov.crc);
  setInt64(view, 56, Math.round(trailer.startUtcMs * 1000));
  setInt64(view, 64, Math.round(trailer.endUtcMs * 1000));
  writeTable(view, 80, trailer.index);
  setInt64(view, 104, trailer.payload.offset);
  setInt64(view, 112, trailer.payload.end);
  bytes.set(encodeHead(trailer.head, crc32c), HEAD_AT);
  trailer.tracks.forEach((track, i) => writeTrack(view, TRACKS_AT + TRACK_BYTES * i, track));
  view.setUint32(TRAILER_BYTES - 4, crc32c(bytes.subarray(0, TRAILER_BYTES - 4)));
  return bytes;
}

function segmentFlags({ recovered, discontinuous }: Trailer): number {
  return (recovered ? SegmentFlag.recovered : 0) | (discontinuous ? SegmentFlag.discontinuous : 0);
}

function trackFlags({ estimated, firstSync, negativeOffsets }: TrackSummary): number {
  const negative = negativeOffsets ? TrackFlag.negativeOffsets : 0;
  return (estimated ? TrackFlag.estimated : 0) | (firstSync ? TrackFlag.firstSync : 0) | negative;
}

function writeTable(view: DataView, at: number, table: TablePosition): void {
  setInt64(view, at, table.offset);
  view.setUint32(at + 8, table.length);
  view.setUint32(at + 12, table.count);
  view.setUint32(at + 16, table.crc);
}

function readTable(view: DataView, at: number): TablePosition {
  return {
    offset: getInt64(view, at),
    length: view.getUint32(at + 8),
    count: view.getUint32(at + 12),
    crc: view.getUint32(at + 16),
  };
}

function writeTrack(view: DataView, at: number, track: TrackSummary): void {
  setInt64(view, at, track.firstDts ?? 0);
  setInt64(view, at + 8, track.endDts ?? 0);
  setInt64(view, at + 16, track.firstPts);
  setInt64(view, at + 24, track.endPts);
  setInt64(view, at + 32, track.payloadBytes);
  view.setUint32(at + 40, track.samples);
  view.setUint32(at + 44, track.syncSamples);
  view.setUint32(at + 48, trackFlags(track));
  view.setUint32(at + 52, track.breaks);
  view.setUint32(at + 56, track.frameTicks);
  view.setUint32(at + 60, track.lastTicks);
  setInt64(view, at + 64, track.syncBytes);
  TABLE_NAMES.forEach((name, i) => writeTable(view, at + TABLES_AT + TABLE_BYTES * i, track.tables[name]));
}

function readTrack(view: DataView, at: number): TrackSummary {
  const samples = view.getUint32(at + 40);
  const flags = view.getUint32(at + 48);
  const table = (name: TableName) => readTable(view, at + TABLES_AT + TABLE_BYTES * TABLE_NAMES.indexOf(name));
  return {
    firstDts: samples === 0 ? undefined : getInt64(view, at),
    endDts: samples === 0 ? undefined : getInt64(view, at + 8),
    firstPts: getInt64(view, at + 16),
    endPts: getInt64(view, at + 24),
    payloadBytes: getInt64(view, at + 32),
    samples,
    syncSamples: view.getUint32(at + 44),
    syncBytes: getInt64(view, at + 64),
    breaks: view.getUint32(at + 52),
    frameTicks: view.getUint32(at + 56),
    lastTicks: view.getUint32(at + 60),
    estimated: (flags & TrackFlag.estimated) !== 0,
    firstSync: (flags & TrackFlag.firstSync) !== 0,
    negativeOffsets: (flags & TrackFlag.negativeOffsets) !== 0,
    tables: {
      stsd: table('stsd'),
      stts: table('stts'),
      ctts: table('ctts'),
      stss: table('stss'),
      stsz: table('stsz'),
      stsc: table('stsc'),
      co64: table('co64'),
    },
  };
}

/** The trailer in the last TRAILER_BYTES of a file, or undefined if it does not hold. */
export function decodeTrailer(bytes: Uint8Array, crc32c: Crc32c): Trailer | undefined {
  if (bytes.byteLength !== TRAILER_BYTES) return undefined;
  const view = viewOf(bytes);
  if (view.getUint32(0) !== TRAILER_BYTES || view.getUint32(4) !== BOX_TYPE) return undefined;
  if (!USER_TYPE.every((byte, i) => bytes[8 + i] === byte)) return undefined;
  if (view.getUint32(TRAILER_BYTES - 4) !== crc32c(bytes.subarray(0, TRAILER_BYTES - 4))) return undefined;
  const head = readHead(bytes.subarray(HEAD_AT, TRACKS_AT), crc32c)?.head;
  if (head === undefined || view.getUint16(24) !== TRAILER_VERSION) return undefined;
  if (view.getUint8(26) !== head.tracks.length) return undefined;
  const flags = view.getUint8(27);
  return {
    head,
    repairGeneration: view.getUint32(28),
    recovered: (flags & SegmentFlag.recovered) !== 0,
    discontinuous: (flags & SegmentFlag.discontinuous) !== 0,
    moov: { offset: getInt64(view, 32), length: getInt64(view, 40), crc: view.getUint32(48) },
    startUtcMs: getInt64(view, 56) / 1000,
    endUtcMs: getInt64(view, 64) / 1000,
    index: readTable(view, 80),
    payload: { offset: getInt64(view, 104), end: getInt64(view, 112) },
    tracks: head.tracks.map((_, i) => readTrack(view, TRACKS_AT + TRACK_BYTES * i)),
  };
}
