/**
 * Puts the parts of an answer on one timeline: the media times of every sample, joints between parts, and audio that is
 * aligned by whole frames at each discontinuity (design, "Order and joints", "Audio is seamless inside an answer").
 *
 * Positions are ticks of the answer's track, counted from the first presented instant of the answer.
 */
import { FootageError } from '../errors.ts';
import type { Track } from '../media.ts';
import type { Edit, MovieSamples } from '../mp4/movie.ts';
import { editsOf } from '../mp4/edits.ts';
import { type SampleTable, SampleTableBuilder } from '../mp4/tables.ts';
import type { Part, Selection } from './select.ts';
import { silentFrame } from './silence.ts';
import { refuseSamples } from './size.ts';

/** The samples of a part in a track of the answer. */
export interface Pick {
  readonly selection: Selection;
  /** For each sample of the selection its index in the answer's track, −1 if it was dropped. */
  readonly indexes: Int32Array;
}

/** One track of an answer; the positions of its bytes are settled by the slices. */
export interface AnswerTrack {
  readonly kind: 'video' | 'audio';
  readonly track: Track;
  readonly samples: MovieSamples & { readonly position: Float64Array };
  readonly edits: readonly Edit[];
  /** Per part: what of it went into this track. */
  readonly picks: readonly (Pick | undefined)[];
  /** Per part: indexes [from, to) of silent frames inserted in it. */
  readonly silent: readonly { readonly from: number; readonly to: number }[][];
  readonly silence: Uint8Array | undefined;
  readonly droppedFrames: number;
}

export interface Timeline {
  /** Ticks per second of the movie. */
  readonly timescale: number;
  readonly tracks: readonly AnswerTrack[];
  /** Begin of each part on the answer's timeline, in movie ticks. */
  readonly starts: readonly number[];
  /** Joints that had to be widened so that DTS increase. */
  readonly widenedJoints: number;
}

/** Larger common timescales are not worth exactness to the tick. */
const MAX_TIMESCALE = 100_000_000;

/** The samples laid so far, their `dts` being positions, as those of a track: each lasts until the next. */
function movieSamples(laid: SampleTableBuilder, lastDuration: number): AnswerTrack['samples'] {
  const { count, dts, duration, compositionOffset, size, sync, offset } = laid;
  for (let i = 0; i + 1 < count; i++) duration[i] = (dts[i + 1] ?? 0) - (dts[i] ?? 0);
  if (count > 0) duration[count - 1] = lastDuration;
  return { count, delta: duration, compositionOffset, size, sync, position: offset };
}

