/** Opening the folder of an archive: that it is there, whether it can be written, and its catalog, held against the files. */
import { constants } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FootageError } from '../errors.ts';
import { type Disk, isThere, makeDirectory, type SegmentIo, syncIfPossible } from '../segment/disk.ts';
import { isCameraName } from '../segment/layout.ts';
import type { Catalog } from './catalog.ts';
import { reconcile, type Unreadable } from './reconcile.ts';
import { isDamage, openCatalog, setCatalogAside } from './sqlite-catalog.ts';

/**
 * Makes the folder if it is missing and may be made: durably, with every folder above it that is new.
 * @throws FootageError E_ARCHIVE_MISSING, E_DISK_FULL, E_FLUSH, E_READ_ONLY, E_IO
 */
export async function openFolder(disk: Disk, root: string, create: boolean): Promise<void> {
  const found = await disk.stat(root).catch(() => undefined);
  if (found?.isDirectory() === false) throw missing(`${root} is a file`);
  if (create) {
    await makeDirectory(disk, root);
    // Whoever made the folders may have died before they were durable; what has a catalog has outlived that. The entry of
    // the archive itself becomes durable with the first segment (S1).
    if (!(await isThere(disk, join(root, 'catalog.db')))) await syncAbove(disk, dirname(root));
  } else if (found === undefined || !(await looksLikeArchive(disk, root))) {
    throw missing(`There is no archive at ${root}`);
  }
}

async function syncAbove(disk: Disk, folder: string): Promise<void> {
  const parent = dirname(folder);
  await syncIfPossible(disk, parent);
  if (parent !== dirname(parent)) await syncAbove(disk, parent);
}

function missing(what: string): FootageError {
  return new FootageError('E_ARCHIVE_MISSING', `${what}: name the folder of an archive, or record into one first.`);
}

/** Whether there is a catalog, or a folder of a camera: a wrong folder must not pass for an empty archive. */
async function looksLikeArchive(disk: Disk, root: string): Promise<boolean> {
  const names = await disk.readdir(root);
  if (names.includes('catalog.db')) return true;
  for (const name of names.filter(isCameraName)) {
    const inside = await disk.readdir(join(root, name)).catch(() => []);
    if (inside.some((one) => one === '.camera' || /^\d{4}$/.test(one))) return true;
  }
  return false;
}

export async function isWritable(disk: Disk, root: string): Promise<boolean> {
  return disk.access(root, constants.W_OK).then(
    () => true,
    () => false,
  );
}

/**
 * The catalog, held against the files; a database that turns out to be damaged is made anew. With `inMemory` nothing is
 * written.
 */
export async function openReconciled(
  root: string,
  inMemory: boolean,
  io: SegmentIo,
): Promise<{ readonly catalog: Catalog; readonly unreadable: Unreadable[] }> {
  const database = inMemory ? undefined : join(root, 'catalog.db');
  for (let first = true; ; first = false) {
    const catalog = await openCatalog(database);
    try {
      return { catalog, unreadable: await reconcile(root, catalog, io) };
    } catch (error) {
      catalog.close();
      if (database === undefined || !first || !isDamage(error)) throw error;
      await setCatalogAside(database);
    }
  }
}
