/** Options of every sender: defaults, then checks. */
import type { SenderOptions } from './sender.ts';

/** Queued ranges of files cost no memory, and long runs of them cost the fewest hops to the thread pool. */
const DEFAULTS: Required<SenderOptions> = {
  softBarrier: 128 * 2 ** 20,
  hardBarrier: 512 * 2 ** 20,
  idleTimeoutMs: 60_000,
};

/** Longest delay of a Node timer; longer ones fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

function checkInteger(name: string, value: unknown, low: number, high: number): void {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number`);
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new RangeError(`${name} must be an integer from ${low} to ${high}, got ${value}`);
  }
}

/** Throws a TypeError for an unknown key or wrong type, a RangeError for a value without meaning. */
export function resolveOptions(options: SenderOptions): Required<SenderOptions> {
  for (const key of Object.keys(options)) {
    if (!(key in DEFAULTS)) throw new TypeError(`unknown option of a sender: ${key}`);
  }
  const resolved = { ...DEFAULTS, ...options };
  checkInteger('softBarrier', resolved.softBarrier, 1, Number.MAX_SAFE_INTEGER);
  checkInteger('hardBarrier', resolved.hardBarrier, resolved.softBarrier, Number.MAX_SAFE_INTEGER);
  checkInteger('idleTimeoutMs', resolved.idleTimeoutMs, 0, MAX_TIMER_MS);
  return resolved;
}
