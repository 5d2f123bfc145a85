/**
 * Makes the checksums of a segment and its pseudo-header hold again, as a hostile writer would: without that no change
 * gets past the first check. Layouts are those of docs/format.md.
 */
import { native } from '../../../src/native.ts';
import type { Random } from '../random.ts';

export const MAGIC = Buffer.from('f546544d', 'hex');
export const INDEX_MAGIC = Buffer.from('f5464958', 'hex');
export const TRAILER_TYPE = Buffer.from('7f1c3a520b5d4e0c9a6f466f6f746167', 'hex');

const DATA_START = 48;
const DELIMITER_BYTES = 32;
const TRAILER_BYTES = 4096;
/** In a trailer: the copy of the head, and the table entries of the index and of each track. */
const HEAD_AT = 128;
const TABLES = [80, ...Array.from({ length: 8 * 7 }, (_, i) => 384 + 256 * Math.floor(i / 7) + 80 + 20 * (i % 7))];

const { crc32c } = native;

/** The seed of a segment's header CRCs, by the UUID in its head. */
function seedOf(bytes: Buffer, head = DATA_START): number {
  return crc32c(bytes.subarray(head + DELIMITER_BYTES + 8, head + DELIMITER_BYTES + 24));
}

/** Both CRCs of the delimiter at `at`; that of the payload only where the payload is there. */
function repairDelimiter(bytes: Buffer, at: number, seed: number): void {
  if (at + DELIMITER_BYTES > bytes.length) return;
  const payloadAt = at + DELIMITER_BYTES;
  const end = payloadAt + bytes.readUInt32BE(at + 8);
  if (end <= bytes.length) bytes.writeUInt32BE(crc32c(bytes.subarray(payloadAt, end)), at + 24);
  bytes.writeUInt32BE(crc32c(bytes.subarray(at, at + 28), seed), at + 28);
}

function repairRecords(bytes: Buffer, random: Random): void {
  const seed = seedOf(bytes);
  for (let at = bytes.indexOf(MAGIC); at >= 0; at = bytes.indexOf(MAGIC, at + 4)) {
    if (!random.oneIn(32)) repairDelimiter(bytes, at, seed);
  }
}

/** The CRCs of what a position and a length at `at` of the trailer name; `crcAt` is where the CRC stands. */
function repairTable(bytes: Buffer, trailer: Buffer, at: number, length: number, crcAt: number): void {
  const from = trailer.readUInt32BE(at) * 2 ** 32 + trailer.readUInt32BE(at + 4);
  if (length > 0 && from + length <= bytes.length) {
    trailer.writeUInt32BE(crc32c(bytes.subarray(from, from + length)), crcAt);
  }
}

function repairTrailer(bytes: Buffer): void {
  if (bytes.length < TRAILER_BYTES) return;
  const trailer = bytes.subarray(bytes.length - TRAILER_BYTES);
  if (!trailer.subarray(8, 24).equals(TRAILER_TYPE)) return;
  for (const at of TABLES) repairTable(bytes, trailer, at, trailer.readUInt32BE(at + 8), at + 16);
  repairTable(bytes, trailer, 32, trailer.readUInt32BE(44), 48);
  repairDelimiter(trailer, HEAD_AT, seedOf(trailer, HEAD_AT));
  trailer.writeUInt32BE(crc32c(trailer.subarray(0, TRAILER_BYTES - 4)), TRAILER_BYTES - 4);
}

export function repairSegment(bytes: Buffer, random: Random): void {
  repairRecords(bytes, random);
  repairTrailer(bytes);
}

/** A pseudo-header: the copy of the head, then blocks; `seed` is that of the segment. */
export function repairIndex(bytes: Buffer, seed: number): void {
  repairDelimiter(bytes, 0, seed);
  for (let at = bytes.indexOf(INDEX_MAGIC); at >= 0; at = bytes.indexOf(INDEX_MAGIC, at + 4)) {
    if (at + DELIMITER_BYTES > bytes.length) return;
    const end = at + DELIMITER_BYTES + bytes.readUInt32BE(at + 4);
    const records = bytes.subarray(at + DELIMITER_BYTES, end);
    for (let in_ = records.indexOf(MAGIC); in_ >= 0; in_ = records.indexOf(MAGIC, in_ + 4)) {
      if (in_ + DELIMITER_BYTES <= records.length) {
        records.writeUInt32BE(crc32c(records.subarray(in_, in_ + 28), seed), in_ + 28);
      }
    }
    bytes.writeUInt32BE(crc32c(records, crc32c(bytes.subarray(at, at + 28), seed)), at + 28);
  }
}

/** A segment and its pseudo-header in one input: length of the segment (4 bytes), the segment, the pseudo-header. */
export function split(input: Buffer): { readonly segment: Buffer; readonly index: Buffer } {
  const body = input.subarray(4);
  const length = input.length < 4 ? 0 : input.readUInt32BE(0);
  return { segment: body.subarray(0, length), index: body.subarray(length) };
}

const BORDERS = [0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x10_0000, 0x20_0000];
/** Fields of the trailer worth a change of their own: what is planned without looking into a table. */
const TRAILER_FIELDS = [26, 28, 32, 36, 40, 44, 56, 60, 64, 68, 80, 84, 88, 92, 104, 108, 112, 116];
const TRACK_FIELDS = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68];

function changeTrailer(segment: Buffer, random: Random): void {
  if (segment.length < TRAILER_BYTES) return;
  const track = 384 + 256 * random.below(2);
  const field = random.oneIn(2)
    ? random.pick(TRAILER_FIELDS)
    : track + (random.oneIn(2) ? random.pick(TRACK_FIELDS) : 80 + 4 * random.below(35));
  const at = segment.length - TRAILER_BYTES + field;
  const old = segment.readUInt32BE(at);
  segment.writeUInt32BE(random.oneIn(3) ? (old + random.below(65) - 32) >>> 0 : random.pick(BORDERS), at);
}

/** The last step of a mutation: most inputs get checksums that hold. */
export function finishSegment(input: Buffer, random: Random): Buffer {
  if (input.length < 4 + DATA_START + 2 * DELIMITER_BYTES) return input;
  const copy = Buffer.from(input);
  // The length is no part of the format: where it was hit, everything is the segment.
  if (copy.readUInt32BE(0) > copy.length - 4) copy.writeUInt32BE(copy.length - 4, 0);
  const { segment, index } = split(copy);
  if (random.oneIn(3)) changeTrailer(segment, random);
  if (random.oneIn(5) || segment.length < DATA_START + 2 * DELIMITER_BYTES) return copy;
  repairSegment(segment, random);
  if (index.length >= DELIMITER_BYTES) repairIndex(index, seedOf(segment));
  return copy;
}
