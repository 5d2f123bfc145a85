/**
 * What acceptance tests say about an answer: its file on disk, the pictures and the sound a decoder makes of it, and the
 * same of a source. Everything is measured with FFmpeg, nothing with the product's own reader.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import type { Archive, SessionRequest } from '../../src/archive.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import type { Frame, Track } from '../../src/media.ts';
import type { Recording } from '../../src/recorder/recording.ts';
import type { Session } from '../../src/session/session.ts';
import { makeMedia } from './media.ts';
import { run } from './run.ts';
import { withTemporaryFolder } from './tmp.ts';

/** Where most imports begin. */
export const START_MS = Date.parse('2026-01-31T12:00:00Z');

/** Wall time `seconds` after START_MS, as a request takes it. */
export function at(seconds: number): Date {
  return new Date(START_MS + seconds * 1000);
}

/** Sends the answer to `request` into a new file at `path`. */
export async function exportTo(path: string, archive: Archive, request: SessionRequest): Promise<Session> {
  const session = await archive.session(request);
  const output = createWriteStream(path, { flags: 'wx' });
  await session.send(output);
  output.end();
  await finished(output);
  return session;
}

export interface Picture {
  /** Presentation time in the file, seconds. */
  readonly timeS: number;
  /** MD5 of the decoded picture. */
  readonly hash: string;
}

export interface Sound {
  /** Presentation time of the first sample, seconds. */
  readonly startS: number;
  /** The first channel. */
  readonly samples: Float32Array;
  readonly rate: number;
}

export interface Decoded {
  readonly pictures: readonly Picture[];
  readonly sound: Sound;
  /** What FFmpeg complained about; empty if nothing. */
  readonly messages: string;
}

const PICTURES = ['-map', '0:v:0', '-fps_mode', 'passthrough', '-enc_time_base', '-1'];
const SOUND = ['-map', '0:a:0', '-ac', '1', '-c:a', 'pcm_f32le'];

/** The pictures a decoder presents (edit list applied), in order, none dropped or repeated. */
export async function picturesOf(file: string): Promise<Picture[]> {
  const input = ['-v', 'error', '-nostdin', '-copyts', '-i', file];
  const { stdout } = await run('ffmpeg', [...input, ...PICTURES, '-f', 'framemd5', '-']);
  return framesOf(stdout.toString('utf8'));
}

/** Pictures and sound of a file that has both, or with `kinds` one of them, decoded once. */
export function decode(file: string, rate: number, kinds: 'both' | 'pictures' | 'sound' = 'both'): Promise<Decoded> {
  return withTemporaryFolder(async (folder) => {
    const out = (name: string) => join(folder, name);
    const input = ['-v', 'warning', '-nostdin', '-copyts', '-i', file];
    const pictures = kinds === 'sound' ? [] : [...PICTURES, '-f', 'framemd5', out('pictures')];
    const both = [...SOUND, '-f', 'framemd5', out('sound'), ...SOUND, '-f', 'f32le', out('samples')];
    const sound = kinds === 'pictures' ? [] : both;
    const { stderr } = await run('ffmpeg', [...input, ...pictures, ...sound]);
    return {
      pictures: kinds === 'sound' ? [] : framesOf(await readFile(out('pictures'), 'utf8')),
      sound: kinds === 'pictures' ? NO_SOUND : await readSound(out('sound'), out('samples'), rate),
      messages: stderr.trim(),
    };
  });
}

const NO_SOUND: Sound = { startS: Number.NaN, samples: new Float32Array(0), rate: 0 };

async function readSound(frames: string, raw: string, rate: number): Promise<Sound> {
  const bytes = await readFile(raw);
  const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const [first] = framesOf(await readFile(frames, 'utf8'));
  return { startS: first?.timeS ?? Number.NaN, samples, rate };
}

function framesOf(text: string): Picture[] {
  const base = /^#tb 0: (\d+)\/(\d+)$/m.exec(text);
  const tick = Number(base?.[1]) / Number(base?.[2]);
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => {
    const [, , pts, , , hash = ''] = line.split(',').map((field) => field.trim());
    return { timeS: Number(pts) * tick, hash };
  });
}

/** The largest difference of two sounds of which `a` begins `aFrom` and `b` begins `bFrom` samples in. */
export function difference(a: Float32Array, aFrom: number, b: Float32Array, bFrom: number, count: number): number {
  let largest = 0;
  for (let i = 0; i < count; i++) {
    largest = Math.max(largest, Math.abs((a[aFrom + i] ?? Number.NaN) - (b[bFrom + i] ?? Number.NaN)));
    if (Number.isNaN(largest)) return Number.NaN;
  }
  return largest;
}

