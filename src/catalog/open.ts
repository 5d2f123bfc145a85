/** Opening the folder of an archive: that it is there, whether it can be written, and its catalog, held against the files. */
import { access, constants, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FootageError } from '../errors.ts';
import type { Native } from '../native-types.ts';
import { makeDirectory, syncIfReadable } from '../segment/disk.ts';
import type { Catalog } from './catalog.ts';
import { reconcile, type Unreadable } from './reconcile.ts';
import { isDamage, openCatalog, setCatalogAside } from './sqlite-catalog.ts';

/**
 * Makes the folder if it is missing and may be made: durably, with every folder above it that is new.
 * @throws FootageError E_ARCHIVE_MISSING, E_DISK_FULL, E_FLUSH, E_READ_ONLY, E_IO
 */
export async function openFolder(root: string, create: boolean): Promise<void> {
  if (create) {
    const [, ...parents] = await makeDirectory(root);
    for (const parent of parents) await syncIfReadable(parent);
  }
  const found = await stat(root).catch(() => undefined);
  if (found?.isDirectory() === true) return;
  throw new FootageError(
    'E_ARCHIVE_MISSING',
    `There is no archive at ${root}: name the folder of one, or record into it first.`,
  );
}

export async function isWritable(root: string): Promise<boolean> {
  return access(root, constants.W_OK).then(
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
  native: Native,
): Promise<{ readonly catalog: Catalog; readonly unreadable: Unreadable[] }> {
  const database = inMemory ? undefined : join(root, 'catalog.db');
  for (let first = true; ; first = false) {
    const catalog = await openCatalog(database);
    try {
      return { catalog, unreadable: await reconcile(root, catalog, native) };
    } catch (error) {
      catalog.close();
      if (database === undefined || !first || !isDamage(error)) throw error;
      await setCatalogAside(database);
    }
  }
}