/** The timescale in which all the selections of one kind are whole ticks. */
function commonTimescale(selections: readonly Selection[]): number {
  let common = 1;
  for (const { source } of selections) {
    const next = leastCommonMultiple(common, source.track.timescale);
    if (next > MAX_TIMESCALE) return Math.max(...selections.map((selection) => selection.source.track.timescale));
    common = next;
  }
  return common;
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

const present = <T>(value: T | undefined): value is T => value !== undefined;

export function buildTimeline(parts: readonly Part[]): Timeline {
  const videos = parts.map((part) => part.video).filter(present);
  const audios = parts.map((part) => part.audio).filter(present);
  const videoTimescale = commonTimescale(videos);
  const audioTimescale = commonTimescale(audios);
  const timescale = videos.length > 0 ? videoTimescale : audioTimescale;
  const joints = new Joints(timescale, videoTimescale);
  parts.forEach((part, i) => joints.add(part, i + 1 === parts.length));
  const tracks: AnswerTrack[] = [];
  if (videos.length > 0) tracks.push(joints.videoTrack(parts));
  const [audio] = audios;
  if (audio !== undefined) {
    tracks.push(new AudioAligner(audio.source.track, timescale, audioTimescale).run(parts, joints));
  }
  return { timescale, tracks, starts: joints.starts, widenedJoints: joints.widened };
}

/** Where parts begin, and the video samples. */
class Joints {
  /** Begin and end of each part on the answer's timeline, movie ticks. */
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  widened = 0;
  readonly #timescale: number;
  readonly #videoTimescale: number;
  readonly #laid = new SampleTableBuilder();
  readonly #picks: (Pick | undefined)[] = [];
  #lastDuration = 0;
  #firstPicture = Infinity;
  #lastPictureEnd = 0;
  #time = 0;

  constructor(timescale: number, videoTimescale: number) {
    this.#timescale = timescale;
    this.#videoTimescale = videoTimescale;
  }

  add(part: Part, last: boolean): void {
    const { video, pictures } = part;
    const origin = Math.round(part.originS * this.#timescale);
    if (video !== undefined) this.#widen(video, origin);
    this.starts.push(this.#time);
    if (video === undefined || pictures === undefined) {
      this.#picks.push(undefined);
      this.#time += Math.max(0, Math.round(part.endS * this.#timescale) - origin);
    } else {
      this.#addVideo(video, origin);
      const scale = this.#videoTimescale / video.source.track.timescale;
      const shift = this.#time - origin;
      this.#firstPicture = Math.min(this.#firstPicture, Math.round(pictures.from * scale) + shift);
      this.#lastPictureEnd = Math.round(pictures.to * scale) + shift;
      this.#time = this.#lastPictureEnd;
    }
    this.ends.push(last && !part.cutAtEnd ? Infinity : this.#time);
  }

  /** A larger composition delay may put the first DTS behind the last one of the part before: then it moves. */
  #widen(video: Selection, origin: number): void {
    const { count, dts } = this.#laid;
    if (count === 0) return;
    const scale = this.#videoTimescale / video.source.track.timescale;
    const firstDts = Math.round((video.source.samples.dts[video.from] ?? 0) * scale) + this.#time - origin;
    const missing = (dts[count - 1] ?? 0) + 1 - firstDts;
    if (missing <= 0) return;
    this.#time += missing;
    this.widened++;
  }

  #addVideo(selection: Selection, origin: number): void {
    const { source, from, to } = selection;
    const { samples, track } = source;
    const scale = this.#videoTimescale / track.timescale;
    const shift = this.#time - origin;
    const indexes = new Int32Array(to - from);
    for (let i = from; i < to; i++) {
      const dts = Math.round((samples.dts[i] ?? 0) * scale) + shift;
      const cts = Math.round((samples.compositionOffset[i] ?? 0) * scale);
      indexes[i - from] = this.#laid.count;
      this.#laid.push(dts, 0, cts, samples.size[i] ?? 0, 0, samples.sync[i] === 1);
    }
    this.#lastDuration = Math.round((samples.duration[to - 1] ?? 0) * scale);
    this.#picks.push({ selection, indexes });
  }

  videoTrack(parts: readonly Part[]): AnswerTrack {
    const track = parts.map((part) => part.video).find(present)?.source.track;
    if (track === undefined) throw new RangeError('no video in these parts');
    const samples = movieSamples(this.#laid, this.#lastDuration);
    // Media time 0 is the first sample's DTS. A picture shown before it (negative composition offset) moves both.
    const lead = -(this.#laid.dts[0] ?? 0);
    const raise = Math.max(0, -Math.max(lead, this.#firstPicture + lead));
    const compositionOffset = raise === 0 ? samples.compositionOffset : samples.compositionOffset.map((c) => c + raise);
    const edits = editsOf({
      timescale: this.#videoTimescale,
      movieTimescale: this.#timescale,
      origin: lead + raise,
      first: this.#firstPicture + lead + raise,
      end: this.#lastPictureEnd + lead + raise,
    });
    return {
      kind: 'video',
      track: { ...track, timescale: this.#videoTimescale },
      samples: { ...samples, compositionOffset },
      edits,
      picks: this.#picks,
      silent: parts.map(() => []),
      silence: undefined,
      droppedFrames: 0,
    };
  }
}

/** The length of most frames of a track, ticks. */
function usualLength({ duration, count: frames }: SampleTable): number {
  const counts = new Map<number, number>();
  let usual = 0;
  for (let from = 0, to = 0; from < frames; from = to) {
    const length = duration[from] ?? 0;
    while (to < frames && duration[to] === length) to++;
    const count = (counts.get(length) ?? 0) + to - from;
    counts.set(length, count);
    if (count > (counts.get(usual) ?? 0)) usual = length;
  }
  return usual;
}

/** Lays audio frames end to end; at each discontinuity whole frames are dropped or silence is inserted. */
class AudioAligner {
  readonly #track: Track;
  readonly #movieTimescale: number;
  readonly #timescale: number;
  readonly #laid = new SampleTableBuilder();
  readonly #silence: Uint8Array | undefined;
  readonly #silent: { from: number; to: number }[][] = [];
  readonly #picks: (Pick | undefined)[] = [];
  /** Where the audio laid so far ends; undefined before the first frame. */
  #end: number | undefined;
  /** Length of the last frame laid, as its run tells it. */
  #frameLength = 0;
  /** Length of a whole frame, ticks. */
  #wholeFrame = 0;
  #dropped = 0;

  constructor(track: Track, movieTimescale: number, timescale: number) {
    this.#track = track;
    this.#movieTimescale = movieTimescale;
    this.#timescale = timescale;
    this.#silence = silentFrame(track);
  }

  run(parts: readonly Part[], joints: Joints): AnswerTrack {
    parts.forEach((part, i) => {
      this.#silent.push([]);
      const audio = part.audio;
      const [start = 0, end = 0] = [joints.starts[i], joints.ends[i]];
      this.#picks.push(audio && this.#addPart(part, this.#withPriming(audio), start, end));
    });
    const samples = movieSamples(this.#laid, this.#frameLength);
    const first = this.#laid.dts[0] ?? 0;
    const end = Math.min(this.#end ?? 0, this.#toOwn(joints.ends.at(-1) ?? Infinity));
    const edits = editsOf({
      timescale: this.#timescale,
      movieTimescale: this.#movieTimescale,
      origin: -first,
      first: 0,
      end: end - first,
    });
    return {
      kind: 'audio',
      track: { ...this.#track, timescale: this.#timescale },
      samples,
      edits,
      picks: this.#picks,
      silent: this.#silent,
      silence: this.#silence,
      droppedFrames: this.#dropped,
    };
  }

  #toOwn(movieTicks: number): number {
    return (movieTicks * this.#timescale) / this.#movieTimescale;
  }

  /** The answer's first audio brings what its decoder needs: all priming, or else one frame before. */
  #withPriming(audio: Selection): Selection {
    if (this.#end !== undefined) return audio;
    const { samples } = audio.source;
    const endOf = (i: number) => (samples.dts[i] ?? 0) + (samples.duration[i] ?? 0);
    let from = audio.from;
    while (from > 0 && endOf(from - 1) <= 0 && endOf(from - 1) === samples.dts[from]) from--;
    if (from === audio.from && from > 0 && endOf(from - 1) === samples.dts[from]) from--;
    return { ...audio, from };
  }

  #addPart(part: Part, audio: Selection, start: number, end: number): Pick {
    const { samples, track } = audio.source;
    const scale = this.#timescale / track.timescale;
    const shift = this.#toOwn(start) - part.originS * this.#timescale;
    const until = this.#toOwn(end);
    // One decoder configuration has one frame length.
    this.#wholeFrame ||= Math.round(usualLength(samples) * scale);
    const indexes = new Int32Array(audio.to - audio.from).fill(-1);
    let expected: number | undefined;
    for (let i = audio.from; i < audio.to; i++) {
      const dts = samples.dts[i] ?? 0;
      const duration = samples.duration[i] ?? 0;
      const at = dts * scale + shift;
      if (at >= until - 1e-6) break;
      const keep = expected === dts || this.#align(at);
      expected = dts + duration;
      if (!keep) {
        expected = undefined;
        this.#dropped++;
        continue;
      }
      this.#frameLength = Math.round(duration * scale);
      indexes[i - audio.from] = this.#push(this.#end ?? Math.round(at), samples.size[i] ?? 0);
    }
    return { selection: audio, indexes };
  }

  #push(at: number, size: number): number {
    this.#end = at + this.#frameLength;
    this.#laid.push(at, 0, 0, size, 0, true);
    return this.#laid.count - 1;
  }

  /** Encoders tell the last frame shorter than it is decoded: something follows it here, so it counts whole. */
  #wholeEnd(end: number): number {
    const missing = Math.max(0, this.#wholeFrame - this.#frameLength);
    this.#frameLength += missing;
    return end + missing;
  }

  /** Brings the end of the audio to within half a frame of `at`; false if the frame that begins there is to be dropped. */
  #align(at: number): boolean {
    if (this.#end === undefined) return true;
    this.#end = this.#wholeEnd(this.#end);
    const missing = (at - this.#end) / this.#wholeFrame;
    if (missing < -0.5) return false;
    const frames = Math.round(missing);
    if (frames <= 0) return true;
    if (this.#silence === undefined) {
      throw new FootageError(
        'E_CHANGES',
        `The audio (${this.#track.codec}) pauses in this range and Footage has no silence for it: ask for a range without the pause.`,
      );
    }
    const from = this.#laid.count;
    refuseSamples(from + frames);
    this.#frameLength = this.#wholeFrame;
    for (let i = 0; i < frames; i++) this.#push(this.#end, this.#silence.byteLength);
    this.#silent.at(-1)?.push({ from, to: this.#laid.count });
    return true;
  }
}
