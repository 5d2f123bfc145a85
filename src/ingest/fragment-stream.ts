/**
 * Reads a fragmented MP4 as it comes out of a pipe: a `moov`, then `moof` and `mdat` pairs (ISO/IEC 14496-12 8.8), each
 * perhaps behind a `prft` (8.16.5). One object reads one pipe; it does no I/O and keeps nothing of what it has told.
 *
 * Invariants: whatever the bytes are, `push` tells of whole samples or throws a FootageError; what is kept waiting is
 * bounded by the largest box that is taken.
 */
import { FootageError } from '../errors.ts';
import { type BoxHeader, Cursor, damaged, parseBoxHeader, printableFourcc } from '../mp4/box.ts';
import { ByteQueue } from './byte-queue.ts';
import { type MovieTrack, MovieReader } from '../mp4/reader.ts';

/** One sample of the pipe's only track; times in its ticks, on the timeline of the presentation. */
export interface StreamSample {
  readonly data: Uint8Array;
  readonly dts: number;
  readonly compositionOffset: number;
  readonly durationTicks: number;
  readonly sync: boolean;
  /** What the writer says of the wall time of this sample (`prft`), Unix ms. */
  readonly producerUtcMs: number | undefined;
}

export interface FragmentStreamListener {
  /** Once, before the first sample. */
  track(track: MovieTrack): void;
  sample(sample: StreamSample): void;
}

/** Larger than any frame of a camera. */
const MAX_MEDIA_BYTES = 64 * 2 ** 20;
/** Larger than any `moov` without samples, and any `moof`. */
const MAX_HEADER_BYTES = 2 ** 20;
/** Samples that need no bytes in the header of their fragment: ours have one sample each. */
const MAX_CONSTANT_SAMPLES = 65_536;
/** Longest header of a box. */
const HEADER_BYTES = 16;
/** Seconds from 1900 (NTP, RFC 5905 section 6) to 1970. */
const NTP_TO_UNIX_S = 2_208_988_800;
/** Seconds of an NTP era: the second one begins in 2036. */
const NTP_ERA_S = 2 ** 32;

/** A `moof` whose `mdat` has not come yet. */
interface OpenFragment {
  readonly body: Uint8Array;
  readonly bytes: number;
}

export class FragmentStream {
  readonly #listener: FragmentStreamListener;
  readonly #queue = new ByteQueue();
  #header: BoxHeader | undefined;
  #movie: { readonly reader: MovieReader; readonly track: MovieTrack; readonly shift: number } | undefined;
  #fragment: OpenFragment | undefined;
  #producerUtcMs: number | undefined;

  constructor(listener: FragmentStreamListener) {
    this.#listener = listener;
  }

  /** Takes the next bytes; they are not written again. @throws FootageError E_INPUT_FORMAT, E_INPUT_UNSUPPORTED */
  push(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    for (;;) {
      const header = (this.#header ??= parseBoxHeader(this.#queue.peek(HEADER_BYTES)));
      if (header === undefined) return;
      checkSize(header);
      const box = this.#queue.take(header.size);
      if (box === undefined) return;
      this.#header = undefined;
      this.#read(header, box.subarray(header.headerBytes));
    }
  }

  #read({ type, size, headerBytes }: BoxHeader, body: Uint8Array): void {
    if (type === 'moov') this.#readMovie(body);
    else if (type === 'prft') this.#producerUtcMs = producerTimeOf(body);
    else if (type === 'moof') this.#fragment = { body, bytes: size };
    else if (type === 'mdat') this.#readMedia(body, headerBytes);
  }

  #readMovie(body: Uint8Array): void {
    const reader = new MovieReader(body, Number.MAX_SAFE_INTEGER, MAX_CONSTANT_SAMPLES);
    const [track, ...others] = reader.tracks;
    const isOurs = track !== undefined && track.samples.count === 0 && others.length === 0;
    if (!isOurs || this.#movie !== undefined) {
      throw new FootageError(
        'E_INPUT_FORMAT',
        'A stream has one track and one header without samples: check that FOOTAGE_FFMPEG is an ffmpeg.',
      );
    }
    this.#movie = { reader, track, shift: presentationShift(track, reader.timescale) };
    this.#listener.track(track);
  }

  #readMedia(media: Uint8Array, headerBytes: number): void {
    const [movie, fragment] = [this.#movie, this.#fragment];
    if (movie === undefined || fragment === undefined) throw damaged(`'mdat' stands where no fragment was announced`);
    this.#fragment = undefined;
    movie.reader.addFragment(fragment.body, { start: 0, end: fragment.bytes });
    const samples = movie.reader.takeSamples(movie.track);
    for (let i = 0; i < (samples?.count ?? 0); i++) {
      const begin = (samples?.offset[i] ?? 0) - fragment.bytes - headerBytes;
      const end = begin + (samples?.size[i] ?? 0);
      if (begin < 0 || end > media.byteLength) throw damaged('a fragment names bytes that are not in its media data');
      this.#listener.sample({
        data: media.subarray(begin, end),
        dts: (samples?.dts[i] ?? 0) + movie.shift,
        compositionOffset: samples?.compositionOffset[i] ?? 0,
        durationTicks: samples?.duration[i] ?? 0,
        sync: samples?.sync[i] === 1,
        producerUtcMs: i === 0 ? this.#producerUtcMs : undefined,
      });
    }
    this.#producerUtcMs = undefined;
  }
}

function checkSize({ type, size }: BoxHeader): void {
  if (size > 0 && size <= (type === 'mdat' ? MAX_MEDIA_BYTES : MAX_HEADER_BYTES)) return;
  throw damaged(`a box '${printableFourcc(type)}' of ${size} bytes is in a stream`);
}

/** From media time to the presentation: what edits there are lead in (empty) or skip; ticks of the track. */
function presentationShift({ edits, timescale }: MovieTrack, movieTimescale: number): number {
  const media = edits.find(({ mediaTime }) => mediaTime >= 0);
  const empty = edits.filter(({ mediaTime }) => mediaTime < 0).reduce((sum, { duration }) => sum + duration, 0);
  return Math.round((empty * timescale) / movieTimescale) - (media?.mediaTime ?? 0);
}

/** NTP time of the sample behind a `prft`, as Unix ms. */
function producerTimeOf(body: Uint8Array): number {
  const cursor = new Cursor(body, 'prft');
  cursor.skip(8); // version, flags, reference_track_ID
  const seconds = cursor.u32();
  const inEra = seconds < NTP_TO_UNIX_S ? seconds + NTP_ERA_S : seconds;
  return (inEra - NTP_TO_UNIX_S + cursor.u32() / 2 ** 32) * 1000;
}
