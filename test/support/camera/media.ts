/**
 * What the test cameras send: real media made by FFmpeg, long enough that no test sees the end. Every picture and every
 * block of sound differs from all others, so a packet's hash says which one it is.
 *
 * White pictures and beeps begin together at each full second from the first on. Each track is a file of its own that
 * begins at 0 without an edit list, so the sound is made to begin where the first picture is decoded, before it is shown.
 */
import { makeMedia } from '../media.ts';
import type { AudioSource, Stream, VideoSource } from './stream.ts';

export const CAMERA_STREAMS = [
  'h264-aac',
  'h264-bframes-aac',
  'h265-opus',
  'h264-alaw',
  'h264-ulaw',
  'h264-only',
  'size-change',
  'audio-dies',
  'load',
] as const;
export type CameraStreamKind = (typeof CAMERA_STREAMS)[number];

/** Pictures per second of all kinds but `load`. */
export const CAMERA_FPS = 25;
/** A key picture each second. */
export const CAMERA_GOP = CAMERA_FPS;
/** How long a stream lasts; `load` has no end. */
export const CAMERA_STREAM_S = 65;
/** When the picture of `size-change` becomes smaller. */
export const SIZE_CHANGE_S = 6;
/** After how many frames of sound that of `audio-dies` ends: 2.56 s. */
export const AUDIO_DIES_AFTER_FRAMES = 120;
/** Pictures per second of `load`, and its video bit rate. */
export const LOAD_FPS = 30;
export const LOAD_BITS_PER_S = 4_000_000;

const REORDER_PICTURES = 2;
const IS_FLASH = `gte(n,${CAMERA_FPS})*not(mod(n,${CAMERA_FPS}))`;

/** Dark and moving; a flash leaves the lower part, which tells the pictures apart. */
function pictures(size: string, seconds = CAMERA_STREAM_S): string[] {
  const dark = `testsrc2=size=${size}:rate=${CAMERA_FPS}:duration=${seconds},lutyuv=y=val*0.4`;
  return ['-f', 'lavfi', '-i', `${dark},drawbox=c=white:t=fill:h=ih*0.8:enable='${IS_FLASH}'`];
}

/** A rising tone and a beep of 60 ms at each full second; the sound begins `leadS` before the first picture. */
function sound(rate: number, leadS = 0): string[] {
  const t = `(t+${(-leadS).toFixed(9)})`;
  const beep = `0.8*sin(2*PI*1000*${t})*gte(${t},0.99)*lt(mod(${t}+0.000001,1),0.06)`;
  const tone = `0.1*sin(2*PI*(200+3*t)*t)`;
  return ['-f', 'lavfi', '-i', `aevalsrc='${tone}+${beep}':s=${rate}:c=mono:d=${CAMERA_STREAM_S}`];
}

/** Times begin at 0 and are those in the file. */
const NO_EDITS = ['-use_editlist', '0'];

function x264(bFrames: number, params = ''): string[] {
  const gop = `keyint=${CAMERA_GOP}:min-keyint=${CAMERA_GOP}:scenecut=0:b-adapt=0${params}`;
  return [
    '-c:v',
    'libx264',
    '-preset',
    'ultrafast',
    '-pix_fmt',
    'yuv420p',
    '-bf',
    String(bFrames),
    '-x264-params',
    gop,
  ];
}

