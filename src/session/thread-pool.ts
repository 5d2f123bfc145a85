/** The thread pool of the process, which jobs of the addon share with all file work of Node. */

const DEFAULT_THREADS = 4;
const MAX_THREADS = 1024;
/** With one, a single export from a slow disk would hold up every file that is opened. */
const ENOUGH_THREADS = 2;

let warned = false;

/** Threads of the pool, as libuv reads UV_THREADPOOL_SIZE when the pool is first used. */
export function poolThreads(setting = process.env['UV_THREADPOOL_SIZE']): number {
  if (setting === undefined) return DEFAULT_THREADS;
  const threads = Number.parseInt(setting, 10);
  return Math.min(MAX_THREADS, Math.max(1, Number.isNaN(threads) ? 1 : threads));
}

/** Warns once (code FOOTAGE_SMALL_POOL) where no thread would be left for file work beside an export. */
export function warnOfSmallPool(threads = poolThreads()): void {
  if (warned || threads >= ENOUGH_THREADS) return;
  warned = true;
  process.emitWarning(
    `The thread pool has ${threads} thread: one export from a slow disk holds up all other file work. Set UV_THREADPOOL_SIZE to 8 or more before the process starts.`,
    { code: 'FOOTAGE_SMALL_POOL' },
  );
}
