/** The identity of a camera: a UUID beside its segments, so that renaming the folder changes a name and nothing else. */
import { randomBytes } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ioError, systemCode } from '../errors.ts';
import { syncDirectory } from '../segment/disk.ts';

/** The camera's UUID, made on its first recording and kept in `CAMERA/.camera`. */
export async function cameraUuid(directory: string, root: string): Promise<string> {
  const path = join(directory, '.camera');
  const known = await readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return '';
    throw ioError(error, `reading ${path}`);
  });
  if (/^[0-9a-f]{32}\n$/.test(known)) return known.trim();
  const uuid = randomBytes(16).toString('hex');
  try {
    const file = await open(path, 'w');
    try {
      await file.writeFile(`${uuid}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw ioError(error, `writing ${path}`);
  }
  await syncDirectory(directory);
  await syncDirectory(root);
  return uuid;
}
