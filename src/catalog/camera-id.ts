/** The identity of a camera: a UUID beside its segments, so that renaming the folder changes a name and nothing else. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ioError } from '../errors.ts';
import {
  type Disk,
  type DiskFile,
  isThere,
  OPEN_OR_MAKE,
  readUpTo,
  syncDirectory,
  useIfThere,
  writeAll,
} from '../segment/disk.ts';

/** 32 hex digits and the end of the line. */
const UUID_BYTES = 33;

/** The camera's UUID, made on its first recording and kept in `CAMERA/.camera`. */
export async function cameraUuid(disk: Disk, directory: string): Promise<string> {
  const path = join(directory, '.camera');
  const uuid = await readOrMake(disk, path).catch((error: unknown) => {
    throw ioError(error, `reading or writing ${path}`);
  });
  // Also when it was there: whoever made it may have died before its own sync. The folder's own name becomes durable with
  // the first segment in it.
  await syncDirectory(disk, directory);
  return uuid;
}

async function readOrMake(disk: Disk, path: string): Promise<string> {
  const file = await disk.open(path, OPEN_OR_MAKE);
  try {
    const uuid = (await known(file)) ?? (await make(file));
    await file.sync();
    return uuid;
  } finally {
    await file.close();
  }
}

async function known(file: DiskFile): Promise<string | undefined> {
  const text = Buffer.from(await readUpTo(file, 0, UUID_BYTES + 1)).toString('latin1');
  return /^[0-9a-f]{32}\n$/.test(text) ? text.trim() : undefined;
}

async function make(file: DiskFile): Promise<string> {
  const uuid = randomBytes(16).toString('hex');
  await file.truncate(0);
  await writeAll(file, [Buffer.from(`${uuid}\n`)], 0);
  return uuid;
}

/** The camera's UUID if `.camera` at `path` is there and holds. */
export function knownCameraUuid(disk: Disk, path: string): Promise<string | undefined> {
  return useIfThere(disk, path, known);
}

/** Writes `.camera` anew; a damaged one is kept as `.camera.unreadable`. The caller holds the camera's writer lock. */
export async function restoreCameraUuid(disk: Disk, directory: string, uuid: string): Promise<void> {
  const path = join(directory, '.camera');
  if (await isThere(disk, path)) await disk.rename(path, `${path}.unreadable`);
  const file = await disk.open(path, OPEN_OR_MAKE).catch((error: unknown) => {
    throw ioError(error, `writing ${path}`);
  });
  try {
    await writeAll(file, [Buffer.from(`${uuid}\n`)], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await syncDirectory(disk, directory);
}
