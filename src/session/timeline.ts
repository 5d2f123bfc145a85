/**
 * Puts the parts of an answer on one timeline: where each piece of a track begins, joints between parts, and audio that
 * is aligned by whole frames at each discontinuity (docs/decisions.md, "Order and joints", "Audio is seamless").
 */
import { FootageError } from '../errors.ts';
import { editsOf } from '../mp4/edits.ts';
import { MAX_TIMESCALE } from '../mp4/movie.ts';
import { AudioAligner } from './audio-aligner.ts';
import { keyTimeline } from './keyframes.ts';
import { type AnswerTrack, pieceOf, type StoredPiece } from './pieces.ts';
import type { GapPolicy } from './request.ts';
import type { Part, Selection, Span } from './select.ts';

export interface Timeline {
  /** Ticks per second of the movie. */
  readonly timescale: number;
  /** Video first. */
  readonly tracks: readonly AnswerTrack[];
  /** Begin of each part on the answer's timeline, in movie ticks. */
  readonly starts: readonly number[];
  /** Joints that had to be widened so that DTS increase. */
  readonly widenedJoints: number;
}

/** Largest delta of `stts`. */
const MAX_DELTA = 2 ** 32 - 1;

/** The timescale in which all the selections of one kind are whole ticks. @throws FootageError E_CHANGES */
export function commonTimescale(timescales: readonly number[]): number {
  let common = 1;
  for (const timescale of timescales) {
    const next = leastCommonMultiple(common, timescale);
    if (next > MAX_TIMESCALE) throw noCommonTimescale(timescales);
    common = next;
  }
  return common;
}

