/**
 * The few disk operations that recorder, sealer and recovery use: whole writes, whole reads, synced directories.
 * Errors are FootageErrors that say what was being done.
 */
import { access, type FileHandle, mkdir, open, unlink } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { FootageError, ioError, systemCode } from '../errors.ts';

/** Below the kernel's IOV_MAX. */
const MAX_BUFFERS = 512;

/** Writes all of `buffers` at `position`, however many calls that takes. */
export async function writeAll(file: FileHandle, buffers: readonly Uint8Array[], position: number): Promise<void> {
  let at = position;
  for (let first = 0; first < buffers.length; first += MAX_BUFFERS) {
    at = await writeSome(file, buffers.slice(first, first + MAX_BUFFERS), at);
  }
}

async function writeSome(file: FileHandle, buffers: readonly Uint8Array[], position: number): Promise<number> {
  let rest = buffers;
  let at = position;
  while (rest.length > 0) {
    const { bytesWritten } = await file.writev(rest, at).catch((error: unknown) => {
      throw ioError(error, 'writing a recording');
    });
    at += bytesWritten;
    rest = behind(rest, bytesWritten);
  }
  return at;
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
export async function readUpTo(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
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

/** Opens a file for reading; undefined if there is none. */
export async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw ioError(error, `opening ${path}`);
  }
}

/** Whether there is a file, or something else, at a path. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw ioError(error, `looking for ${path}`);
  }
}

/** Removes a file; one that is already gone is as good. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw ioError(error, `removing ${path}`);
  }
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } catch (error) {
    throw new FootageError('E_FLUSH', `The disk did not take the entries of ${path}: check the disk.`, error);
  } finally {
    await directory.close();
  }
}

/** As `syncDirectory`, for a folder above the archive, which this user need not be allowed to read: then it is left out. */
export async function syncIfReadable(path: string): Promise<void> {
  await syncDirectory(path).catch((error: unknown) => {
    if (!['EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error;
  });
}

/**
 * By folder of a camera: the folder of segments whose whole path this process has made durable. That a folder is there
 * says nothing: its maker may have died before the sync.
 */
const durablePaths = new Map<string, string>();

/**
 * Makes a folder for segments below that of their camera. What is returned makes the folder durable, with its entries
 * and, where that is not known of it, with its whole path: up to the entry of the archive in the folder above it.
 */
export async function makeSegmentFolder(cameraDirectory: string, path: string): Promise<() => Promise<void>> {
  const [camera, folder] = [resolve(cameraDirectory), resolve(path)];
  const changed = await makeDirectory(folder);
  if (changed.length === 1 && durablePaths.get(camera) === folder) return () => syncDirectory(folder);
  return async () => {
    const archive = dirname(camera);
    for (let at = folder; at !== archive; at = dirname(at)) await syncDirectory(at);
    await syncDirectory(archive);
    await syncIfReadable(dirname(archive));
    durablePaths.set(camera, folder);
  };
}

/** Makes a directory with its parents, and returns every directory whose entries are new: those need a sync. */
export async function makeDirectory(path: string): Promise<string[]> {
  const first = await mkdir(path, { recursive: true }).catch((error: unknown) => {
    throw ioError(error, `making the folder ${path}`);
  });
  if (first === undefined) return [path];
  const changed = [path];
  for (let at = path; at !== dirname(first);) {
    at = dirname(at);
    changed.push(at);
  }
  return changed;
}
