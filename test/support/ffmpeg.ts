/** What FFmpeg says about a file: packets, decoded frames, warnings, and when it flashes and beeps. */
import { run } from './run.ts';

export { run } from './run.ts';

export interface Packet {
  /** Index of the stream in the file. */
  readonly stream: number;
  /** Ticks of the stream's time base. */
  readonly pts: number;
  readonly dts: number;
  readonly duration: number;
  /** Bytes. */
  readonly size: number;
  /** `K` sync sample, `D` discarded by the edit list, `_` otherwise. */
  readonly flags: string;
  /** Offset of the packet in the file, undefined for generated packets. */
  readonly position: number | undefined;
  /** MD5 of the payload, only if asked for. */
  readonly hash?: string;
}

export interface PacketOptions {
  /** Compute `hash` of every payload. */
  readonly hash?: boolean;
  /** As in FFmpeg's `-select_streams`: `v`, `a`, `0`. */
  readonly streams?: string;
}

const PACKET_FIELDS = 'stream_index,pts,dts,duration,size,pos,flags,data_hash';

/** All packets, in the order of the file, as FFmpeg's demuxer gives them (edit list applied). */
export async function packets(file: string, options: PacketOptions = {}): Promise<Packet[]> {
  const select = options.streams === undefined ? [] : ['-select_streams', options.streams];
  const hash = options.hash ? ['-show_data_hash', 'md5'] : [];
  const show = ['-show_packets', '-show_entries', `packet=${PACKET_FIELDS}`, '-of', 'compact=p=0'];
  const { stdout } = await run('ffprobe', ['-v', 'error', ...select, ...hash, ...show, file]);
  return stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line.startsWith('stream_index='))
    .map(parsePacket);
}

function parsePacket(line: string): Packet {
  const fields = new Map(line.split('|').map((field) => [field.slice(0, field.indexOf('=')), valueOf(field)]));
  const hash = fields.get('data_hash')?.replace(/^MD5:/, '');
  const position = fields.get('pos');
  return {
    stream: numberOf(fields, 'stream_index'),
    pts: numberOf(fields, 'pts'),
    dts: numberOf(fields, 'dts'),
    duration: numberOf(fields, 'duration'),
    size: numberOf(fields, 'size'),
    flags: fields.get('flags') ?? '',
    position: position === undefined || position === 'N/A' ? undefined : Number(position),
    ...(hash === undefined ? {} : { hash }),
  };
}

function valueOf(field: string): string {
  return field.slice(field.indexOf('=') + 1);
}

function numberOf(fields: ReadonlyMap<string, string>, name: string): number {
  return Number(fields.get(name) ?? Number.NaN);
}

/** MD5 of every decoded picture and block of sound, with its times: one line per frame, without the header. */
export async function framemd5(file: string, args: readonly string[] = []): Promise<string[]> {
  const { stdout } = await run('ffmpeg', ['-v', 'error', '-nostdin', '-i', file, ...args, '-f', 'framemd5', '-']);
  return frameLines(stdout);
}

/** Adler-32 of every packet (not decoded), with its times: one line per packet, without the header. */
export async function framecrc(file: string, args: readonly string[] = []): Promise<string[]> {
  const { stdout } = await run('ffmpeg', [
    '-v',
    'error',
    '-nostdin',
    '-i',
    file,
    '-c',
    'copy',
    ...args,
    '-f',
    'framecrc',
    '-',
  ]);
  return frameLines(stdout);
}

function frameLines(stdout: Buffer): string[] {
  const lines = stdout.toString('utf8').split('\n');
  return lines.filter((line) => line !== '' && !line.startsWith('#'));
}

/** Everything FFmpeg complains about while it decodes the whole file; empty if nothing. */
export async function warnings(file: string, args: readonly string[] = []): Promise<string> {
  const command = ['-v', 'warning', '-nostdin', ...args, '-i', file, '-f', 'null', '-'];
  const { stderr, status } = await run('ffmpeg', command, { allowFailure: true });
  return status === 0 ? stderr.trim() : `exit status ${status}\n${stderr.trim()}`;
}

