/**
 * The model, second half: the parts of an answer on one timeline. It says of every sample what must be read back, and
 * when it is presented.
 *
 * The rules: parts follow each other without gaps; each begins on a whole tick of the movie. If a part's first DTS would
 * not lie behind the last one, the part moves. Sound is laid frame by frame, end to end; where a frame does not follow
 * its forerunner, whole frames are dropped or silence is put in, so that it is off by half a frame at most.
 */
import { endDts, FLICKS, flicks, isHidden, type Line, pts, type Run, type Sample, ticks } from './footage.ts';
import { type Part, type Request, selectParts } from './select.ts';

export interface ExpectedSample {
  /** Undefined: a frame of silence. */
  readonly payload: Buffer | undefined;
  /** Parameter sets in front of it. */
  readonly prefix?: Buffer;
  /** Decode time; ticks of the track, 0 where the answer's presentation begins. */
  readonly at: number;
  readonly compositionOffset: number;
  readonly sync: boolean;
}

export interface ExpectedTrack {
  readonly kind: 'video' | 'audio';
  readonly timescale: number;
  readonly samples: readonly ExpectedSample[];
  /** How long the last sample lasts, ticks. */
  readonly lastDelta: number;
  /** What is presented, ticks of the answer. */
  readonly from: number;
  readonly to: number;
}

export interface ExpectedAnswer {
  readonly timescale: number;
  readonly tracks: readonly ExpectedTrack[];
  readonly hiddenPictures: number;
  readonly silentAudioFrames: number;
  readonly droppedAudioFrames: number;
  readonly widenedJoints: number;
}

/** `undecided`: more than one answer obeys the rules. */
export type Expected = ExpectedAnswer | { readonly error: 'E_RANGE_EMPTY' | 'E_CHANGES' } | 'undecided';

export function expectedAnswer(runs: readonly Run[], request: Request): Expected {
  const parts = selectParts(runs, request);
  if (parts.length === 0) return { error: 'E_RANGE_EMPTY' };
  const videos = parts.flatMap(({ run, video }) => (run.video !== undefined && video.length > 0 ? [run.video] : []));
  const audios = soundsOf(parts);
  if (parts.some(({ inHole }) => inHole)) return 'undecided';
  if (audios.some(({ lines }) => differ(lines))) return { error: 'E_CHANGES' };
  if (request.keyframes === true) return keyframesOf(parts, videos, request.speed ?? 1);
  const timescale = commonTimescale(videos.length > 0 ? videos : (audios[0]?.lines ?? []));
  const laid = layParts(parts, timescale, request);
  const layers = audios.map(({ rank, lines }) => new SoundLayer(rank, commonTimescale(lines)));
  const sounds = layers.map((layer) => layer.lay(laid));
  if (layers.some(({ undecided }) => undecided)) return 'undecided';
  return {
    timescale,
    tracks: [...(videos.length > 0 ? [layPictures(laid, timescale, differ(videos))] : []), ...sounds],
    hiddenPictures: parts.reduce((sum, { hidden }) => sum + hidden, 0),
    silentAudioFrames: layers.reduce((sum, { silent }) => sum + silent, 0),
    droppedAudioFrames: layers.reduce((sum, { dropped }) => sum + dropped, 0),
    widenedJoints: laid.filter(({ widened }) => widened).length,
  };
}

interface Sound {
  readonly rank: number;
  readonly lines: readonly Line[];
}

/** The lines of each rank that the parts have frames of. */
function soundsOf(parts: readonly Part[]): Sound[] {
  const sounds: Line[][] = [];
  for (const { run, audios } of parts) {
    audios.forEach((frames, rank) => {
      const line = run.audios[rank];
      if (line !== undefined && frames.length > 0) (sounds[rank] ??= []).push(line);
    });
  }
  return [...sounds.entries()].flatMap(([rank, lines]) => (lines === undefined ? [] : [{ rank, lines }]));
}