const X265 = [
  ...['-c:v', 'libx265', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-tag:v', 'hvc1'],
  ...['-x265-params', `log-level=error:bframes=0:scenecut=0:keyint=${CAMERA_GOP}:min-keyint=${CAMERA_GOP}`],
];

interface Encoder {
  readonly args: readonly string[];
  readonly rate: number;
  /** Samples that the encoder puts before the first one it was given. */
  readonly primingSamples: number;
}

const AUDIO: Readonly<Record<AudioSource['codec'], Encoder>> = {
  aac: { args: ['-c:a', 'aac', '-b:a', '64k', '-aac_coder', 'fast'], rate: 48_000, primingSamples: 1024 },
  opus: { args: ['-c:a', 'libopus', '-b:a', '48k', '-vbr', 'on'], rate: 48_000, primingSamples: 312 },
  alaw: { args: ['-c:a', 'pcm_alaw'], rate: 8000, primingSamples: 0 },
  ulaw: { args: ['-c:a', 'pcm_mulaw'], rate: 8000, primingSamples: 0 },
};

async function videoTrack(codec: VideoSource['codec'], bFrames: 0 | 2): Promise<VideoSource> {
  const encoder = codec === 'h264' ? x264(bFrames) : X265;
  const args = [...pictures('320x240'), ...encoder, ...NO_EDITS];
  return { codec, file: await makeMedia(`camera-${codec}-b${bFrames}.mp4`, args) };
}

async function audioTrack(codec: AudioSource['codec'], bFrames: 0 | 2): Promise<AudioSource> {
  const { args, rate, primingSamples } = AUDIO[codec];
  const reorderS = bFrames === 0 ? 0 : REORDER_PICTURES / CAMERA_FPS;
  const name = `camera-${codec}.${codec.endsWith('law') ? 'mov' : 'mp4'}`;
  return {
    codec,
    file: await makeMedia(name, [...sound(rate, reorderS - primingSamples / rate), ...args, ...NO_EDITS]),
  };
}

async function both(videoCodec: VideoSource['codec'], bFrames: 0 | 2, audioCodec: AudioSource['codec']) {
  const [video, audio] = await Promise.all([videoTrack(videoCodec, bFrames), audioTrack(audioCodec, bFrames)]);
  return { video, audio };
}

/** Pictures of 1280x720 at first and 640x360 after that; the parameter sets stand in front of each key picture. */
async function sizeChange(): Promise<Stream> {
  const parts = [
    await makeMedia('camera-720.h264', [...pictures('1280x720', SIZE_CHANGE_S), ...x264(0)]),
    await makeMedia('camera-360.h264', [...pictures('640x360', CAMERA_STREAM_S - SIZE_CHANGE_S), ...x264(0)]),
  ];
  const joined = ['-r', String(CAMERA_FPS), '-f', 'h264', '-i', `concat:${parts.join('|')}`];
  const file = await makeMedia('camera-size-change.mp4', [...joined, '-c', 'copy', ...NO_EDITS]);
  return { video: { file, codec: 'h264' } };
}

/** Six seconds of 1080p that begin again for ever: small to make, and as much work for who receives it as any other. */
async function load(): Promise<Stream> {
  const noise = `testsrc2=size=1920x1080:rate=${LOAD_FPS}:duration=6,noise=alls=14:allf=t`;
  const rate = [
    ...['-b:v', String(LOAD_BITS_PER_S), '-maxrate', String(LOAD_BITS_PER_S), '-bufsize', String(LOAD_BITS_PER_S / 2)],
    '-preset',
    'ultrafast',
    '-pix_fmt',
    'yuv420p',
    '-bf',
    '0',
  ];
  const gop = ['-x264-params', `keyint=${LOAD_FPS}:min-keyint=${LOAD_FPS}:scenecut=0`];
  const picture = ['-f', 'lavfi', '-i', noise, '-c:v', 'libx264', ...rate, ...gop];
  const video = await makeMedia('camera-load.h264', picture);
  const audio = await makeMedia('camera-load.aac', [...sound(48_000), '-t', '6', ...AUDIO.aac.args]);
  return {
    video: { file: video, codec: 'h264', container: 'elementary', loop: true },
    audio: { file: audio, codec: 'aac', container: 'elementary', loop: true },
  };
}

async function audioDies(): Promise<Stream> {
  const { video, audio } = await both('h264', 0, 'aac');
  return { video, audio: { ...audio, diesAfterFrames: AUDIO_DIES_AFTER_FRAMES } };
}

const MAKERS: Readonly<Record<CameraStreamKind, () => Promise<Stream>>> = {
  'h264-aac': () => both('h264', 0, 'aac'),
  'h264-bframes-aac': () => both('h264', 2, 'aac'),
  'h265-opus': () => both('h265', 0, 'opus'),
  'h264-alaw': () => both('h264', 0, 'alaw'),
  'h264-ulaw': () => both('h264', 0, 'ulaw'),
  'h264-only': async () => ({ video: await videoTrack('h264', 0) }),
  'size-change': sizeChange,
  'audio-dies': audioDies,
  load,
};

/** A stream of this kind, its media made if need be. The files are shared: do not change them. */
export function cameraStream(kind: CameraStreamKind): Promise<Stream> {
  return MAKERS[kind]();
}
