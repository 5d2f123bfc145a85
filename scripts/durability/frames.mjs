/**
 * Made frames: pictures and sound of random bytes that follow from seed, camera, track and number, so that whoever finds
 * a frame can say which one it is, and whether it is that one byte for byte. They are no pictures: an archive does not
 * look into frames.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { monotonicMs } from './clock.mjs';

const SAMPLE = join(import.meta.dirname, '..', '..', 'media', 'front-door.mp4');
const HEADER_BYTES = 16;
const VIDEO_BYTES = 4000;
const AUDIO_BYTES = 200;
const AUDIO_FRAME_TICKS = 1024;
export const PICTURES_PER_SECOND = 25;
const PICTURES_PER_GOP = 25;

/** The tracks of a sample clip: their configurations are real. */
export async function sampleTracks(openMediaFile) {
  const file = await openMediaFile(SAMPLE);
  await file.close();
  return file.tracks;
}

/** Fills `words` with random bits that follow from `seed`. */
function fill(words, seed) {
  let state = (Math.imul(seed, 0x9e37_79b1) ^ 0x5bd1_e995) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
}

const isSync = (kind, index) => kind === 'audio' || index % PICTURES_PER_GOP === 0;

function sizeOf(kind, index) {
  if (kind === 'audio') return AUDIO_BYTES + (index % 7) * 8;
  return (isSync(kind, index) ? 6 * VIDEO_BYTES : VIDEO_BYTES / 2) + ((index * 2654) % 4000);
}

/** The bytes of one frame: `source` is seed and camera, `track` its number. */
export function frameData({ seed, camera }, { track, kind }, index) {
  const data = Buffer.alloc(sizeOf(kind, index) & ~3);
  fill(
    new Uint32Array(data.buffer, data.byteOffset, data.length / 4),
    seed * 1_000_003 + camera * 7919 + track + index * 31,
  );
  // As a length-prefixed unit of H.264: that of a key picture, or of another one.
  data.writeUInt32BE(data.length - 4, 0);
  data.writeUInt32BE(((isSync(kind, index) ? 0x65 : 0x41) << 24) | ((seed & 0xffff) << 8) | (camera & 0xff), 4);
  data.writeUInt32BE(track, 8);
  data.writeUInt32BE(index, 12);
  return data;
}

/** The number that a frame says it has; -1 if it is too short to say. */
export function indexOf(data) {
  if (data.byteLength < HEADER_BYTES) return -1;
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).readUInt32BE(12);
}

function frameOf(source, tracks, track, index) {
  const { kind, timescale, sampleRate } = tracks[track];
  const ticks = kind === 'audio' ? (AUDIO_FRAME_TICKS * timescale) / sampleRate : timescale / PICTURES_PER_SECOND;
  return {
    track,
    data: frameData(source, { track, kind }, index),
    dts: Math.round(index * ticks),
    compositionOffset: 0,
    sync: isSync(kind, index),
    durationTicks: Math.round((index + 1) * ticks) - Math.round(index * ticks),
  };
}

/** Frames of all tracks in real time, forever; counts what it has given in `given`, per track. */
export async function* framesInRealTime(source, tracks, given) {
  const beganMs = monotonicMs();
  const next = tracks.map(() => 0);
  for (;;) {
    const frames = tracks.map((_, track) => frameOf(source, tracks, track, next[track]));
    const dueMs = frames.map(({ dts, track }) => (dts * 1000) / tracks[track].timescale);
    const track = dueMs.indexOf(Math.min(...dueMs));
    const waitMs = beganMs + dueMs[track] - monotonicMs();
    if (waitMs > 0) await sleep(waitMs);
    next[track]++;
    given[track]++;
    yield frames[track];
  }
}
