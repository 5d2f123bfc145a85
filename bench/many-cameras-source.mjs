/**
 * What many cameras send, in real time: pictures and sound of a real clip, each picture filled up to the size that a camera
 * of 4 Mbit/s gives it, by a NAL unit that decoders pass over and that is different in every picture of every camera. So it
 * can be decoded, and each frame can be told from all others.
 */
import { createCipheriv } from 'node:crypto';
import { join } from 'node:path';
import { ROOT, built } from './support.mjs';

export const PICTURES_PER_SECOND = 25;
/** As in the clip, whose pictures are sent again and again. */
const GOP = 50;
const KEY_BYTES = 107_400;
/** With sizes 2000 bytes apart: 17.9 kB on average, a sixth of a key frame. */
const SMALLEST_PICTURE_BYTES = 16_900;
const PICTURE_MS = 1000 / PICTURES_PER_SECOND;
/** Lengths are 4 bytes, as the clip's configuration says. */
const LENGTH_BYTES = 4;
/** "Unspecified" (ITU-T H.264, table 7-1): a decoder must pass over it. */
const FILL_TYPE = 30;
const STAMP_BYTES = 5;
const NOISE_BYTES = 8 << 20;
const SLAB_BYTES = 1 << 20;
const TICK_MS = 5;
/** What a camera's connection holds before frames are lost: 2 s. */
const MAX_WAITING = 2 * (PICTURES_PER_SECOND + 47);

export async function openClip() {
  const { openMediaFile } = await built('index.js');
  const file = await openMediaFile(join(ROOT, 'media', 'yard.mp4'));
  const frames = [];
  for await (const frame of file.frames()) frames.push(frame);
  await file.close();
  const [pictures, sound] = [0, 1].map((track) => frames.filter((frame) => frame.track === track));
  return { tracks: file.tracks, pictures, sound, noise: makeNoise() };
}

/** The same in every process. No byte is 0, so that no start code is in it. */
function makeNoise() {
  const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(NOISE_BYTES));
  for (let i = 0; i < noise.length; i++) noise[i] |= 1;
  return noise;
}

/** Picture `i` of a camera; `room(bytes)` gives the buffer for its bytes. */
export function pictureOf({ pictures, noise, tracks }, camera, i, room) {
  const shown = pictures[i % pictures.length];
  const size = shown.sync ? KEY_BYTES : SMALLEST_PICTURE_BYTES + ((i * 7919) % 2000);
  const data = room(size);
  data.set(shown.data);
  const fill = shown.data.length;
  data.writeUInt32BE(size - fill - LENGTH_BYTES, fill);
  data[fill + LENGTH_BYTES] = FILL_TYPE;
  const stamp = fill + LENGTH_BYTES + 1;
  [camera >> 7, camera, i >> 14, i >> 7, i].forEach((part, at) => (data[stamp + at] = part | 0x80));
  const from = ((camera * 7919 + i) * 4099) % (noise.length - size);
  noise.copy(data, stamp + STAMP_BYTES, from, from + size - stamp - STAMP_BYTES);
  const durationTicks = tracks[0].timescale / PICTURES_PER_SECOND;
  const dts = pictures[0].dts + i * durationTicks;
  return { track: 0, data, dts, compositionOffset: shown.compositionOffset, sync: shown.sync, durationTicks };
}

/** The audio frames that come with picture `i`: those that begin before its end. Each camera is elsewhere in the clip. */
export function soundOf({ sound, tracks }, camera, i) {
  const { durationTicks, dts } = sound[0];
  const perPicture = tracks[1].timescale / PICTURES_PER_SECOND / durationTicks;
  const frames = [];
  for (let at = Math.ceil(i * perPicture); at < (i + 1) * perPicture; at++) {
    const { data } = sound[(at + camera * 7) % sound.length];
    frames.push({ track: 1, data, dts: dts + at * durationTicks, compositionOffset: 0, sync: true, durationTicks });
  }
  return frames;
}

/** Frames of one camera on their way to whoever takes them, one taker at a time. */
export class Line {
  lost = 0;
  #frames = [];
  #taker;
  #ended = false;

  push(frame) {
    if (this.#taker !== undefined) this.#answer({ value: frame, done: false });
    else if (this.#frames.length < MAX_WAITING) this.#frames.push(frame);
    else this.lost++;
  }

  end() {
    this.#ended = true;
    if (this.#taker !== undefined) this.#answer({ value: undefined, done: true });
  }

  #answer(result) {
    const taker = this.#taker;
    this.#taker = undefined;
    taker(result);
  }

  next() {
    if (this.#frames.length > 0) return Promise.resolve({ value: this.#frames.shift(), done: false });
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve) => (this.#taker = resolve));
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

/** One after the other, as whoever starts many cameras at once does. */
const START_GOPS = 5;
/** All cameras are sending by then. */
export const ALL_BEGUN_MS = START_GOPS * (GOP + 1) * PICTURE_MS;

/** When a camera begins, ms after the first: key frames and pictures of all cameras are spread evenly over time. */
function beginMs(camera, cameras) {
  return (camera * ALL_BEGUN_MS) / cameras;
}

/** Sends in real time into one line per camera. */
export class Cameras {
  /** Frames so far, per track. */
  sent = [0, 0];
  #clip;
  #lines;
  /** Cameras in the order of their moments within the time of a picture. */
  #order;
  #startMs;
  #next = 0;
  #timer;
  #slab = Buffer.alloc(0);
  #slabUsed = 0;

  constructor(clip, lines) {
    this.#clip = clip;
    this.#lines = lines;
    const all = lines.map((_, camera) => ({ camera, beginMs: beginMs(camera, lines.length) }));
    this.#order = all
      .map((one) => ({ ...one, inPictureMs: one.beginMs % PICTURE_MS, first: Math.floor(one.beginMs / PICTURE_MS) }))
      .toSorted((a, b) => a.inPictureMs - b.inPictureMs);
  }

  begin() {
    this.#startMs = performance.now();
    this.#timer = setInterval(() => this.#sendDue(performance.now() - this.#startMs), TICK_MS);
  }

  end() {
    clearInterval(this.#timer);
    for (const line of this.#lines) line.end();
  }

  /** How long ago picture `i` of a camera was due, ms; negative if it still is not. */
  ageMs(camera, i) {
    return performance.now() - this.#startMs - beginMs(camera, this.#lines.length) - i * PICTURE_MS;
  }

  #sendDue(nowMs) {
    for (;;) {
      const round = Math.floor(this.#next / this.#order.length);
      const { camera, first, inPictureMs } = this.#order[this.#next % this.#order.length];
      if (round * PICTURE_MS + inPictureMs > nowMs) return;
      this.#next++;
      if (round >= first) this.#send(camera, round - first);
    }
  }

  #send(camera, i) {
    const line = this.#lines[camera];
    line.push(pictureOf(this.#clip, camera, i, this.#room));
    this.sent[0]++;
    for (const frame of soundOf(this.#clip, camera, i)) {
      line.push(frame);
      this.sent[1]++;
    }
  }

  /** As from a socket: many frames behind each other in one buffer, which is new. */
  #room = (bytes) => {
    if (this.#slabUsed + bytes > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#slabUsed = 0;
    }
    this.#slabUsed += bytes;
    return this.#slab.subarray(this.#slabUsed - bytes, this.#slabUsed);
  };
}
