/** Which media time lies at which byte of an answer: for limits that go by what a player shows. */
import { blockBytes, type Payload, type PiecePlace } from './payload.ts';
import { type AnswerTrack, linkStarts, segmentOf, type SilentPiece, type StoredPiece } from './pieces.ts';
import { lastAtOrBelow } from './search.ts';
import type { Part } from './select.ts';

/** From here on it is as far as `ms`. */
interface Mark {
  readonly byte: number;
  readonly ms: number;
}

/** Marks in two columns. */
interface Course {
  readonly bytes: Float64Array;
  readonly ms: Float64Array;
}

/** Media time as a function of the position in the answer: straight between marks, nothing in front of the first. */
export class MediaTimes {
  /** Of an answer that has no media time, such as a playlist. */
  static readonly none = new MediaTimes(() => []);
  /** Until they are asked for: most answers are never paced by media time. */
  #marks: (() => readonly Mark[]) | undefined;
  #known: Course = { bytes: new Float64Array(), ms: new Float64Array() };

  /** Marks that are not behind their forerunner in both byte and time are left out. */
  constructor(marks: () => readonly Mark[]) {
    this.#marks = marks;
  }

  get #course(): Course {
    if (this.#marks === undefined) return this.#known;
    const rising: Mark[] = [];
    for (const mark of this.#marks()) {
      const last = rising.at(-1);
      if (last === undefined || (mark.byte > last.byte && mark.ms > last.ms)) rising.push(mark);
    }
    this.#known = {
      bytes: Float64Array.from(rising, ({ byte }) => byte),
      ms: Float64Array.from(rising, ({ ms }) => ms),
    };
    this.#marks = undefined;
    return this.#known;
  }

  /** Media between two positions in the answer, ms. */
  between(start: number, end: number): number {
    return this.#at(end) - this.#at(start);
  }

  #at(byte: number): number {
    const { bytes, ms } = this.#course;
    const count = bytes.length;
    if (count < 2) return 0;
    const i = Math.min(
      lastAtOrBelow(count, (j) => bytes[j] ?? 0, byte),
      count - 2,
    );
    const [from = 0, to = 0] = [bytes[i], bytes[i + 1]];
    const [fromMs = 0, toMs = 0] = [ms[i], ms[i + 1]];
    const part = Math.min(1, Math.max(0, (byte - from) / (to - from)));
    return fromMs + part * (toMs - fromMs);
  }
}

export interface MediaTimesInput {
  readonly parts: readonly Part[];
  /** Of the answer; the first gives its rhythm. */
  readonly tracks: readonly AnswerTrack[];
  readonly payload: Payload;
  /** Bytes of the whole answer, and of what a player needs before any media. */
  readonly lengthBytes: number;
  readonly headerBytes: number;
}

export function mediaTimesOf(input: MediaTimesInput): MediaTimes {
  const [track] = input.tracks;
  if (track === undefined || input.payload.length === 0) return MediaTimes.none;
  return new MediaTimes(() => marksOf(track, input));
}

/** One for each piece of the track, a few for a segment. */
function marksOf(track: AnswerTrack, { parts, payload, lengthBytes, headerBytes }: MediaTimesInput): Mark[] {
  // The headers of fragments lie between the media: each byte of payload stands for a little more.
  const scale = (lengthBytes - headerBytes) / payload.length;
  const msAt = (ticks: number) => (ticks * 1000) / track.timescale;
  const marks = track.pieces.flatMap((piece): Mark[] => {
    const found = piece.kind === 'keys' ? [] : begins(piece, payload.places.get(piece), track, parts);
    return found.map(({ at, ticks }) => ({ byte: headerBytes + at * scale, ms: msAt(ticks) }));
  });
  const [first] = track.pieces;
  // A time-lapse has no times by pieces: all of it goes at one rate.
  const startTicks = first === undefined || first.kind === 'keys' ? 0 : first.start;
  const start = { byte: headerBytes, ms: msAt(startTicks) };
  const end = { byte: lengthBytes, ms: msAt(startTicks + track.durationTicks) };
  return [start, ...marks, end];
}

/** A place in the payload, counted from its first byte, and its time in ticks of the track. */
interface Begin {
  readonly at: number;
  readonly ticks: number;
}

/** Where a piece begins; of a chain, where each link does. */
function begins(
  piece: StoredPiece | SilentPiece,
  place: PiecePlace | undefined,
  track: AnswerTrack,
  parts: readonly Part[],
): Begin[] {
  if (place === undefined || piece.kind === 'silence') return [];
  switch (place.kind) {
    case 'samples':
      return [{ at: place.positions[0] ?? 0, ticks: piece.start }];
    case 'packed':
      return [{ at: place.at, ticks: piece.start }];
    case 'block':
      return [{ at: place.shift + blockBegin(piece, parts), ticks: piece.start }];
    case 'chain':
      return linkBegins(piece, place.shifts, track, parts);
    default:
      return [];
  }
}

function blockBegin(piece: StoredPiece, parts: readonly Part[]): number {
  const { source, sample } = piece;
  const segment = segmentOf(piece, parts);
  const zone = segment.zones.findIndex(({ kind, from }) => kind === 'block' && from[source.index] === sample);
  return blockBytes(segment, zone).from;
}

function linkBegins(piece: StoredPiece, shifts: Float64Array, track: AnswerTrack, parts: readonly Part[]): Begin[] {
  const segment = segmentOf(piece, parts);
  const starts = linkStarts(piece, segment, track.timescale);
  return segment.links.map(({ row }, i) => ({
    at: (shifts[i] ?? 0) + (row.payload?.offset ?? 0),
    ticks: starts[i] ?? 0,
  }));
}
