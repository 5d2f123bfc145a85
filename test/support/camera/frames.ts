/**
 * Which frames of its source a file holds, byte for byte, whoever has received, stored and exported it in between.
 *
 * Two things are not held against the way through RTP and FFmpeg: FFmpeg's H.265 parser leaves the first zero of the
 * next start code at the end of each NAL unit's data, and G.711 comes in blocks of any size.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { packets, probe } from '../ffmpeg.ts';
import type { AudioSource, VideoSource } from './stream.ts';

/** 20 ms of G.711 at 8 kHz. */
const G711_BLOCK_BYTES = 160;
const NAL_LENGTH_BYTES = 4;

export interface TrackFrames {
  /** One of each frame; of G.711, of each 20 ms from the beginning. */
  readonly hashes: readonly string[];
  /** Presentation times of the packets in the file, in seconds. */
  readonly timesS: readonly number[];
}

type Codec = (VideoSource | AudioSource)['codec'];

/** What a file with one track holds: MP4 or QuickTime. */
export async function framesOf(file: string, codec: Codec): Promise<TrackFrames> {
  const [bytes, all, { streams }] = await Promise.all([readFile(file), packets(file), probe(file)]);
  const payloads = all.map(({ position, size }) => {
    if (position === undefined) throw new Error(`${file}: a packet has no place in the file`);
    return bytes.subarray(position, position + size);
  });
  const [numerator = Number.NaN, denominator = Number.NaN] = (streams[0]?.time_base ?? '').split('/').map(Number);
  return { hashes: hashesOf(payloads, codec), timesS: all.map(({ pts }) => (pts * numerator) / denominator) };
}

const sources = new Map<string, Promise<TrackFrames>>();

/** As `framesOf`, of a source that does not change. */
export function framesOfSource({ file, codec }: VideoSource | AudioSource): Promise<TrackFrames> {
  const known = sources.get(file) ?? framesOf(file, codec);
  sources.set(file, known);
  return known;
}

function hashesOf(payloads: readonly Buffer[], codec: Codec): string[] {
  if (codec === 'alaw' || codec === 'ulaw') return blocks(Buffer.concat(payloads)).map(hash);
  return payloads.map((payload) => (codec === 'h265' ? hashNalUnits(payload) : hash(payload)));
}

/** The place of each received frame in the source; -1 for one that the source does not have. */
export function placesOf(received: readonly string[], source: readonly string[]): number[] {
  const places = new Map(source.map((hash, place) => [hash, place]));
  return received.map((hash) => places.get(hash) ?? -1);
}

function blocks(bytes: Buffer): Buffer[] {
  const count = Math.floor(bytes.length / G711_BLOCK_BYTES);
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * G711_BLOCK_BYTES, (i + 1) * G711_BLOCK_BYTES));
}

function hashNalUnits(sample: Buffer): string {
  const units: Buffer[] = [];
  for (let at = 0; at < sample.length;) {
    const end = at + NAL_LENGTH_BYTES + sample.readUInt32BE(at);
    units.push(withoutTrailingZeros(sample.subarray(at + NAL_LENGTH_BYTES, end)));
    at = end;
  }
  const lengths = units.map((unit) => unit.length).join(' ');
  return hash(Buffer.concat([Buffer.from(lengths), ...units]));
}

/** A NAL unit never ends with a zero byte: H.265, 7.4.2.1. */
function withoutTrailingZeros(unit: Buffer): Buffer {
  let end = unit.length;
  while (end > 0 && unit[end - 1] === 0) end--;
  return unit.subarray(0, end);
}

function hash(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
