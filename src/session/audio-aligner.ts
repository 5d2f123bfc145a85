/**
 * Lays the frames of one audio track end to end; at each discontinuity whole frames are dropped or silence is inserted,
 * and the rest, never more than half a frame, is carried on: players that ignore the time of audio samples stay in step.
 */
import { FootageError } from '../errors.ts';
import type { Track } from '../media.ts';
import { isG711, preRollSeconds } from '../mp4/codec.ts';
import { editsOf } from '../mp4/edits.ts';
import type { ItemGroup, RunTrack } from './run.ts';
import type { Part, Selection } from './select.ts';
import { silentFrame } from './silence.ts';
import { type AnswerTrack, type Piece, pieceOf } from './pieces.ts';

/** Half a tick may come out of the division a little smaller than it is. */
const ROUNDING_TICKS = 1e-6;

export class AudioAligner {
  readonly #rank: number;
  readonly #movieTimescale: number;
  readonly #timescale: number;
  readonly #pieces: Piece[] = [];
  #silence: Uint8Array | undefined;
  #codec = '';
  /** Where the first frame begins and where the audio laid so far ends; undefined before the first frame. */
  #first: number | undefined;
  #end: number | undefined;
  /** Length of the last frame laid, as its run tells it. */
  #frameTicks = 0;
  /** Length of a whole frame, ticks. */
  #wholeFrame = 0;
  #dropped = 0;

  constructor(rank: number, movieTimescale: number, timescale: number) {
    this.#rank = rank;
    this.#movieTimescale = movieTimescale;
    this.#timescale = timescale;
  }

