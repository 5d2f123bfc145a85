/**
 * Real media for tests, made by FFmpeg once and kept in the temporary folder. The cache key is the command, so a
 * changed recipe makes a new file. Two processes may make the same file at once: each writes its own, the last rename
 * wins, and both files are equal.
 */
import { createHash, randomUUID } from 'node:crypto';
import { access, mkdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { run } from './run.ts';

export const MEDIA_KINDS = [
  'h264-aac',
  'h264-aac-20min',
  'h264-aac-moov-first',
  'h265-aac',
  'h264-only',
  'aac-only',
  'flash-beep',
  'av1-opus',
  'av1-aac',
  'h265-opus',
  'h264-alaw',
  'opus-only',
  'ulaw-only',
] as const;
export type MediaKind = (typeof MEDIA_KINDS)[number];

/** Frames per second and size of all video kinds. */
export const FRAME_RATE = 25;
export const PICTURE = { width: 640, height: 360 } as const;

/** A moving picture with a running frame counter drawn into it. */
const COUNTER =
  `testsrc2=size=${PICTURE.width}x${PICTURE.height}:rate=${FRAME_RATE}[raw];` +
  '[raw]drawtext=text=%{frame_num}:fontsize=48:x=20:y=20:fontcolor=white:box=1:boxcolor=black';

/** A quiet tone that rises each second, so that no two seconds are alike, and a beep of 40 ms at each full second. */
const SOUND = "aevalsrc='0.1*sin(2*PI*(300+20*floor(t))*t)+0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.04)':s=48000:c=mono";

const X264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p', '-bf', '2', '-g', '50'];
const X265 = ['-c:v', 'libx265', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-tag:v', 'hvc1'];
const AAC = ['-c:a', 'aac', '-b:a', '96k', '-ar', '48000'];
const FROM_COUNTER = ['-f', 'lavfi', '-i', COUNTER];
const FROM_SOUND = ['-f', 'lavfi', '-i', SOUND];

/**
 * White for the first frame of each second and black otherwise, with a beep of 60 ms that begins at the same instant.
 * The first second has neither: an onset at 0 cannot be told from a start.
 */
const FLASH = `color=black:size=320x180:rate=${FRAME_RATE},drawbox=c=white:t=fill:enable='gte(n,${FRAME_RATE})*eq(mod(n,${FRAME_RATE}),0)'`;
const BEEP = "aevalsrc='0.8*sin(2*PI*1000*t)*gte(t,1)*lt(mod(t,1),0.06)':s=48000:c=mono";

/**
 * Twenty minutes must be quick to make: a small picture, B-frames at fixed places, and few bits of sound (FFmpeg's AAC
 * encoder takes five times longer at 64 kbit/s).
 */
const LONG = [
  ...['-f', 'lavfi', '-i', `testsrc2=size=160x90:rate=${FRAME_RATE}`],
  ...['-f', 'lavfi', '-i', 'sine=frequency=300:sample_rate=48000', '-t', '1200'],
  ...['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-bf', '2', '-g', '50'],
  ...['-x264-params', 'b-adapt=0:scenecut=0', '-c:a', 'aac', '-b:a', '24k', '-aac_coder', 'fast'],
];

/** Ten seconds of flashes and beeps; pictures are numbered and the sound rises, so that no two of them are alike. */
const NUMBERED = [
  ...['-f', 'lavfi', '-i', `${FLASH}[f];[f]drawtext=text=%{frame_num}:fontsize=24:x=9:y=9:fontcolor=red`],
  ...[...FROM_SOUND, '-t', '10'],
];
const AV1 = ['-c:v', 'libsvtav1', '-preset', '12', '-pix_fmt', 'yuv420p', '-g', '50'];
const OPUS = ['-c:a', 'libopus', '-b:a', '64k'];
const TELEPHONE = ['-ar', '8000'];

const RECIPES: Readonly<Record<MediaKind, readonly [name: string, args: readonly string[]]>> = {
  'h264-aac': ['h264-aac.mp4', [...FROM_COUNTER, ...FROM_SOUND, '-t', '60', ...X264, ...AAC]],
  'h264-aac-20min': ['h264-aac-20min.mp4', LONG],
  'h264-aac-moov-first': [
    'h264-aac-moov-first.mp4',
    [...FROM_COUNTER, ...FROM_SOUND, '-t', '60', ...X264, ...AAC, '-movflags', '+faststart'],
  ],
  'h265-aac': [
    'h265-aac.mp4',
    [
      ...[...FROM_COUNTER, ...FROM_SOUND, '-t', '20', ...X265],
      ...['-x265-params', 'log-level=error:bframes=2:keyint=50', ...AAC],
    ],
  ],
  'h264-only': ['h264-only.mp4', [...FROM_COUNTER, '-t', '60', ...X264]],
  'aac-only': ['aac-only.m4a', [...FROM_SOUND, '-t', '60', ...AAC]],
  'flash-beep': [
    'flash-beep.mp4',
    [...['-f', 'lavfi', '-i', FLASH, '-f', 'lavfi', '-i', BEEP, '-t', '20'], ...X264, '-crf', '18', ...AAC],
  ],
  'av1-opus': ['av1-opus.mp4', [...NUMBERED, ...AV1, ...OPUS]],
  'av1-aac': ['av1-aac.mp4', [...NUMBERED, ...AV1, ...AAC, '-aac_pns', '0']],
  'h265-opus': [
    'h265-opus.mp4',
    [...NUMBERED, ...X265, '-x265-params', 'log-level=error:bframes=2:keyint=50', ...OPUS, '-ac', '2'],
  ],
  'h264-alaw': ['h264-alaw.mov', [...NUMBERED, ...X264, '-c:a', 'pcm_alaw', ...TELEPHONE]],
  'opus-only': ['opus-only.mp4', [...FROM_SOUND, '-t', '10', ...OPUS]],
  'ulaw-only': ['ulaw-only.mov', [...FROM_SOUND, '-t', '10', '-c:a', 'pcm_mulaw', ...TELEPHONE, '-ac', '2']],
};

/** Path of a media file of this kind. The file is shared: do not change it. */
export function mediaFile(kind: MediaKind): Promise<string> {
  const [name, args] = RECIPES[kind];
  return makeMedia(name, args);
}

/** Path of the file that `ffmpeg ARGS NAME` makes; made only if this very command has not been run before. */
export async function makeMedia(name: string, args: readonly string[]): Promise<string> {
  const command = ['-hide_banner', '-v', 'error', '-nostdin', ...args, '-fflags', '+bitexact', '-y'];
  const hash = createHash('sha256')
    .update(JSON.stringify([name, command]))
    .digest('hex')
    .slice(0, 16);
  const folder = join(tmpdir(), `footage-test-media-${hash}`);
  const path = join(folder, name);
  if (await exists(path)) return path;
  await mkdir(folder, { recursive: true });
  const unfinished = join(folder, `${randomUUID()}${extname(name)}`);
  try {
    await run('ffmpeg', [...command, unfinished]);
    await rename(unfinished, path);
  } finally {
    await rm(unfinished, { force: true });
  }
  return path;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
