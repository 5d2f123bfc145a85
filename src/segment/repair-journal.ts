/**
 * What a repair replaces in a segment, and how long the file was before: written and durable before the first byte of
 * the segment changes, and kept beside it afterwards, so that nothing is deleted and an interrupted repair can begin anew.
 *
 * A line of JSON, `{"repair":N,"length":BYTES,"replaced":[{"at":POSITION,"bytes":"HEX"}]}`, and a line with the CRC of the
 * first one in hex, for a wrong length would cut off what was recorded. Writing the bytes back and cutting the file to the
 * length gives the file as it was.
 */
import { dirname, basename } from 'node:path';
import { ioError } from '../errors.ts';
import type { Native } from '../native-types.ts';
import {
  type Disk,
  type DiskFile,
  OPEN_OR_MAKE,
  readIfThere,
  readUpTo,
  type SegmentIo,
  syncDirectory,
  writeAll,
} from './disk.ts';
import { journalPathOf, keptPathOf } from './layout.ts';

export interface Journal {
  /** Number of the repair among those of the segment, from 1. */
  readonly repair: number;
  /** Bytes of the file before the repair. */
  readonly length: number;
  readonly replaced: readonly Replaced[];
}

export interface Replaced {
  /** Position in the file. */
  readonly at: number;
  /** What stood there, in hex. */
  readonly bytes: string;
}

/** The journal of an interrupted repair; undefined if there is none, or it is torn: then nothing was changed yet. */
export async function readJournal({ disk, native }: SegmentIo, segmentFile: string): Promise<Journal | undefined> {
  const bytes = await readIfThere(disk, journalPathOf(segmentFile));
  return bytes && parse(Buffer.from(bytes), native);
}

function parse(bytes: Buffer, native: Native): Journal | undefined {
  const end = bytes.indexOf('\n');
  const line = bytes.subarray(0, Math.max(0, end));
  if (end < 0 || bytes.subarray(end).toString('latin1') !== `\n${crcOf(line, native)}\n`) return undefined;
  return JSON.parse(line.toString('latin1')) as Journal;
}

const crcOf = (line: Uint8Array, native: Native) => native.crc32c(line).toString(16).padStart(8, '0');

/** The number of the next repair: above that of all before, of which the kept bytes lie beside the segment. */
export async function nextRepair(disk: Disk, segmentFile: string, atLeast: number): Promise<number> {
  const prefix = basename(keptPathOf(segmentFile, 0)).slice(0, -1);
  const names = await disk.readdir(dirname(segmentFile)).catch((error: unknown) => {
    throw ioError(error, `listing the folder of ${segmentFile}`);
  });
  const numbers = names.filter((name) => name.startsWith(prefix)).map((name) => Number(name.slice(prefix.length)));
  return 1 + Math.max(atLeast, ...numbers.filter(Number.isSafeInteger));
}

/** Writes it durably, in one step: there is the old one, or the new one. */
export async function writeJournal({ disk, native }: SegmentIo, segmentFile: string, journal: Journal): Promise<void> {
  const path = journalPathOf(segmentFile);
  const draft = `${path}.new`;
  const line = Buffer.from(JSON.stringify(journal));
  const file = await disk.open(draft, OPEN_OR_MAKE).catch((error: unknown) => {
    throw ioError(error, `writing ${draft}`);
  });
  try {
    await file.truncate(0);
    await writeAll(file, [line, Buffer.from(`\n${crcOf(line, native)}\n`)], 0);
    await file.sync();
  } catch (error) {
    throw ioError(error, `writing ${draft}`);
  } finally {
    await file.close();
  }
  await disk.rename(draft, path);
  await syncDirectory(disk, dirname(path));
}

/** The repair is done: what it replaced is kept under its number. */
export async function keepJournal(disk: Disk, segmentFile: string, repair: number): Promise<void> {
  await disk.rename(journalPathOf(segmentFile), keptPathOf(segmentFile, repair));
  await syncDirectory(disk, dirname(segmentFile));
}

export async function replacedAt(file: DiskFile, at: number, length: number): Promise<Replaced> {
  return { at, bytes: Buffer.from(await readUpTo(file, at, length)).toString('hex') };
}
