/**
 * The delimiter: 32 bytes before every record inside `mdat` (docs/format.md, "Delimiter").
 *
 * The header CRC is seeded with the CRC32C of the segment's UUID, so that neither payload bytes nor stale blocks of
 * another segment pass for a record.
 */
import { type Crc32c, getInt64, setInt64, viewOf } from './bytes.ts';

export const DELIMITER_BYTES = 32;
export const MAGIC = 0xf546544d;

/** Record types; a reader hops over those it does not know. */
export const RecordType = {
  head: 1,
  configuration: 2,
  anchor: 3,
  frame: 4,
  group: 5,
  void: 6,
  end: 7,
  cameraClock: 8,
} as const;

/** Bits of the delimiter's flags. */
export const RecordFlag = {
  /** frame: decoding can begin here. */
  sync: 1,
  /** frame, group: the DTS given by the source did not increase and was corrected. */
  corrected: 2,
  /** anchor: samples at and after its DTS come behind a hole. */
  discontinuity: 4,
} as const;

export interface Delimiter {
  readonly type: number;
  readonly flags: number;
  readonly track: number;
  readonly configuration: number;
  /** Bytes of payload behind the delimiter. */
  readonly length: number;
  /** Ticks; frames only. */
  readonly compositionOffset: number;
  /** Ticks: of a frame, of a group's first frame, of an anchor, of a camera clock. */
  readonly dts: number;
  readonly payloadCrc: number;
}

export function writeDelimiter(into: Uint8Array, at: number, fields: Delimiter, seed: number, crc32c: Crc32c): void {
  const view = viewOf(into);
  view.setUint32(at, MAGIC);
  view.setUint8(at + 4, fields.type);
  view.setUint8(at + 5, fields.flags);
  view.setUint8(at + 6, fields.track);
  view.setUint8(at + 7, fields.configuration);
  view.setUint32(at + 8, fields.length);
  view.setInt32(at + 12, fields.compositionOffset);
  setInt64(view, at + 16, fields.dts);
  view.setUint32(at + 24, fields.payloadCrc);
  view.setUint32(at + 28, crc32c(into.subarray(at, at + 28), seed));
}

/** Reads the fields at `at`; the caller knows them to be valid (a scan or a CRC said so) or checks `isDelimiter`. */
export function readDelimiter(view: DataView, at: number): Delimiter {
  return {
    type: view.getUint8(at + 4),
    flags: view.getUint8(at + 5),
    track: view.getUint8(at + 6),
    configuration: view.getUint8(at + 7),
    length: view.getUint32(at + 8),
    compositionOffset: view.getInt32(at + 12),
    dts: getInt64(view, at + 16),
    payloadCrc: view.getUint32(at + 24),
  };
}

/** Whether 32 valid delimiter bytes stand at `at`: magic and header CRC hold. */
export function isDelimiter(bytes: Uint8Array, at: number, seed: number, crc32c: Crc32c): boolean {
  if (at + DELIMITER_BYTES > bytes.byteLength) return false;
  const view = viewOf(bytes);
  return view.getUint32(at) === MAGIC && view.getUint32(at + 28) === crc32c(bytes.subarray(at, at + 28), seed);
}

/** A whole record: delimiter and payload in one buffer. */
export function encodeRecord(
  fields: Omit<Delimiter, 'length' | 'payloadCrc'>,
  payload: Uint8Array,
  seed: number,
  crc32c: Crc32c,
): Uint8Array {
  const record = new Uint8Array(DELIMITER_BYTES + payload.byteLength);
  record.set(payload, DELIMITER_BYTES);
  const complete = { ...fields, length: payload.byteLength, payloadCrc: crc32c(payload) };
  writeDelimiter(record, 0, complete, seed, crc32c);
  return record;
}

/**
 * Bytes of a record's payload that an index keeps (and that a scan returns): a group's table, nothing of frames, voids,
 * camera clocks (which nobody needs to find a sample) and unknown types, all of the others. `count` is the group's frame count, read from `view` behind the delimiter.
 */
export function keptPayloadBytes(view: DataView, at: number): number {
  switch (view.getUint8(at + 4)) {
    case RecordType.head:
    case RecordType.configuration:
    case RecordType.anchor:
    case RecordType.end:
      return view.getUint32(at + 8);
    case RecordType.group:
      return 4 + 8 * view.getUint32(at + DELIMITER_BYTES);
    default:
      return 0;
  }
}