/** Sync samples alone, `speed` times as fast: each lasts until the next, the last one as long as pictures are shown. */
function keyframesOf(parts: readonly Part[], videos: readonly Line[], speed: number): ExpectedAnswer {
  const timescale = commonTimescale(videos);
  const prefixed = differ(videos);
  const samples: ExpectedSample[] = [];
  let time = 0;
  for (const part of parts) {
    const { pictures, video } = part;
    if (pictures === undefined) continue;
    const line = videoOf(part);
    for (const sample of video.filter(({ sync }) => sync)) {
      const at = flicks(line, pts(sample));
      if (at < pictures.from || at >= pictures.to) continue;
      samples.push({ ...sampleOf(line, sample, prefixed), at: ticks(timescale, at - pictures.from + time) });
    }
    time += pictures.to - pictures.from;
  }
  const to = ticks(timescale, time);
  const lastDelta = to - (samples.at(-1)?.at ?? 0);
  const track = { kind: 'video', timescale: timescale * speed, samples, lastDelta, from: 0, to } as const;
  const sounds = { silentAudioFrames: 0, droppedAudioFrames: 0 };
  return { timescale: timescale * speed, tracks: [track], hiddenPictures: 0, ...sounds, widenedJoints: 0 };
}

function sampleOf({ parameterSets }: Line, { payload, sync }: Sample, prefixed: boolean) {
  return { payload, compositionOffset: 0, sync, ...(prefixed && sync ? { prefix: parameterSets } : {}) };
}

const differ = (lines: readonly Line[]) => new Set(lines.map(({ configuration }) => configuration)).size > 1;

function commonTimescale(lines: readonly Line[]): number {
  return lines.reduce((common, { timescale }) => {
    let least = common;
    while (least % timescale !== 0) least += common;
    return least;
  }, 1);
}

/** A part with its place; all in flicks of the answer. */
interface LaidPart extends Part {
  readonly start: number;
  readonly until: number;
  readonly widened: boolean;
  /** What is added to times of pictures. */
  readonly shift: number;
}

/** The whole tick nearest to an instant, in flicks. */
const rounded = (instant: number, tick: number) => Math.round(instant / tick) * tick;

function layParts(parts: readonly Part[], timescale: number, request: Request): LaidPart[] {
  const tick = FLICKS / timescale;
  const laid: LaidPart[] = [];
  const firstUtcMs = parts[0]?.startUtcMs ?? 0;
  let time = 0;
  let lastDts = -Infinity;
  for (const part of parts) {
    if (request.gaps === 'freeze') {
      time = Math.max(time, rounded((part.startUtcMs - firstUtcMs) * (FLICKS / 1000), tick));
    }
    const origin = rounded(part.origin, tick);
    const dts = part.video.map((sample) => flicks(videoOf(part), sample.dts) - origin);
    const start = Math.max(time, dts[0] === undefined ? -Infinity : lastDts + tick - dts[0]);
    const shift = start - origin;
    lastDts = dts.length > 0 ? (dts.at(-1) ?? 0) + start : lastDts;
    const end = part.pictures === undefined ? rounded(part.end, tick) : part.pictures.to;
    const last = laid.length + 1 === parts.length;
    const until = last && !part.cutAtEnd ? Infinity : Math.max(start, end + shift);
    laid.push({ ...part, start, until, widened: start > time, shift });
    time = Math.max(start, end + shift);
  }
  return laid;
}

function videoOf({ run }: Part): Line {
  if (run.video === undefined) throw new Error('a part with pictures has video');
  return run.video;
}

function layPictures(parts: readonly LaidPart[], timescale: number, prefixed: boolean): ExpectedTrack {
  const toTicks = (instant: number) => ticks(timescale, instant);
  const samples: ExpectedSample[] = [];
  const shown: number[] = [];
  let lastDelta = 0;
  for (const part of parts) {
    for (const sample of part.video) {
      const line = videoOf(part);
      samples.push({
        ...sampleOf(line, sample, prefixed),
        at: toTicks(flicks(line, sample.dts) + part.shift),
        compositionOffset: toTicks(flicks(line, sample.compositionOffset)),
      });
      lastDelta = toTicks(flicks(line, sample.duration));
    }
    if (part.pictures === undefined) continue;
    shown.push(toTicks(part.pictures.from + part.shift), toTicks(part.pictures.to + part.shift));
  }
  return { kind: 'video', timescale, samples, lastDelta, from: Math.min(...shown), to: Math.max(...shown) };
}

