/**
 * What a caller hands to the library, checked before anything is made or locked: option keys, ranges of recorder options,
 * and tracks. A mistake in code is a TypeError or RangeError; a track that could never be sealed is E_TRACK.
 */
import { FootageError } from '../errors.ts';
import { MAX_TRACKS } from '../format/records.ts';
import type { Track } from '../media.ts';
import { checkSampleEntry } from '../mp4/sample-entry.ts';
import { checkKeys, type KeysOf } from '../option-keys.ts';
import type { RecorderOptions } from './recorder.ts';

interface Limits {
  readonly min: number;
  readonly max: number;
}

/** The longest delay of a timer. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** What Date can hold. */
const MAX_UTC_MS = 8.64e15;

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

/**
 * Checks everything that sealing and planning will need of the tracks.
 * @throws FootageError E_TRACK
 */
export function checkTracks(tracks: readonly Track[]): void {
  if (tracks.length === 0 || tracks.length > MAX_TRACKS) {
    throw new FootageError('E_TRACK', `A recording has 1 to ${MAX_TRACKS} tracks, not ${tracks.length}.`);
  }
  tracks.forEach(checkTrack);
}

/** The widths of the fields of the configuration record (docs/format.md, "Records"). */
const MAX_CODEC_BYTES = 255;
const MAX_U16 = 2 ** 16 - 1;
const MAX_U32 = 2 ** 32 - 1;

function checkTrack(track: Track, index: number): void {
  const wrong = faultOf(track);
  if (wrong === undefined) return;
  throw new FootageError('E_TRACK', `Track ${index} ${wrong.what}: correct what the source says of it.`, wrong.cause);
}

interface Fault {
  readonly what: string;
  readonly cause?: unknown;
}

function faultOf(track: Track): Fault | undefined {
  const { codec, timescale, config, width, height, sampleRate, channels } = track;
  if (typeof codec !== 'string' || Buffer.byteLength(codec) > MAX_CODEC_BYTES) {
    return { what: `needs a codec string of at most ${MAX_CODEC_BYTES} bytes` };
  }
  if (!isCount(timescale, MAX_U32)) return { what: `has the timescale ${timescale}, not an integer from 1 to 2^32-1` };
  if (!(config instanceof Uint8Array)) return { what: 'has no Uint8Array as its config' };
  if (track.kind === 'video' && !(isCount(width, MAX_U16) && isCount(height, MAX_U16))) {
    return { what: `is video of ${width}x${height} pixels, not of 1 to ${MAX_U16} each way` };
  }
  if (track.kind === 'audio' && !(isCount(sampleRate, MAX_U32) && isCount(channels, MAX_U16))) {
    return { what: `is audio with sampleRate ${sampleRate} and channels ${channels}, which are no positive integers` };
  }
  return configFault(track);
}

/** The configuration must go into a sample entry and be read out of it again: planning does both. */
function configFault(track: Track): Fault | undefined {
  try {
    checkSampleEntry(track);
    return undefined;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return { what: `cannot be recorded (${reason.replace(/\.$/, '')})`, cause };
  }
}

function isCount(value: number | undefined, max: number): boolean {
  return value !== undefined && Number.isInteger(value) && value >= 1 && value <= max;
}
