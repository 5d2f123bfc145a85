/** Looks at the catalog of an archive without changing it: in a copy, since even opening a database may write to it. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ioError, systemCode } from '../errors.ts';
import type { SegmentRow } from './catalog.ts';
import { openDatabase } from './sqlite.ts';
import { isDamage, SCHEMA_VERSION, SqliteCatalog } from './sqlite-catalog.ts';

export type CatalogCheck =
  /** There is none, or one of another version, which is made anew when the archive is opened. */
  | { readonly state: 'none' }
  | { readonly state: 'damaged'; readonly reason: string }
  | { readonly state: 'sound'; readonly rows: readonly SegmentRow[] };

/** How often a copy is tried that somebody writes meanwhile. */
const TRIES = 5;

/** @throws FootageError E_IO, E_DISK_FULL, E_NO_SQLITE */
export async function checkCatalog(path: string): Promise<CatalogCheck> {
  const folder = await mkdtemp(join(tmpdir(), 'footage-catalog-'));
  try {
    return (await copyQuietly(path, join(folder, 'catalog.db'))) ? checkCopy(join(folder, 'catalog.db')) : NONE;
  } catch (error) {
    throw ioError(error, `copying the catalog ${path}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const NONE = { state: 'none' } as const;

/** Database and write-ahead log as they are at one moment; false if there is no database. */
async function copyQuietly(from: string, to: string): Promise<boolean> {
  for (let i = 0; i < TRIES; i++) {
    const before = await stamp(from);
    if (before === undefined) return false;
    await copyElsewhere(from, to);
    if ((await stampOf(`${from}-wal`)) !== undefined) await copyElsewhere(`${from}-wal`, `${to}-wal`);
    if (before === (await stamp(from))) return true;
    await rm(`${to}-wal`, { force: true });
  }
  // Somebody writes without a pause: whoever does has the database open, and so has found it sound.
  return false;
}

/**
 * Copies in a process of its own: whoever closes a file loses all locks that his process holds on it, and SQLite's are
 * such locks ("How To Corrupt An SQLite Database File", 2.2).
 */
async function copyElsewhere(from: string, to: string): Promise<void> {
  const code = 'require("node:fs").copyFileSync(process.argv[1], process.argv[2])';
  await promisify(execFile)(process.execPath, ['-e', code, from, to]);
}

async function stamp(path: string): Promise<string | undefined> {
  const parts = await Promise.all([path, `${path}-wal`].map(stampOf));
  return parts[0] === undefined ? undefined : parts.join(' ');
}

async function stampOf(path: string): Promise<string | undefined> {
  try {
    const { mtimeMs, size } = await stat(path);
    return `${mtimeMs}/${size}`;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function checkCopy(path: string): CatalogCheck {
  try {
    const database = openDatabase(path, 0);
    try {
      const version = (database.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;
      if (version !== SCHEMA_VERSION) return NONE;
      const said = database.prepare('PRAGMA integrity_check(1)').get() as { integrity_check: string };
      if (said.integrity_check !== 'ok') return { state: 'damaged', reason: said.integrity_check };
    } finally {
      database.close();
    }
    const catalog = SqliteCatalog.open(path);
    try {
      return { state: 'sound', rows: catalog.all() };
    } finally {
      catalog.close();
    }
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { state: 'damaged', reason: error instanceof Error ? error.message : String(error) };
  }
}
