/** The identity of a camera: a UUID beside its segments, so that renaming the folder changes a name and nothing else. */
import { randomBytes } from 'node:crypto';
import { constants, type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { ioError } from '../errors.ts';
import { syncDirectory } from '../segment/disk.ts';

/** Opened for reading and writing, made if it is not there, never cut short. */
const OPEN_OR_MAKE = constants.O_RDWR | constants.O_CREAT;

/** The camera's UUID, made on its first recording and kept in `CAMERA/.camera`. */
export async function cameraUuid(directory: string, root: string): Promise<string> {
  const path = join(directory, '.camera');
  const uuid = await readOrMake(path).catch((error: unknown) => {
    throw ioError(error, `reading or writing ${path}`);
  });
  // Also when it was there: whoever made it may have died before its own sync.
  await syncDirectory(directory);
  await syncDirectory(root);
  return uuid;
}

async function readOrMake(path: string): Promise<string> {
  const file = await open(path, OPEN_OR_MAKE);
  try {
    const uuid = (await known(file)) ?? (await make(file));
    await file.sync();
    return uuid;
  } finally {
    await file.close();
  }
}

async function known(file: FileHandle): Promise<string | undefined> {
  const text = await file.readFile('utf8');
  return /^[0-9a-f]{32}\n$/.test(text) ? text.trim() : undefined;
}

async function make(file: FileHandle): Promise<string> {
  const uuid = randomBytes(16).toString('hex');
  await file.truncate(0);
  await file.write(`${uuid}\n`, 0);
  return uuid;
}
