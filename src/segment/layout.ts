/**
 * Names and fixed bytes of segment files (docs/format.md, "Files"). Pure.
 *
 * ARCHIVE/CAMERA/2026/01/31/120000.000Z-ID.mp4, UTC; beside it `….idx` while the segment is open.
 */
import { basename, join } from 'node:path';
import { FootageError } from '../errors.ts';
import { boxHeader, concatBytes, fourcc, u32, u64 } from '../mp4/box.ts';
import { FTYP } from '../mp4/movie.ts';

const MDAT_HEADER_BYTES = 16;
/** Where the 16 bytes begin that sealing overwrites: inside one 512-byte sector. */
export const MDAT_HEADER_AT = FTYP.byteLength;
/** Where the first record (the head) begins. */
export const DATA_START = MDAT_HEADER_AT + MDAT_HEADER_BYTES;

/** `ftyp`, an empty `free`, and an `mdat` to the end of the file: how every open segment begins. */
export const OPEN_PREFIX = concatBytes([FTYP, boxHeader('free', 0), u32(0), fourcc('mdat')]);

/** The `mdat` header of a sealed segment, whose data ends at `dataEnd`. */
export function sealedMdatHeader(dataEnd: number): Uint8Array {
  return concatBytes([u32(1), fourcc('mdat'), u64(dataEnd - MDAT_HEADER_AT)]);
}

/** How a sealed segment begins, up to its first record. */
export function sealedPrefix(dataEnd: number): Uint8Array {
  return concatBytes([FTYP, sealedMdatHeader(dataEnd)]);
}

const CAMERA_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const SEGMENT_NAME = /^(\d{2})(\d{2})(\d{2})\.(\d{3})Z-([0-9a-f]{32})\.mp4$/;

/** @throws FootageError E_CAMERA_NAME */
export function checkCameraName(name: string): string {
  if (CAMERA_NAME.test(name)) return name;
  throw new FootageError(
    'E_CAMERA_NAME',
    `"${name.slice(0, 80)}" is no camera name: use 1 to 64 letters, digits, dots, dashes or underscores, beginning with a letter or digit.`,
  );
}

export function isCameraName(name: string): boolean {
  return CAMERA_NAME.test(name);
}

/** Path of a segment below the camera's folder. */
export function segmentPath(startUtcMs: number, id: string): string {
  const iso = new Date(startUtcMs).toISOString();
  const [date = '', time = ''] = iso.split('T');
  return join(...date.split('-'), `${time.replaceAll(':', '')}-${id}.mp4`);
}

/** The segment's UUID if `name` is the name of a segment file. */
export function segmentIdOf(name: string): string | undefined {
  return SEGMENT_NAME.exec(name)?.[5];
}

/**
 * Whether the file at `path` may hold this segment: blocks that another, deleted segment left on the disk begin with its
 * head and end with its trailer.
 */
export function mayHold(path: string, segment: string): boolean {
  const named = segmentIdOf(basename(path));
  return named === undefined || named === segment;
}

export function indexPathOf(segmentFile: string): string {
  return segmentFile.replace(/\.mp4$/, '.idx');
}

/** Where a repair under way notes what it replaces; its name when it is done is that of `keptPathOf`. */
export function journalPathOf(segmentFile: string): string {
  return `${segmentFile}.repairing`;
}

/** Name of the segment beside which a repair has kept a file of this name. */
export function repairedSegmentOf(name: string): string | undefined {
  return /^(.*\.mp4)\.before-repair-\d+$/.exec(name)?.[1];
}

/** Where the bytes are kept that the repair number `repair` of a segment replaced. */
export function keptPathOf(segmentFile: string, repair: number): string {
  return `${segmentFile}.before-repair-${repair}`;
}
