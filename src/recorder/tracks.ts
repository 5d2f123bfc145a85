/**
 * The tracks that a caller, or a frame, hands to the recorder, checked before anything is written: one that could never be
 * sealed or planned is E_TRACK.
 */
import { FootageError } from '../errors.ts';
import { MAX_TRACKS } from '../format/records.ts';
import type { Track } from '../media.ts';
import { checkSampleEntry } from '../mp4/sample-entry.ts';

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

/** @throws FootageError E_TRACK */
export function checkTrack(track: Track, index: number): void {
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
