/**
 * Payloads of the records that are not frames: head, configuration, anchor, end, camera clock (docs/format.md, "Records").
 * They carry no names and no secrets: they travel with exports.
 */
import { FootageError } from '../errors.ts';
import type { Track, TrackKind } from '../media.ts';
import { type Crc32c, getInt64, hexOfUuid, setInt64, smallBuffer, uuidOfHex, viewOf } from './bytes.ts';
import { DELIMITER_BYTES, encodeRecord, RecordFlag, RecordType } from './delimiter.ts';

export const FORMAT_VERSION = 1;
/** Required features this reader understands (a bit mask); none is defined yet. */
const KNOWN_FEATURES = 0;
export const MAX_TRACKS = 8;

const HEAD_FIXED_BYTES = 80;
const HEAD_TRACK_BYTES = 8;
const CONFIGURATION_FIXED_BYTES = 16;
const END_TRACK_BYTES = 16;

/** Maps one track's media time to wall time, at rate 1, from its DTS on (design: two clocks). */
export interface Anchor {
  readonly track: number;
  /** Media instant in ticks of the track. */
  readonly dts: number;
  /** Wall time of that instant, Unix milliseconds (stored in microseconds). */
  readonly utcMs: number;
  /** Samples from here on come behind a hole in the file. */
  readonly discontinuity: boolean;
}

/** What the camera's own clock says of a media instant: told, and never used to place anything. */
export interface CameraClock {
  readonly track: number;
  /** Media instant in ticks of the track. */
  readonly dts: number;
  /** Unix milliseconds (stored in microseconds). */
  readonly utcMs: number;
}

export interface HeadTrack {
  readonly kind: TrackKind;
  readonly timescale: number;
}

/** First record of every segment; copied into `.idx` and trailer. UUIDs as 32 hex digits. */
export interface Head {
  readonly segment: string;
  readonly camera: string;
  readonly run: string;
  /** Position of the segment in its run, from 0. */
  readonly sequence: number;
  readonly anchor: Anchor;
  readonly tracks: readonly HeadTrack[];
}

export interface TrackEnd {
  /** DTS at which the track's last sample ends, in ticks; undefined when the track has no sample. */
  readonly endDts: number | undefined;
  /** The last duration was not known but taken from the sample before. */
  readonly estimated: boolean;
}

/** Ticks beyond those of any clock. */
export const MAX_TICKS = 2 ** 52;
/** What Date can hold. */
export const MAX_UTC_MS = 8.64e15;

/** The checksums hold, but no recorder writes this. */
export function nonsense(what: string): FootageError {
  return new FootageError('E_DAMAGED', `${what} of a segment does not hold together: run "footage verify".`);
}

const utcToMicros = (utcMs: number): number => Math.round(utcMs * 1000);

/** CRC that seeds every header CRC of the segment. */
export function seedOf(segment: string, crc32c: Crc32c): number {
  return crc32c(uuidOfHex(segment));
}

export function encodeHead(head: Head, crc32c: Crc32c): Uint8Array {
  const payload = new Uint8Array(HEAD_FIXED_BYTES + HEAD_TRACK_BYTES * head.tracks.length);
  const view = viewOf(payload);
  view.setUint16(0, FORMAT_VERSION);
  view.setUint8(2, head.tracks.length);
  view.setUint8(3, head.anchor.track);
  view.setUint32(4, 0);
  payload.set(uuidOfHex(head.segment), 8);
  payload.set(uuidOfHex(head.camera), 24);
  payload.set(uuidOfHex(head.run), 40);
  view.setUint32(56, head.sequence);
  setInt64(view, 64, head.anchor.dts);
  setInt64(view, 72, utcToMicros(head.anchor.utcMs));
  head.tracks.forEach((track, i) => {
    const at = HEAD_FIXED_BYTES + HEAD_TRACK_BYTES * i;
    view.setUint8(at, track.kind === 'video' ? 1 : 2);
    view.setUint32(at + 4, track.timescale);
  });
  const fields = { type: RecordType.head, flags: 0, track: 0, configuration: 0, compositionOffset: 0, dts: 0 };
  return encodeRecord(fields, payload, seedOf(head.segment, crc32c), crc32c);
}

