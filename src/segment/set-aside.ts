/**
 * What becomes of a segment that cannot be understood: it is renamed, with what lies beside it, and never deleted. Only the
 * holder of the camera's writer lock may call this.
 */
import { dirname } from 'node:path';
import { ioError } from '../errors.ts';
import { checkReadable, type Disk, isThere, syncDirectory } from './disk.ts';
import { indexPathOf, journalPathOf } from './layout.ts';

/**
 * Durably; a name that is taken gets a number. Returns the segment's new path.
 * @throws FootageError E_IO, also where the disk cannot read its beginning now
 */
export async function setAside(disk: Disk, path: string): Promise<string> {
  await checkReadable(disk, path);
  // The pseudo-header may hold the only copy of the head: it goes along, and first, so that none is left alone.
  for (const beside of [indexPathOf(path), journalPathOf(path)]) {
    if (await isThere(disk, beside)) await renameTo(disk, beside, await freeName(disk, `${beside}.unreadable`));
  }
  const aside = await freeName(disk, `${path}.unreadable`);
  await renameTo(disk, path, aside);
  await syncDirectory(disk, dirname(path));
  return aside;
}

async function renameTo(disk: Disk, from: string, to: string): Promise<void> {
  await disk.rename(from, to).catch((error: unknown) => {
    throw ioError(error, `setting ${from} aside`);
  });
}

async function freeName(disk: Disk, wanted: string): Promise<string> {
  let name = wanted;
  for (let i = 2; await isThere(disk, name); i++) name = `${wanted}-${i}`;
  return name;
}