export async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Serves an archive by `handler()` on 127.0.0.1 while `body` runs, which gets the server's address. */
export async function withArchiveServer<T>(
  archive: Pick<Archive, 'handler'>,
  body: (base: string) => Promise<T>,
): Promise<T> {
  const server = createServer(archive.handler());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  try {
    return await body(`http://127.0.0.1:${address.port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** A promise that resolves when `open` is called. */
function gate(): { readonly opened: Promise<unknown>; readonly open: () => void } {
  const controller = new AbortController();
  return { opened: once(controller.signal, 'abort'), open: () => controller.abort() };
}

/** The frames of a media file, of which those behind `holdAfterS` are given only when `release` is called. */
export async function heldFrames(file: string, holdAfterS: number) {
  const source = await openMediaFile(file);
  const held = gate();
  const reached = gate();
  const tracks: readonly Track[] = source.tracks;
  const given = tracks.map(() => 0);
  async function* frames(): AsyncGenerator<Frame, void, undefined> {
    for await (const frame of source.frames()) {
      if (frame.dts > holdAfterS * (tracks[frame.track]?.timescale ?? 1)) {
        reached.open();
        await held.opened;
      }
      given[frame.track] = (given[frame.track] ?? 0) + 1;
      yield frame;
    }
    await source.close();
  }
  /** Resolves when every picture that was given is appended; sound may still wait for its group. */
  const holding = async (recording: Pick<Recording, 'stats'>): Promise<void> => {
    await reached.opened;
    const isThere = (count: number, i: number) =>
      tracks[i]?.kind !== 'video' || (recording.stats().appended[i] ?? 0) >= count;
    for (const endMs = Date.now() + 60_000; !given.every(isThere);) {
      if (Date.now() > endMs)
        throw new Error(`only ${String(recording.stats().appended)} of ${String(given)} are appended`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  return { tracks, frames: frames(), holding, release: held.open };
}

/** Numbers in [0, 1) that are the same at each run. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/**
 * A small moving picture of which no two frames are alike, and a rising tone of which no two moments are. Without
 * perceptual noise substitution, which decodes differently each time, sound can be compared sample by sample.
 */
export const video = (rate = '25') => ['-f', 'lavfi', '-i', `testsrc2=size=320x180:rate=${rate}`];
export const tone = (rate = 48_000) => [
  '-f',
  'lavfi',
  '-i',
  `aevalsrc='0.4*sin(2*PI*(200*t+20*t*t))':s=${rate}:c=mono`,
];
export const X264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p', '-bf', '2', '-g', '50'];
export const X265 = ['-c:v', 'libx265', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-tag:v', 'hvc1'];
export const AAC = ['-c:a', 'aac', '-b:a', '64k', '-aac_pns', '0'];

const x265 = (extra: string) => ['-x265-params', `log-level=error:bframes=2:keyint=25:min-keyint=25:${extra}`];

const VARIANTS = {
  plain: [...video(), ...tone(), '-t', '12', ...X264, ...AAC],
  'audio 44.1 kHz': [...video(), ...tone(44_100), '-t', '12', ...X264, ...AAC],
  '23.976 frames a second': [...video('24000/1001'), ...tone(), '-t', '12', ...X264, ...AAC],
  // Each third picture is left out, and now and then a second of them.
  'variable frame rate': [
    ...[...video(), ...tone(), '-t', '12', '-vf', "select='mod(n\\,3)*gt(mod(n\\,100)\\,24)'"],
    ...['-fps_mode', 'vfr', ...X264, ...AAC],
  ],
  'audio a second before video': [
    ...['-itsoffset', '1.013', ...video(), ...tone(), '-t', '12', '-fps_mode', 'passthrough', ...X264, ...AAC],
  ],
  'video a second before audio': [...video(), '-itsoffset', '1.013', ...tone(), '-t', '12', ...X264, ...AAC],
  'H.265': [...video(), ...tone(), '-t', '12', ...X265, ...x265('open-gop=0'), ...AAC],
  'H.265 with open GOPs': [...video(), ...tone(), '-t', '12', ...X265, ...x265('open-gop=1'), ...AAC],
  'H.264 with open GOPs': [...video(), ...tone(), '-t', '12', ...X264, '-x264-params', 'open-gop=1', ...AAC],
  'negative composition offsets': [
    ...[...video(), ...tone(), '-t', '12', ...X264, ...AAC, '-movflags', '+negative_cts_offsets'],
  ],
  'B-pyramid': [...video(), ...tone(), '-t', '12', ...X264, '-bf', '6', '-x264-params', 'b-pyramid=strict', ...AAC],
} as const satisfies Record<string, readonly string[]>;

export type Variant = keyof typeof VARIANTS;
export const VARIANT_NAMES: readonly Variant[] = Object.keys(VARIANTS).filter(
  (name): name is Variant => name in VARIANTS,
);

/** Path of a short file of this kind; shared, do not change it. */
export function variantFile(variant: Variant): Promise<string> {
  return makeMedia(`${variant.replaceAll(/[^a-zA-Z0-9]+/g, '-')}.mp4`, VARIANTS[variant]);
}

/**
 * `lengthS` seconds with a white picture and a beep at each full second, as `flash-beep`, but small and quick to make.
 * All lengths come from one encoder setting, so that they can be joined; the sound ends 7 ms after the picture.
 */
export function flashFile(lengthS: number): Promise<string> {
  const flash = "color=black:size=160x90:rate=25,drawbox=c=white:t=fill:enable='gte(n,25)*eq(mod(n,25),0)'";
  const beep = "aevalsrc='0.8*sin(2*PI*1000*t)*gte(t,1)*lt(mod(t,1),0.06)':s=48000:c=mono";
  const inputs = [
    '-f',
    'lavfi',
    '-t',
    String(lengthS),
    '-i',
    flash,
    '-f',
    'lavfi',
    '-t',
    String(lengthS + 0.007),
    '-i',
    beep,
  ];
  return makeMedia('flash.mp4', [...inputs, ...X264, '-crf', '18', ...AAC]);
}

/** Imports `count` short flash files of odd lengths with odd gaps between them. */
export async function importFlashes(archive: Archive, count: number) {
  let start = START_MS;
  let lengthS = 0;
  let flashes = 0;
  for (let i = 0; i < count; i++) {
    const own = 1.28 + 0.04 * ((i * 7) % 11);
    const { endUtcMs } = await archive.import('door', await flashFile(own), { start: new Date(start) });
    start = Math.round(endUtcMs + 1013.7 * (i + 1));
    lengthS += own;
    flashes += Math.floor(own - 0.001);
  }
  return { request: { camera: 'door', start: at(0), end: new Date(start) }, flashes, lengthS };
}