  /** `starts` and `ends` are those of the parts, in movie ticks. */
  run(parts: readonly Part[], starts: readonly number[], ends: readonly number[]): AnswerTrack {
    parts.forEach((part, i) => {
      const audio = part.audios[this.#rank];
      if (audio === undefined) return;
      this.#prepare(part, audio);
      this.#addPart(part, i, this.#withPriming(part, audio), starts[i] ?? 0, ends[i] ?? 0);
    });
    const first = this.#first ?? 0;
    const end = Math.min(this.#end ?? 0, this.#toOwn(ends.at(-1) ?? Infinity));
    const edits = editsOf({
      timescale: this.#timescale,
      movieTimescale: this.#movieTimescale,
      origin: -first,
      first: 0,
      end: end - first,
    });
    return {
      kind: 'audio',
      rank: this.#rank,
      timescale: this.#timescale,
      pieces: this.#pieces,
      edits,
      durationTicks: (this.#end ?? 0) - first,
      raise: 0,
      silence: this.#silence,
      droppedFrames: this.#dropped,
    };
  }

  #toOwn(movieTicks: number): number {
    return (movieTicks * this.#timescale) / this.#movieTimescale;
  }

  /** One decoder configuration has one frame length, and one silence. */
  #prepare({ run }: Part, { source, from, to }: Selection): void {
    if (this.#wholeFrame > 0) return;
    const [group] = source.groups(from, to);
    const track = run.segments[group?.segment ?? 0]?.tracks[source.index];
    if (track === undefined) throw new RangeError('a selection has a track');
    const usual = usualLength(source, from, to);
    this.#wholeFrame = Math.round(wholeSeconds(usual / source.timescale, track) * this.#timescale);
    this.#codec = track.codec;
    this.#silence = silentFrame(track, usual);
  }

  /** The answer's first audio brings what its decoder needs: all priming, or else the frames before. */
  #withPriming({ nothingBefore }: Part, audio: Selection): Selection {
    if (this.#end !== undefined || nothingBefore) return audio;
    const { source } = audio;
    const preroll = preRollSeconds(this.#codec) * source.timescale;
    const { items } = source;
    const begins = items.dts[audio.from] ?? 0;
    const endOf = (item: number) => (items.dts[item] ?? 0) + (items.duration[item] ?? 0);
    const primed = endOf(audio.from - 1) <= 0;
    let from = audio.from;
    const isWanted = () => primed || begins - (items.dts[from] ?? 0) < preroll;
    while (from > 0 && isWanted() && endOf(from - 1) === items.dts[from] && isSingle(source, from - 1)) from--;
    return { ...audio, from };
  }

  #addPart(part: Part, index: number, { source, from, to }: Selection, start: number, end: number): void {
    const scale = this.#timescale / source.timescale;
    const shift = this.#toOwn(start) - part.originS * this.#timescale;
    const until = this.#toOwn(end);
    let expected: number | undefined;
    for (const group of source.groups(from, to)) {
      const laid = this.#layGroup(group, { part: index, source, scale, shift, until, expected });
      if (laid === 'end') return;
      expected = laid;
    }
  }

  /** Lays the items of a group; returns where the next item has to begin, or that the part has ended. */
  #layGroup(group: ItemGroup, to: Laying): number | undefined | 'end' {
    const { source, scale } = to;
    const { items } = source;
    let expected = to.expected;
    let open: { from: number; start: number } | undefined;
    const close = (end: number) => {
      if (open === undefined) return;
      const count = group.kind === 'block' ? group.count : end - open.from;
      const sample = group.sample + open.from - group.from;
      const place = { part: to.part, source, start: open.start };
      this.#pieces.push(pieceOf({ ...group, from: open.from, to: end, sample, count }, place));
      open = undefined;
    };
    for (let i = group.from; i < group.to; i++) {
      const dts = items.dts[i] ?? 0;
      const duration = items.duration[i] ?? 0;
      const at = dts * scale + to.shift;
      if (at >= to.until - 1e-6) {
        close(i);
        return 'end';
      }
      const seamless = expected === dts;
      if (!seamless) close(i);
      const keep = seamless || this.#align(at, to.part);
      expected = keep ? dts + duration : undefined;
      if (!keep) {
        this.#dropped += group.kind === 'block' ? group.count : 1;
        continue;
      }
      const begin = this.#end ?? Math.round(at + ROUNDING_TICKS);
      this.#first ??= begin;
      open ??= { from: i, start: begin };
      this.#frameTicks = Math.round((group.kind === 'block' ? group.lastTicks : duration) * scale);
      this.#end = begin + Math.round(duration * scale);
    }
    close(group.to);
    return expected;
  }

  /**
   * Encoders tell the last frame shorter than it is decoded: something follows it here, so it counts whole. A frame of
   * G.711 is as long as it has bytes.
   */
  #makeWhole(end: number): number {
    if (isG711(this.#codec)) return end;
    const missing = Math.max(0, this.#wholeFrame - this.#frameTicks);
    const last = this.#pieces.at(-1);
    if (missing === 0 || last === undefined || last.kind !== 'samples') return end;
    this.#frameTicks += missing;
    last.lastTicks = this.#frameTicks;
    return end + missing;
  }

  /** Brings the end of the audio to within half a frame of `at`; false if the frame that begins there is to be dropped. */
  #align(at: number, part: number): boolean {
    if (this.#end === undefined) return true;
    this.#end = this.#makeWhole(this.#end);
    const missing = (at - this.#end) / this.#wholeFrame;
    if (missing < -0.5) return false;
    const frames = Math.round(missing);
    if (frames <= 0) return true;
    if (this.#silence === undefined) throw noSilence(this.#codec);
    if (frames * this.#wholeFrame > MAX_SILENCE_S * this.#timescale)
      throw tooSilent(frames * this.#wholeFrame, this.#timescale);
    this.#frameTicks = this.#wholeFrame;
    this.#pieces.push({ kind: 'silence', part, count: frames, start: this.#end, frameTicks: this.#wholeFrame });
    this.#end += frames * this.#wholeFrame;
    return true;
  }
}

interface Laying {
  readonly part: number;
  readonly source: RunTrack;
  readonly scale: number;
  /** From ticks of the source, scaled, to those of the answer. */
  readonly shift: number;
  /** Where the part ends. */
  readonly until: number;
  readonly expected: number | undefined;
}

/** As long as a picture of 90 kHz can be held (2³² ticks). */
const MAX_SILENCE_S = 47_721;

function tooSilent(ticks: number, timescale: number): FootageError {
  return new FootageError(
    'E_GAP',
    `Silence would have to last ${Math.round(ticks / timescale / 3600)} hours: ask for a shorter range, or for gaps=collapse.`,
  );
}

function noSilence(codec: string): FootageError {
  return new FootageError(
    'E_CHANGES',
    `The audio (${codec}) pauses in this range and Footage has no silence for it: ask for a range without the pause, or for tracks=video.`,
  );
}

function isSingle(source: RunTrack, item: number): boolean {
  return source.groups(item, item + 1)[0]?.kind === 'window';
}

/** A frame is so many samples as it is decoded, which a coarse timescale may not tell exactly. */
function wholeSeconds(told: number, { sampleRate }: Track): number {
  return sampleRate === undefined || sampleRate === 0 ? told : Math.round(told * sampleRate) / sampleRate;
}

/** The length of most frames among the single items of a selection, ticks. */
function usualLength(source: RunTrack, from: number, to: number): number {
  const counts = new Map<number, number>();
  let usual = 0;
  for (const { kind, from: first, to: end } of source.groups(from, to)) {
    if (kind === 'block') continue;
    for (let i = first; i < end; i++) {
      const length = source.items.duration[i] ?? 0;
      const count = (counts.get(length) ?? 0) + 1;
      counts.set(length, count);
      if (count > (counts.get(usual) ?? 0)) usual = length;
    }
  }
  return usual;
}