function noCommonTimescale(timescales: readonly number[]): FootageError {
  const shown = [...new Set(timescales)].slice(0, 4).join(', ');
  return new FootageError(
    'E_CHANGES',
    `The timescales within the range (${shown} ticks a second) have no common one that MP4 can say: ask for a range of one recording.`,
  );
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

const present = <T>(value: T | undefined): value is T => value !== undefined;

export interface TimelineOptions {
  readonly gaps: GapPolicy;
  /** Only sync samples, `speed` times as fast. */
  readonly keyframes: boolean;
  readonly speed: number;
  /** Wall time that each part presents. */
  readonly spans: readonly Span[];
}

export function buildTimeline(parts: readonly Part[], options: TimelineOptions): Timeline {
  const videos = parts.map((part) => part.video).filter(present);
  if (options.keyframes) return lapse(parts, videos, options.speed);
  const audioCount = Math.max(0, ...parts.map(({ audios }) => audios.length));
  const ranks = Array.from({ length: audioCount }, (_, rank) => rank).filter((rank) =>
    parts.some(({ audios }) => audios[rank] !== undefined),
  );
  const audioScales = ranks.map((rank) => scaleOf(parts.map(({ audios }) => audios[rank]).filter(present)));
  const videoTimescale = scaleOf(videos);
  const timescale = videos.length > 0 ? videoTimescale : (audioScales[0] ?? 1);
  const joints = new Joints(timescale, videoTimescale);
  parts.forEach((part, i) => {
    if (options.gaps === 'freeze' && i > 0) joints.holdUntil(options.spans[i], options.spans[0]);
    joints.add(part, i + 1 === parts.length);
  });
  const tracks = videos.length > 0 ? [joints.videoTrack()] : [];
  ranks.forEach((rank, i) => {
    const aligner = new AudioAligner(rank, timescale, audioScales[i] ?? 1);
    tracks.push(aligner.run(parts, joints.starts, joints.ends));
  });
  return { timescale, tracks, starts: joints.starts, widenedJoints: joints.widened };
}

function scaleOf(selections: readonly Selection[]): number {
  return commonTimescale(selections.map(({ source }) => source.timescale));
}

function lapse(parts: readonly Part[], videos: readonly Selection[], speed: number): Timeline {
  const { pieces, timescale, endTicks, starts } = keyTimeline(parts, scaleOf(videos), speed);
  const track: AnswerTrack = {
    ...{ kind: 'video', rank: 0, timescale, pieces, durationTicks: endTicks, raise: 0 },
    ...{ edits: [{ duration: endTicks, mediaTime: 0 }], silence: undefined, droppedFrames: 0 },
  };
  return { timescale, tracks: [track], starts, widenedJoints: 0 };
}

/** Where parts begin, and the video samples. */
class Joints {
  /** Begin and end of each part on the answer's timeline, movie ticks. */
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  widened = 0;
  readonly #timescale: number;
  readonly #videoTimescale: number;
  readonly #pieces: StoredPiece[] = [];
  #lastDts = 0;
  #lastDuration = 0;
  #firstDts: number | undefined;
  #firstPicture = Infinity;
  #lastPictureEnd = 0;
  #time = 0;

  constructor(timescale: number, videoTimescale: number) {
    this.#timescale = timescale;
    this.#videoTimescale = videoTimescale;
  }

  /** Holds the last picture until the wall time of the next part, as the answer's begin tells it. */
  holdUntil(next: Span | undefined, first: Span | undefined): void {
    const sinceMs = (next?.startUtcMs ?? 0) - (first?.startUtcMs ?? 0);
    this.#time = Math.max(this.#time, Math.round((sinceMs * this.#timescale) / 1000));
  }

  add(part: Part, last: boolean): void {
    const { video, pictures } = part;
    const origin = Math.round(part.originS * this.#timescale);
    if (video !== undefined) this.#widen(video, origin);
    this.starts.push(this.#time);
    if (video === undefined || pictures === undefined) {
      this.#time += Math.max(0, Math.round(part.endS * this.#timescale) - origin);
    } else {
      this.#addVideo(video, origin);
      const scale = this.#videoTimescale / video.source.timescale;
      const shift = this.#time - origin;
      this.#firstPicture = Math.min(this.#firstPicture, Math.round(pictures.from * scale) + shift);
      this.#lastPictureEnd = Math.round(pictures.to * scale) + shift;
      this.#time = this.#lastPictureEnd;
    }
    this.ends.push(last && !part.cutAtEnd ? Infinity : this.#time);
  }

  /** A larger composition delay may put the first DTS behind the last one of the part before: then it moves. */
  #widen({ source, from }: Selection, origin: number): void {
    if (this.#firstDts === undefined) return;
    const scale = this.#videoTimescale / source.timescale;
    const firstDts = Math.round((source.items.dts[from] ?? 0) * scale) + this.#time - origin;
    const missing = this.#lastDts + 1 - firstDts;
    if (missing <= 0) return;
    this.#time += missing;
    this.widened++;
  }

  #addVideo({ source, from, to }: Selection, origin: number): void {
    const { items, timescale } = source;
    const scale = this.#videoTimescale / timescale;
    const shift = this.#time - origin;
    const tick = (dts: number) => Math.round(dts * scale) + shift;
    this.#joinAt(tick(items.dts[from] ?? 0));
    for (const group of source.groups(from, to)) {
      this.#pieces.push(
        pieceOf(group, { part: this.starts.length - 1, source, start: tick(items.dts[group.from] ?? 0) }),
      );
      const end = (items.dts[group.to - 1] ?? 0) + (items.duration[group.to - 1] ?? 0);
      this.#lastDts = tick(end - group.lastTicks);
      this.#lastDuration = tick(end) - this.#lastDts;
    }
  }

  /** The last sample of the part before lasts until this one begins. */
  #joinAt(start: number): void {
    const last = this.#pieces.at(-1);
    this.#firstDts ??= start;
    if (last === undefined) return;
    last.lastTicks = start - this.#lastDts;
    if (last.lastTicks > MAX_DELTA) throw tooLong(last.lastTicks / this.#videoTimescale);
  }

  videoTrack(): AnswerTrack {
    // Media time 0 is the first sample's DTS. A picture shown before it (negative composition offset) moves both.
    const lead = -(this.#firstDts ?? 0);
    const raise = Math.max(0, -Math.max(lead, this.#firstPicture + lead));
    const edits = editsOf({
      timescale: this.#videoTimescale,
      movieTimescale: this.#timescale,
      origin: lead + raise,
      first: this.#firstPicture + lead + raise,
      end: this.#lastPictureEnd + lead + raise,
    });
    return {
      kind: 'video',
      rank: 0,
      timescale: this.#videoTimescale,
      pieces: this.#pieces,
      edits,
      durationTicks: this.#lastDts + this.#lastDuration + lead,
      raise,
      silence: undefined,
      droppedFrames: 0,
    };
  }
}

function tooLong(seconds: number): FootageError {
  return new FootageError(
    'E_GAP',
    `A picture would have to be held for ${Math.round(seconds / 3600)} hours, longer than MP4 can say: ask for a shorter range, or for gaps=collapse.`,
  );
}