/** @throws FootageError E_FORMAT_VERSION for a newer format, E_DAMAGED for nonsense. */
export function decodeHead(payload: Uint8Array): Head {
  const view = viewOf(payload);
  const count = payload.byteLength >= HEAD_FIXED_BYTES ? view.getUint8(2) : 0;
  if (payload.byteLength < 8) throw nonsense('The head');
  const version = view.getUint16(0);
  const features = view.getUint32(4);
  if (version !== FORMAT_VERSION || (features & ~KNOWN_FEATURES) !== 0) {
    throw new FootageError(
      'E_FORMAT_VERSION',
      `The segment is of format version ${version}, features ${features}; this program reads version ${FORMAT_VERSION}: use a newer one.`,
    );
  }
  if (count === 0 || count > MAX_TRACKS || payload.byteLength < HEAD_FIXED_BYTES + HEAD_TRACK_BYTES * count) {
    throw nonsense('The head');
  }
  const tracks = Array.from({ length: count }, (_, i): HeadTrack => {
    const at = HEAD_FIXED_BYTES + HEAD_TRACK_BYTES * i;
    return { kind: view.getUint8(at) === 1 ? 'video' : 'audio', timescale: view.getUint32(at + 4) };
  });
  if (view.getUint8(3) >= count || tracks.some(({ timescale }) => timescale === 0)) throw nonsense('The head');
  return {
    segment: hexOfUuid(payload.subarray(8, 24)),
    camera: hexOfUuid(payload.subarray(24, 40)),
    run: hexOfUuid(payload.subarray(40, 56)),
    sequence: view.getUint32(56),
    anchor: checkedAnchor({
      track: view.getUint8(3),
      dts: getInt64(view, 64),
      utcMs: getInt64(view, 72) / 1000,
      discontinuity: false,
    }),
    tracks,
  };
}

function checkedAnchor(anchor: Anchor): Anchor {
  if (Math.abs(anchor.dts) <= MAX_TICKS && Math.abs(anchor.utcMs) <= MAX_UTC_MS) return anchor;
  throw nonsense('An anchor');
}

/** The head at the start of `bytes` (a file's data, an `.idx`, a trailer's copy), or undefined if it does not hold. */
export function readHead(bytes: Uint8Array, crc32c: Crc32c): { head: Head; lengthBytes: number } | undefined {
  if (bytes.byteLength < DELIMITER_BYTES + HEAD_FIXED_BYTES) return undefined;
  const view = viewOf(bytes);
  const lengthBytes = DELIMITER_BYTES + view.getUint32(8);
  if (view.getUint8(4) !== RecordType.head || lengthBytes > bytes.byteLength) return undefined;
  const payload = bytes.subarray(DELIMITER_BYTES, lengthBytes);
  const seed = crc32c(payload.subarray(8, 24));
  if (view.getUint32(28) !== crc32c(bytes.subarray(0, 28), seed)) return undefined;
  if (view.getUint32(24) !== crc32c(payload)) return undefined;
  return { head: decodeHead(payload), lengthBytes };
}

export function encodeConfiguration(index: number, track: Track, seed: number, crc32c: Crc32c): Uint8Array {
  const codec = new TextEncoder().encode(track.codec);
  const payload = new Uint8Array(CONFIGURATION_FIXED_BYTES + codec.byteLength + track.config.byteLength);
  const view = viewOf(payload);
  view.setUint8(0, track.kind === 'video' ? 1 : 2);
  view.setUint8(1, codec.byteLength);
  view.setUint16(2, track.width ?? 0);
  view.setUint16(4, track.height ?? 0);
  view.setUint16(6, track.channels ?? 0);
  view.setUint32(8, track.sampleRate ?? 0);
  view.setUint32(12, track.config.byteLength);
  payload.set(codec, CONFIGURATION_FIXED_BYTES);
  payload.set(track.config, CONFIGURATION_FIXED_BYTES + codec.byteLength);
  const fields = {
    type: RecordType.configuration,
    flags: 0,
    track: index,
    configuration: 0,
    compositionOffset: 0,
    dts: 0,
  };
  return encodeRecord(fields, payload, seed, crc32c);
}

