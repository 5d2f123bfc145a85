/** Holds the pseudo-header of an open segment against its records. Changes nothing. */
import { readIndexBlocks } from '../format/index-block.ts';
import { type Head, readHead, seedOf } from '../format/records.ts';
import { concatBytes } from '../mp4/box.ts';
import { type DiskFile, readIfThere, type SegmentIo } from './disk.ts';
import type { Problem } from './examine.ts';
import { DATA_START, indexPathOf } from './layout.ts';

export interface IndexCheck {
  /** The copy of the head, if it holds. */
  readonly head: Head | undefined;
  /** Blocks that hold. */
  readonly blocks: number;
  readonly bytes: number;
  /** The records up to here are described. */
  readonly to: number;
  /** Positions are bytes of the pseudo-header. */
  readonly problem: Problem | undefined;
}

const MAX_RECORDS = 2 ** 31 - 1;

/** Undefined where there is none: it may be missing. `head` is that of the segment's file, if it holds. */
export async function checkIndex(
  file: DiskFile,
  path: string,
  head: Head | undefined,
  { disk, native }: SegmentIo,
): Promise<IndexCheck | undefined> {
  const bytes = await readIfThere(disk, indexPathOf(path));
  if (bytes === undefined) return undefined;
  const size = bytes.byteLength;
  const copy = readHead(bytes, native.crc32c);
  const nothing = { head: copy?.head, blocks: 0, bytes: size, to: DATA_START };
  if (copy === undefined || (head !== undefined && copy.head.segment !== head.segment))
    return { ...nothing, problem: broken(0, size, 'the pseudo-header does not begin with the head of its segment') };
  const seed = seedOf(copy.head.segment, native.crc32c);
  const { blocks, lengthBytes, to } = readIndexBlocks(
    bytes.subarray(copy.lengthBytes),
    DATA_START,
    seed,
    native.crc32c,
  );
  const { size: length } = await file.stat();
  const known = { ...nothing, blocks: blocks.length, to };
  if (to > length) return { ...known, problem: broken(0, size, 'the pseudo-header describes more than there is') };
  const scanned = await native.scan({
    ...{ fd: file.fd, from: DATA_START, to, seed, verify: false, resync: false, limit: MAX_RECORDS },
  });
  const described = concatBytes(blocks.map(({ records }) => records));
  if (scanned.stop === 'end' && Buffer.compare(described, scanned.records) !== 0)
    return { ...known, problem: broken(copy.lengthBytes, size, 'the pseudo-header describes other records') };
  const torn = copy.lengthBytes + lengthBytes;
  return {
    ...known,
    problem: wholeBlockAt(bytes, torn) ? broken(torn, size, 'a block of the pseudo-header is damaged') : undefined,
  };
}

function broken(from: number, to: number, message: string): Problem {
  return { code: 'index-damaged', from, to, message };
}

/** Whether more than the torn beginning of a block is there: the last one may be unfinished. */
function wholeBlockAt(bytes: Uint8Array, at: number): boolean {
  if (bytes.byteLength - at < 32) return false;
  const length = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(4);
  return at + 32 + length <= bytes.byteLength;
}