/** Lays sound of one rank. Positions are ticks of the answer's audio. */
class SoundLayer {
  silent = 0;
  dropped = 0;
  undecided = false;
  readonly #rank: number;
  readonly #timescale: number;
  readonly #samples: ExpectedSample[] = [];
  /** Where the sound laid so far ends, and the length of its last frame. */
  #end = 0;
  #length = 0;
  /** The length of a whole frame. */
  #whole = 0;

  constructor(rank: number, timescale: number) {
    this.#rank = rank;
    this.#timescale = timescale;
  }

  lay(parts: readonly LaidPart[]): ExpectedTrack {
    for (const part of parts) {
      const line = part.run.audios[this.#rank];
      const frames = part.audios[this.#rank] ?? [];
      if (line !== undefined && frames.length > 0) this.#layPart(part, line, frames);
    }
    const limit = ticks(this.#timescale, parts.at(-1)?.until ?? Infinity);
    const from = Math.max(0, this.#samples[0]?.at ?? 0);
    const to = Math.min(this.#end, limit);
    return { kind: 'audio', timescale: this.#timescale, samples: this.#samples, lastDelta: this.#length, from, to };
  }

  #layPart(part: LaidPart, line: Line, frames: readonly Sample[]): void {
    const first = this.#samples.length === 0;
    if (first) this.#whole = Math.round(line.frameSeconds * this.#timescale);
    let forerunner: Sample | undefined;
    for (const frame of first && !part.bare ? withPriming(frames, line) : frames) {
      const instant = flicks(line, frame.dts) - part.origin + part.start;
      if (instant >= part.until) break;
      const follows = forerunner !== undefined && endDts(forerunner) === frame.dts;
      const kept = follows || this.#makeRoom(ticks(this.#timescale, instant));
      forerunner = kept ? frame : undefined;
      if (kept) this.#push(frame.payload, (frame.duration * this.#timescale) / line.timescale);
      else this.dropped++;
    }
  }

  #push(payload: Buffer | undefined, length: number): void {
    this.#samples.push({ payload, at: this.#end, compositionOffset: 0, sync: true });
    this.#length = length;
    this.#end += length;
  }

  /** Brings the end to within half a frame of `at`; false if the frame there has to go instead. */
  #makeRoom(at: number): boolean {
    if (this.#samples.length === 0) {
      this.#end = Math.round(at);
      return true;
    }
    // A short last frame is decoded whole.
    if (this.#length < this.#whole) {
      this.#end += this.#whole - this.#length;
      this.#length = this.#whole;
    }
    const missing = (at - this.#end) / this.#whole;
    // Exactly half a frame: either way is right, and rounding errors decide.
    if (Math.abs(Math.abs(missing % 1) - 0.5) < 1e-6) this.undecided = true;
    if (missing < -0.5) return false;
    for (let i = Math.round(missing); i > 0; i--, this.silent++) this.#push(undefined, this.#whole);
    return true;
  }
}

/** The answer's first sound brings what its decoder needs: all of the priming in front of it, else one frame. */
function withPriming(frames: readonly Sample[], { samples }: Line): readonly Sample[] {
  const before: Sample[] = [];
  let [next] = frames;
  for (const frame of samples.slice(0, next === undefined ? 0 : samples.indexOf(next)).toReversed()) {
    const needed = before.length === 0 || isHidden(frame);
    if (!needed || endDts(frame) !== next?.dts) break;
    before.unshift(frame);
    if (!isHidden(frame)) break;
    next = frame;
  }
  return [...before, ...frames];
}