/** @throws FootageError E_DAMAGED */
export function decodeConfiguration(payload: Uint8Array, timescale: number): Track {
  const view = viewOf(payload);
  if (payload.byteLength < CONFIGURATION_FIXED_BYTES) throw nonsense('A configuration');
  const codecEnd = CONFIGURATION_FIXED_BYTES + view.getUint8(1);
  if (payload.byteLength < codecEnd + view.getUint32(12)) throw nonsense('A configuration');
  const shared = {
    codec: new TextDecoder().decode(payload.subarray(CONFIGURATION_FIXED_BYTES, codecEnd)),
    timescale,
    config: payload.slice(codecEnd, codecEnd + view.getUint32(12)),
  };
  return view.getUint8(0) === 1
    ? { kind: 'video', ...shared, width: view.getUint16(2), height: view.getUint16(4) }
    : { kind: 'audio', ...shared, channels: view.getUint16(6), sampleRate: view.getUint32(8) };
}

export function encodeAnchor(anchor: Anchor, seed: number, crc32c: Crc32c): Uint8Array {
  const flags = anchor.discontinuity ? RecordFlag.discontinuity : 0;
  return encodeInstant(RecordType.anchor, flags, anchor, seed, crc32c);
}

export function encodeCameraClock(clock: CameraClock, seed: number, crc32c: Crc32c): Uint8Array {
  return encodeInstant(RecordType.cameraClock, 0, clock, seed, crc32c);
}

/** A record that says: media instant `dts` of `track` is wall time `utcMs`. */
function encodeInstant(
  type: number,
  flags: number,
  { track, dts, utcMs }: CameraClock,
  seed: number,
  crc32c: Crc32c,
): Uint8Array {
  const payload = new Uint8Array(8);
  setInt64(viewOf(payload), 0, utcToMicros(utcMs));
  return encodeRecord({ type, flags, track, configuration: 0, compositionOffset: 0, dts }, payload, seed, crc32c);
}

/** Unix ms of a camera clock; undefined if it is no time: nothing depends on it. */
export function decodeCameraClock(payload: Uint8Array): number | undefined {
  if (payload.byteLength < 8) return undefined;
  const utcMs = getInt64(viewOf(payload), 0) / 1000;
  return Math.abs(utcMs) <= MAX_UTC_MS ? utcMs : undefined;
}

/** @throws FootageError E_DAMAGED */
export function decodeAnchor(track: number, dts: number, flags: number, payload: Uint8Array): Anchor {
  if (payload.byteLength < 8) throw nonsense('An anchor');
  const utcMs = getInt64(viewOf(payload), 0) / 1000;
  return checkedAnchor({ track, dts, utcMs, discontinuity: (flags & RecordFlag.discontinuity) !== 0 });
}

export function encodeEnd(ends: readonly TrackEnd[], seed: number, crc32c: Crc32c): Uint8Array {
  const payload = new Uint8Array(END_TRACK_BYTES * ends.length);
  const view = viewOf(payload);
  ends.forEach((end, i) => {
    setInt64(view, END_TRACK_BYTES * i, end.endDts ?? 0);
    view.setUint8(END_TRACK_BYTES * i + 8, (end.estimated ? 1 : 0) | (end.endDts === undefined ? 2 : 0));
  });
  const fields = { type: RecordType.end, flags: 0, track: 0, configuration: 0, compositionOffset: 0, dts: 0 };
  return encodeRecord(fields, payload, seed, crc32c);
}

/** @throws FootageError E_DAMAGED */
export function decodeEnd(payload: Uint8Array): TrackEnd[] {
  const view = viewOf(payload);
  return Array.from({ length: Math.floor(payload.byteLength / END_TRACK_BYTES) }, (_, i) => {
    const flags = view.getUint8(END_TRACK_BYTES * i + 8);
    const endDts = (flags & 2) === 0 ? getInt64(view, END_TRACK_BYTES * i) : undefined;
    if (Math.abs(endDts ?? 0) > MAX_TICKS) throw nonsense('The end');
    return { endDts, estimated: (flags & 1) !== 0 };
  });
}

/** One frame of a group as its table gives it. */
export interface GroupEntry {
  readonly size: number;
  readonly durationTicks: number;
}

/** The table in front of a group's frames: count, then size and duration of each. */
export function encodeGroupTable(entries: readonly GroupEntry[]): Uint8Array {
  const table = smallBuffer(4 + 8 * entries.length);
  const view = viewOf(table);
  view.setUint32(0, entries.length);
  entries.forEach((entry, i) => {
    view.setUint32(4 + 8 * i, entry.size);
    view.setUint32(8 + 8 * i, entry.durationTicks);
  });
  return table;
}
