/**
 * SQLite, from whichever library is there: better-sqlite3, or `node:sqlite` where Node has it. Both offer the few calls
 * named here. With neither there is one clear error.
 */
import { createRequire } from 'node:module';
import { FootageError } from '../errors.ts';

export type SqlValue = string | number | null;

export interface Statement {
  run(...values: SqlValue[]): unknown;
  get(...values: SqlValue[]): unknown;
  all(...values: SqlValue[]): unknown[];
}

export interface Database {
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): void;
}

type DatabaseClass = new (path: string, options?: { readonly timeout?: number }) => Database;

let found: DatabaseClass | undefined;

/** Opens (or creates) a database; `path` may be `:memory:`. Waits up to `timeoutMs` for another process's lock. */
export function openDatabase(path: string, timeoutMs: number): Database {
  found ??= findLibrary();
  return new found(path, { timeout: timeoutMs });
}

function findLibrary(): DatabaseClass {
  const require = createRequire(import.meta.url);
  const reasons: string[] = [];
  try {
    const library = require('better-sqlite3') as DatabaseClass;
    // The package may be there without its compiled part.
    new library(':memory:').close();
    return library;
  } catch (error) {
    reasons.push(`better-sqlite3: ${firstLine(error)}`);
  }
  try {
    return (require('node:sqlite') as { DatabaseSync: DatabaseClass }).DatabaseSync;
  } catch (error) {
    reasons.push(`node:sqlite: ${firstLine(error)}`);
  }
  throw new FootageError(
    'E_NO_SQLITE',
    `No SQLite is available: install better-sqlite3 12 ("npm install better-sqlite3@12") or use Node 22.13 or newer (${reasons.join('; ')}).`,
  );
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
}

/** Whether the error says that another connection holds the lock. */
export function isBusy(error: unknown): boolean {
  const text = error instanceof Error ? `${'code' in error ? String(error.code) : ''} ${error.message}` : '';
  return /SQLITE_BUSY|database is locked/.test(text);
}
