/**
 * Which tracks one answer can join. What a source says of its track (spelling of the codec, channels) may differ from
 * what the decoder configuration says; only the latter counts, before and after a segment is sealed.
 */
import { FootageError } from '../errors.ts';
import type { Track } from '../media.ts';
import { audioSpecificConfigOf } from '../mp4/codec.ts';
import { parseStsd, writeStsd } from '../mp4/sample-entry.ts';
import type { Part } from './select.ts';

/** Bytes of a box header. */
const BOX_HEADER_BYTES = 8;

/** The track as it reads back from a sealed segment: codec, rate and channels as its configuration tells them. */
export function canonicalTrack(track: Track): Track {
  const stsd = writeStsd(track).subarray(BOX_HEADER_BYTES);
  return { ...parseStsd(stsd, track.kind).track, timescale: track.timescale };
}

/**
 * One sample description per track: a change cannot be joined in this form of answer.
 * @throws FootageError E_CHANGES
 */
export function checkSameConfiguration(parts: readonly Part[]): void {
  for (const kind of ['video', 'audio'] as const) {
    const tracks = parts.flatMap((part) => part[kind]?.source.track ?? []);
    const [first] = tracks;
    const other = first && tracks.find((track) => !sameConfiguration(first, track));
    if (first === undefined || other === undefined) continue;
    throw new FootageError(
      'E_CHANGES',
      `The ${kind} changes within the range (${describe(first)} to ${describe(other)}): ask for a range on one side of the change.`,
    );
  }
}

function sameConfiguration(a: Track, b: Track): boolean {
  const sameEntry = entryOf(a) === entryOf(b) && a.width === b.width && a.height === b.height;
  return sameEntry && Buffer.compare(decoderConfig(a), decoderConfig(b)) === 0;
}

/** Type of the sample entry, with which a codec string begins (RFC 6381 3.3). */
function entryOf({ codec }: Track): string {
  return codec.slice(0, 4);
}

function decoderConfig(track: Track): Uint8Array {
  return entryOf(track) === 'mp4a' ? audioSpecificConfigOf(track.config) : track.config;
}

function describe(track: Track): string {
  const size = track.kind === 'video' ? `${track.width}x${track.height}` : `${track.sampleRate} Hz`;
  return `${track.codec} ${size}`;
}
