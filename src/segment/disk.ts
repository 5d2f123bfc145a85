/**
 * The disk as recorder, sealer, catalog and recovery see it: one small interface, so that a test can stand in for it and
 * build every state that a power cut could leave. On it, the operations they use: whole writes, whole reads, synced
 * directories. Errors are FootageErrors that say what was being done.
 */
import { access, constants, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { FootageError, ioError, systemCode } from '../errors.ts';
import type { Native } from '../native-types.ts';

/** An open file or directory; a `FileHandle` of Node is one. Positions and lengths in bytes. */
export interface DiskFile {
  /** What `Native.scan` and `Native.groupFlush` of the same `SegmentIo` are given. */
  readonly fd: number;
  /** May read less than asked for; 0 at the end of the file. */
  read(into: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>;
  /** May write less than it was given. */
  writev(buffers: readonly Uint8Array[], position: number): Promise<{ readonly bytesWritten: number }>;
  stat(): Promise<{ readonly size: number }>;
  truncate(length: number): Promise<void>;
  /** Makes the file durable; of a directory, its entries. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** For `Disk.open`: for reading and writing, made if it is not there, never cut short. */
export const OPEN_OR_MAKE = constants.O_RDWR | constants.O_CREAT;

/** What is asked of a file system, with the names, the meaning and the errors of `node:fs/promises`. */
export interface Disk {
  open(path: string, flags: 'r' | 'r+' | 'wx+' | typeof OPEN_OR_MAKE): Promise<DiskFile>;
  /** Returns the first directory that was made, if any. */
  mkdir(path: string, options: { readonly recursive: true }): Promise<string | undefined>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Rejects where there is nothing, or with `mode` nothing that may be used so. */
  access(path: string, mode?: number): Promise<void>;
  stat(path: string): Promise<{ isDirectory(): boolean }>;
  readdir(path: string, options?: { readonly recursive?: boolean }): Promise<string[]>;
}

/** The file systems of this machine. */
export const nodeDisk: Disk = { open, mkdir, rename, unlink, access, stat, readdir };

/** A disk, and what scans and flushes the files opened on it. */
export interface SegmentIo {
  readonly disk: Disk;
  readonly native: Native;
}

/** Below the kernel's IOV_MAX. */
const MAX_BUFFERS = 512;

/**
 * Writes all of `buffers` at `position`, however many calls that takes. `onWritten` is told after each call where the
 * bytes in the file end now: what lies before is there even if the next call fails.
 */
export async function writeAll(
  file: DiskFile,
  buffers: readonly Uint8Array[],
  position: number,
  onWritten?: (end: number) => void,
): Promise<void> {
  let at = position;
  for (let first = 0; first < buffers.length; first += MAX_BUFFERS) {
    let rest: readonly Uint8Array[] = buffers.slice(first, first + MAX_BUFFERS);
    while (rest.length > 0) {
      const { bytesWritten } = await file.writev(rest, at).catch((error: unknown) => {
        throw ioError(error, 'writing a recording');
      });
      at += bytesWritten;
      rest = behind(rest, bytesWritten);
      onWritten?.(at);
    }
  }
}

/** What is left of `buffers` after their first `count` bytes: a short write is no whole one. */
function behind(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count;
  const rest: Uint8Array[] = [];
  for (const buffer of buffers) {
    if (left < buffer.byteLength) rest.push(buffer.subarray(left));
    left = Math.max(0, left - buffer.byteLength);
  }
  return rest;
}

/** Reads [position, position + length) or less where the file ends before. */
export async function readUpTo(file: DiskFile, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done).catch((error: unknown) => {
      throw ioError(error, 'reading a segment');
    });
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

/** What a disk fails to read at once, at the most: a page. */
export const BLOCK_BYTES = 4096;
/** Of which so many are bad sectors; more is a disk that is gone, and may come back. */
const MAX_SKIPPED = 256;

/**
 * The file, with zeros where the disk cannot read it (EIO): for those who check what they read, to whom such bytes are
 * damage as any other.
 */
export function withZeros(file: DiskFile): DiskFile {
  let skipped = 0;
  return {
    fd: file.fd,
    read: (into, offset, length, position) =>
      file.read(into, offset, length, position).catch(async (error: unknown) => {
        if (systemCode(error) !== 'EIO' || ++skipped > MAX_SKIPPED) throw error;
        const { size } = await file.stat();
        const bytesRead = Math.max(0, Math.min(length, BLOCK_BYTES - (position % BLOCK_BYTES), size - position));
        into.fill(0, offset, offset + bytesRead);
        return { bytesRead };
      }),
    writev: (buffers, position) => file.writev(buffers, position),
    stat: () => file.stat(),
    truncate: (length) => file.truncate(length),
    sync: () => file.sync(),
    close: () => file.close(),
  };
}

/** How far the head and the configurations of a segment may reach. */
const BEGINNING_BYTES = 2 ** 20;

/**
 * Before a segment is given up as one that cannot be understood: what cannot be read now may be readable later.
 * @throws FootageError E_IO
 */
export async function checkReadable(disk: Disk, path: string): Promise<void> {
  await useIfThere(disk, path, (file) => readUpTo(file, 0, BEGINNING_BYTES));
}

/** Opens a file for reading; undefined if there is none. */
export async function openIfThere(disk: Disk, path: string): Promise<DiskFile | undefined> {
  try {
    return await disk.open(path, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw ioError(error, `opening ${path}`);
  }
}

/** What `use` makes of a file, which is open for reading meanwhile; undefined if there is none. */
export async function useIfThere<T>(
  disk: Disk,
  path: string,
  use: (file: DiskFile) => Promise<T>,
): Promise<T | undefined> {
  const file = await openIfThere(disk, path);
  if (file === undefined) return undefined;
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** All bytes of a file; undefined if there is none. */
export function readIfThere(disk: Disk, path: string): Promise<Uint8Array | undefined> {
  return useIfThere(disk, path, async (file) => readUpTo(file, 0, (await file.stat()).size));
}

/** Whether there is a file, or something else, at a path. */
export async function isThere(disk: Disk, path: string): Promise<boolean> {
  try {
    await disk.access(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw ioError(error, `looking for ${path}`);
  }
}

/** Removes a file; one that is already gone is as good. */
export async function removeFile(disk: Disk, path: string): Promise<void> {
  try {
    await disk.unlink(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw ioError(error, `removing ${path}`);
  }
}

export async function syncDirectory(disk: Disk, path: string): Promise<void> {
  const directory = await disk.open(path, 'r');
  try {
    await directory.sync();
  } catch (error) {
    throw new FootageError('E_FLUSH', `The disk did not take the entries of ${path}: check the disk.`, error);
  } finally {
    await directory.close();
  }
}

/**
 * As `syncDirectory`, for a folder above the archive: it is left out where this user may not read it, or where its file
 * system syncs no folders (a read-only root, say, that the archive's disk is mounted on).
 */
export async function syncIfPossible(disk: Disk, path: string): Promise<void> {
  await syncDirectory(disk, path).catch((error: unknown) => {
    const cause = error instanceof FootageError ? error.cause : error;
    if (!['EACCES', 'EPERM', 'EINVAL', 'EROFS', 'ENOTSUP'].includes(systemCode(cause) ?? '')) throw error;
  });
}

/**
 * Per disk, by folder of a camera: the folder of segments whose whole path this process has made durable. That a folder
 * is there says nothing: its maker may have died before the sync.
 */
const durablePaths = new WeakMap<Disk, Map<string, string>>();

/**
 * Makes a folder for segments below that of their camera. What is returned makes the folder durable, with its entries
 * and, where that is not known of it, with its whole path: up to the entry of the archive in the folder above it.
 */
export async function makeSegmentFolder(
  disk: Disk,
  cameraDirectory: string,
  path: string,
): Promise<() => Promise<void>> {
  const [camera, folder] = [resolve(cameraDirectory), resolve(path)];
  const durable = durablePaths.get(disk) ?? new Map<string, string>();
  durablePaths.set(disk, durable);
  const isNew = await makeDirectory(disk, folder);
  if (!isNew && durable.get(camera) === folder) return () => syncDirectory(disk, folder);
  return async () => {
    await syncPath(disk, folder, dirname(camera));
    durable.set(camera, folder);
  };
}

/** Makes the entries of a folder of segments durable, and its whole path: up to the archive's entry in the folder above. */
export async function syncPath(disk: Disk, folder: string, archive: string): Promise<void> {
  for (let at = folder; at !== archive; at = dirname(at)) await syncDirectory(disk, at);
  await syncDirectory(disk, archive);
  await syncIfPossible(disk, dirname(archive));
}

/** Makes a directory with its parents; whether any of them was missing: then their entries need a sync. */
export async function makeDirectory(disk: Disk, path: string): Promise<boolean> {
  const first = await disk.mkdir(path, { recursive: true }).catch((error: unknown) => {
    throw ioError(error, `making the folder ${path}`);
  });
  return first !== undefined;
}