export interface StreamInfo {
  readonly index: number;
  readonly codec_type: string;
  readonly codec_name: string;
  readonly codec_tag_string: string;
  readonly time_base: string;
  readonly start_time?: string;
  readonly duration?: string;
  readonly nb_frames?: string;
  readonly width?: number;
  readonly height?: number;
  readonly has_b_frames?: number;
  readonly sample_rate?: string;
  readonly channels?: number;
}

export interface MediaInfo {
  readonly streams: readonly StreamInfo[];
  readonly format: { readonly duration: string; readonly start_time: string; readonly size: string };
}

/** ffprobe's view of the streams and the file; times are seconds, as text. */
export async function probe(file: string): Promise<MediaInfo> {
  const { stdout } = await run('ffprobe', ['-v', 'error', '-show_streams', '-show_format', '-of', 'json', file]);
  return JSON.parse(stdout.toString('utf8'));
}

/** One flash and the beep that belongs to it, in seconds of the file's presentation. */
export interface FlashAndBeep {
  readonly flashTime: number;
  readonly beepTime: number;
}

const AUDIO_RATE = 48_000;
/** A beep begins where the sound passes this (of 1) after at least 0.2 s below it. */
const BEEP_LEVEL = 0.2;
const SILENCE_SECONDS = 0.2;
const FLASH_LUMA = 128;

/** Flashes and beeps of a `flash-beep` file (or of anything made from it), as FFmpeg decodes them. */
export async function avSyncFfmpeg(file: string): Promise<FlashAndBeep[]> {
  const [flashes, beeps] = await Promise.all([flashTimes(file), beepTimes(file)]);
  return pairUp(flashes, beeps);
}

/** Pairs each flash with the beep next to it; a flash without one within half a second is left out. */
export function pairUp(flashes: readonly number[], beeps: readonly number[]): FlashAndBeep[] {
  return flashes.flatMap((flashTime) => {
    const beepTime = beeps.toSorted((a, b) => Math.abs(a - flashTime) - Math.abs(b - flashTime))[0];
    return beepTime === undefined || Math.abs(beepTime - flashTime) > 0.5 ? [] : [{ flashTime, beepTime }];
  });
}

async function flashTimes(file: string): Promise<number[]> {
  const filter = "signalstats,metadata=mode=print:key=lavfi.signalstats.YAVG:file='pipe\\:1'";
  const { stdout } = await run('ffmpeg', [
    '-v',
    'error',
    '-nostdin',
    '-i',
    file,
    '-an',
    '-vf',
    filter,
    '-f',
    'null',
    '-',
  ]);
  const pictures = stdout.toString('utf8').matchAll(/pts_time:(\S+)\s+lavfi\.signalstats\.YAVG=(\S+)/g);
  const bright: number[] = [];
  let wasBright = false;
  for (const [, time, luma] of pictures) {
    const isBright = Number(luma) > FLASH_LUMA;
    if (isBright && !wasBright) bright.push(Number(time));
    wasBright = isBright;
  }
  return bright;
}

async function beepTimes(file: string): Promise<number[]> {
  // The filter puts silence where sound is missing, so that a sample's index is its presentation time.
  const args = [
    '-vn',
    '-af',
    'aresample=async=1:min_hard_comp=0.001:first_pts=0',
    '-ac',
    '1',
    '-ar',
    String(AUDIO_RATE),
  ];
  const { stdout } = await run('ffmpeg', ['-v', 'error', '-nostdin', '-i', file, ...args, '-f', 'f32le', '-']);
  const samples = new Float32Array(stdout.buffer.slice(stdout.byteOffset, stdout.byteOffset + stdout.byteLength));
  return onsets(samples);
}

function onsets(samples: Float32Array): number[] {
  const found: number[] = [];
  let lastLoud = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < samples.length; i++) {
    if (Math.abs(samples[i] ?? 0) < BEEP_LEVEL) continue;
    if (i - lastLoud > SILENCE_SECONDS * AUDIO_RATE) found.push(i / AUDIO_RATE);
    lastLoud = i;
  }
  return found;
}
