/**
 * One writer per camera: an exclusive SQLite transaction on `CAMERA/.writer`. It is a lock of the kernel, so it dies
 * with its process, and it is the same for addon and twin. Only its holder may record, recover, truncate or seal.
 */
import { statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FootageError, ioError, systemCode } from '../errors.ts';
import { type Database, isBusy, openDatabase } from './sqlite.ts';

export interface WriterLock {
  /**
   * Whether it still guards the camera: not when somebody has removed the camera's folder, and with it the lock's file.
   * @throws FootageError E_IO when that cannot be told
   */
  holds(): Promise<boolean>;
  /** Idempotent. */
  release(): void;
}

/** The lock, or undefined if another recorder (of this or of any process) holds it. */
export function tryLock(cameraDirectory: string): WriterLock | undefined {
  const path = join(cameraDirectory, '.writer');
  let database: Database | undefined;
  try {
    database = openDatabase(path, 0);
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database?.close();
    if (isBusy(error)) return undefined;
    throw lockError(error, path);
  }
  const held = database;
  const { ino } = statSync(path);
  let released = false;
  return {
    holds: () => isInode(path, ino),
    release: () => {
      if (!released) held.close();
      released = true;
    },
  };
}

async function isInode(path: string, ino: number): Promise<boolean> {
  try {
    return (await stat(path)).ino === ino;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return false;
    throw ioError(error, `looking for ${path}`);
  }
}

function lockError(error: unknown, path: string): Error {
  const code = systemCode(error) ?? '';
  if (/READONLY|CANTOPEN|PERM/.test(code) || /readonly|unable to open/.test(String(error))) {
    return new FootageError(
      'E_READ_ONLY',
      `The archive cannot be written: ${path} cannot be opened for writing. Give this user write permission, or remount it.`,
      error,
    );
  }
  return ioError(error, `locking ${path}`);
}

export interface LockWait {
  /** How long to wait, ms: whoever starts up holds the lock while it recovers the camera. */
  readonly waitMs: number;
  /** Called before every further try; throws to end the wait. */
  readonly check?: () => void;
}

const RETRY_MS = 50;

/**
 * The lock, waited for.
 * @throws FootageError E_CAMERA_BUSY, E_READ_ONLY, E_IO; what `check` throws
 */
export async function lock(cameraDirectory: string, camera: string, { waitMs, check }: LockWait): Promise<WriterLock> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const held = tryLock(cameraDirectory);
    if (held !== undefined) return held;
    if (performance.now() >= deadline) throw busy(camera);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    check?.();
  }
}

function busy(camera: string): FootageError {
  return new FootageError(
    'E_CAMERA_BUSY',
    `Camera "${camera}" is being recorded or imported already, or its last recording is still being recovered: stop the other writer or wait for its end, or use another name.`,
  );
}
