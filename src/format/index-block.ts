/**
 * Sub-blocks of the pseudo-header `.idx` beside an open segment: a copy of the head, then blocks, each the records of
 * one stretch of the file without the frames' payloads (docs/format.md, "Pseudo-header").
 *
 * A block is valid if and only if its magic and its CRC (seeded like every header of the segment) hold, it begins where
 * its forerunner ended, and its records fill both it and its stretch. Readers take blocks up to the first invalid one.
 */
import { type Crc32c, getInt64, setInt64, viewOf } from './bytes.ts';
import { DELIMITER_BYTES, keptPayloadBytes, RecordType } from './delimiter.ts';

export const INDEX_BLOCK_HEADER_BYTES = 32;
const INDEX_MAGIC = 0xf5464958;

export interface IndexBlock {
  /** The stretch [from, to) of the segment's file that the block describes. */
  readonly from: number;
  readonly to: number;
  /** Records as a scan returns them: delimiter, then the kept payload. */
  readonly records: Uint8Array;
}

export function encodeIndexBlock(block: IndexBlock, seed: number, crc32c: Crc32c): Uint8Array {
  const bytes = new Uint8Array(INDEX_BLOCK_HEADER_BYTES + block.records.byteLength);
  const view = viewOf(bytes);
  view.setUint32(0, INDEX_MAGIC);
  view.setUint32(4, block.records.byteLength);
  setInt64(view, 8, block.from);
  setInt64(view, 16, block.to);
  bytes.set(block.records, INDEX_BLOCK_HEADER_BYTES);
  view.setUint32(28, blockCrc(bytes, seed, crc32c));
  return bytes;
}

function blockCrc(bytes: Uint8Array, seed: number, crc32c: Crc32c): number {
  return crc32c(bytes.subarray(INDEX_BLOCK_HEADER_BYTES), crc32c(bytes.subarray(0, 28), seed));
}

/** The valid blocks in `bytes` (which begin at a block), the first of which must begin at `from` in the segment. */
export function readIndexBlocks(
  bytes: Uint8Array,
  from: number,
  seed: number,
  crc32c: Crc32c,
): { blocks: IndexBlock[]; lengthBytes: number; to: number } {
  const view = viewOf(bytes);
  const blocks: IndexBlock[] = [];
  let at = 0;
  let to = from;
  while (at + INDEX_BLOCK_HEADER_BYTES <= bytes.byteLength && view.getUint32(at) === INDEX_MAGIC) {
    const end = at + INDEX_BLOCK_HEADER_BYTES + view.getUint32(at + 4);
    if (end > bytes.byteLength || getInt64(view, at + 8) !== to) break;
    const block = bytes.subarray(at, end);
    if (view.getUint32(at + 28) !== blockCrc(block, seed, crc32c)) break;
    const found = { from: to, to: getInt64(view, at + 16), records: block.subarray(INDEX_BLOCK_HEADER_BYTES) };
    if (!isFilled(found)) break;
    blocks.push(found);
    to = found.to;
    at = end;
  }
  return { blocks, lengthBytes: at, to };
}

/** Whether the records of a block end where it ends, and their payloads where its stretch ends. */
function isFilled({ from, to, records }: IndexBlock): boolean {
  const view = viewOf(records);
  const end = records.byteLength;
  let position = from;
  let at = 0;
  while (at + DELIMITER_BYTES <= end) {
    const isGroup = view.getUint8(at + 4) === RecordType.group;
    if (isGroup && at + DELIMITER_BYTES + 4 > end) return false;
    const kept = keptPayloadBytes(view, at);
    if (kept > view.getUint32(at + 8)) return false;
    position += DELIMITER_BYTES + view.getUint32(at + 8);
    at += DELIMITER_BYTES + kept;
  }
  return at === end && position === to;
}

/** File offsets of a block's records: each begins where the payload of the one before ends. */
export function recordOffsets(block: IndexBlock): Float64Array {
  const view = viewOf(block.records);
  const offsets: number[] = [];
  let position = block.from;
  for (let at = 0; at + DELIMITER_BYTES <= block.records.byteLength;) {
    offsets.push(position);
    position += DELIMITER_BYTES + view.getUint32(at + 8);
    at += DELIMITER_BYTES + keptPayloadBytes(view, at);
  }
  return Float64Array.from(offsets);
}
