/** What ffmpeg is asked to write of what an input holds: which tracks, each as it is or not, and in which format. */
import { FootageError } from '../errors.ts';
import { LIST_FD, type ProbedStream } from './ffmpeg.ts';

/** What becomes of sound: kept as it is if it can be, else as AAC; always as AAC; left out. */
export type AudioChoice = 'auto' | 'aac' | 'none';

const VIDEO_CODECS: ReadonlySet<string> = new Set(['h264', 'hevc', 'av1']);
/** Sound that is kept as it is, and which muxer takes it: FFmpeg's mp4 has no G.711, its mov no Opus. */
export const AUDIO_MUXERS: ReadonlyMap<string, 'mp4' | 'mov'> = new Map([
  ['aac', 'mp4'],
  ['opus', 'mp4'],
  ['pcm_alaw', 'mov'],
  ['pcm_mulaw', 'mov'],
]);

/** Edits in this timescale are exact for 90 kHz, 48 kHz and 8 kHz. */
const MOVIE_TIMESCALE = 720_000;
const MUX_FLAGS = '+delay_moov+default_base_moof+skip_trailer';
/** A fragment for each picture; of sound for so long, µs: each fragment costs a write there and a read here. */
const PICTURE_FRAGMENTS = ['-movflags', `${MUX_FLAGS}+frag_every_frame`];
const SOUND_FRAGMENTS = ['-movflags', MUX_FLAGS, '-frag_duration', '100000'];

interface AudioLayout {
  readonly muxer: 'mp4' | 'mov';
  readonly encoder: 'copy' | 'aac';
  /** FFmpeg's name of what comes. */
  readonly codec: string;
}

/** What a child is asked to write. */
export interface Layout {
  readonly video: ProbedStream | undefined;
  readonly audio: AudioLayout | undefined;
  readonly notes: readonly string[];
}

/** Parameter sets belong into the sample entry: players want `hvc1`, FFmpeg writes `hev1` by itself. */
export function videoTag(codecs: readonly string[]): string[] {
  return codecs.includes('hevc') ? ['-tag:v', 'hvc1'] : [];
}

/** @throws FootageError E_INPUT_UNSUPPORTED */
export function checkVideoCodec(codec: string, shown: string): void {
  if (VIDEO_CODECS.has(codec)) return;
  throw new FootageError(
    'E_INPUT_UNSUPPORTED',
    `${shown} has ${codec} video, which is not recorded: set the camera to H.264, H.265 or AV1 (often at another of its addresses), or convert the file.`,
  );
}

/** @throws FootageError E_INPUT_UNSUPPORTED */
export function chooseLayout(streams: readonly ProbedStream[], choice: AudioChoice, shown: string): Layout {
  const video = streams.find(({ kind }) => kind === 'video');
  if (video !== undefined) checkVideoCodec(video.codec, shown);
  const sound = choice === 'none' ? undefined : streams.find(({ kind }) => kind === 'audio');
  if (video === undefined && sound === undefined) {
    throw new FootageError('E_INPUT_UNSUPPORTED', `${shown} has sound only, and that is left out: choose to keep it.`);
  }
  if (sound === undefined) return { video, audio: undefined, notes: [] };
  const muxer = AUDIO_MUXERS.get(sound.codec);
  if (muxer !== undefined && choice === 'auto')
    return { video, audio: { muxer, encoder: 'copy', codec: sound.codec }, notes: [] };
  const isAac = sound.codec === 'aac';
  const kept = isAac || choice === 'aac';
  const notes = kept ? [] : [`its sound (${sound.codec}) is recorded as AAC, since it cannot be kept as it is`];
  return { video, audio: { muxer: 'mp4', encoder: isAac ? 'copy' : 'aac', codec: sound.codec }, notes };
}

/** The arguments of one output for each track, the first at `LIST_FD` + 1. */
export function outputArguments({ video, audio }: Layout): string[] {
  const tracks = [
    ...(video === undefined
      ? []
      : [{ map: '0:v:0', muxer: 'mp4', options: [...videoOptions(video), ...PICTURE_FRAGMENTS] }]),
    ...(audio === undefined
      ? []
      : [{ map: '0:a:0', muxer: audio.muxer, options: [...audioOptions(audio), ...SOUND_FRAGMENTS] }]),
  ];
  const fragments = ['-movie_timescale', `${MOVIE_TIMESCALE}`, '-write_prft', 'wallclock'];
  return tracks.flatMap(({ map, muxer, options }, i) => [
    ...['-map', map, ...options, '-f', muxer, ...fragments, '-flush_packets', '1', `pipe:${LIST_FD + 1 + i}`],
  ]);
}

function videoOptions({ codec }: ProbedStream): string[] {
  // RTSP with B-frames: the first packet has no presentation time, and mov would write the least one there is. It gets its
  // decode time, by which first-times.ts knows it.
  const filter = String.raw`setts=pts=if(eq(PTS\,NOPTS)\,if(eq(DTS\,NOPTS)\,0\,DTS)\,PTS)`;
  return ['-c:v', 'copy', '-bsf:v', filter, ...videoTag([codec])];
}

function audioOptions({ encoder, codec }: AudioLayout): string[] {
  // MPEG-TS carries AAC with ADTS headers; what comes without them goes through unchanged.
  const filter = encoder === 'copy' && codec === 'aac' ? ['-bsf:a', 'aac_adtstoasc'] : [];
  return ['-c:a', encoder, ...filter];
}
