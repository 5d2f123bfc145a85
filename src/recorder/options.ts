/**
 * What a caller hands to the library, checked before anything is made or locked: option keys, and ranges of recorder
 * options. A mistake in code is a TypeError or RangeError.
 */
import { MAX_UTC_MS } from '../format/records.ts';
import { checkKeys, type KeysOf } from '../option-keys.ts';
import type { RecorderOptions } from './recorder.ts';

interface Limits {
  readonly min: number;
  readonly max: number;
}

/** The longest delay of a timer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Smallest and largest value; a segment may also be endless. */
const LIMITS: Readonly<Record<keyof RecorderOptions, Limits>> = {
  segmentDurationMs: { min: Number.MIN_VALUE, max: Infinity },
  segmentBytes: { min: 2 ** 16, max: Infinity },
  flushIntervalMs: { min: 100, max: MAX_TIMER_MS },
  indexIntervalMs: { min: 0, max: MAX_TIMER_MS },
  startUtcMs: { min: -MAX_UTC_MS, max: MAX_UTC_MS },
};

export const RECORDER_KEYS: KeysOf<RecorderOptions> = {
  segmentDurationMs: true,
  segmentBytes: true,
  flushIntervalMs: true,
  indexIntervalMs: true,
  startUtcMs: true,
};

/**
 * The options that are set, each within its range.
 * @throws RangeError, TypeError
 */
export function checkRecorderOptions(options: RecorderOptions): RecorderOptions {
  checkKeys(options, RECORDER_KEYS, 'a recorder');
  const set = Object.entries(options).filter(([, value]) => value !== undefined) as [keyof RecorderOptions, unknown][];
  for (const [name, value] of set) {
    const { min, max } = LIMITS[name];
    if (typeof value !== 'number') throw new TypeError(`${name} is a number, not ${typeof value}`);
    if (!(value >= min && value <= max))
      throw new RangeError(`${name} is a number from ${min} to ${max}, not ${value}`);
  }
  return Object.fromEntries(set);
}
