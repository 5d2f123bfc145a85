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

/** Media time as a function of the position in the answer: straight between marks, nothing in front of the first. */
export class MediaTimes {
  /** Of an answer that has no media time, such as a playlist. */
  static readonly none = new MediaTimes([]);
  readonly #bytes: Float64Array;
  readonly #ms: Float64Array;

  /** Marks that are not behind their forerunner in both byte and time are left out. */
  constructor(marks: readonly Mark[]) {
    const rising: Mark[] = [];
    for (const mark of marks) {
      const last = rising.at(-1);
      if (last === undefined || (mark.byte > last.byte && mark.ms > last.ms)) rising.push(mark);
    }
    this.#bytes = Float64Array.from(rising, ({ byte }) => byte);
    this.#ms = Float64Array.from(rising, ({ ms }) => ms);
  }

  /** Media between two positions in the answer, ms. */
  between(start: number, end: number): number {
    return this.#at(end) - this.#at(start);
  }

  #at(byte: number): number {
    const count = this.#bytes.length;
    if (count < 2) return 0;
    const i = Math.min(
      lastAtOrBelow(count, (j) => this.#bytes[j] ?? 0, byte),
      count - 2,
    );
    const [from = 0, to = 0] = [this.#bytes[i], this.#bytes[i + 1]];
    const [fromMs = 0, toMs = 0] = [this.#ms[i], this.#ms[i + 1]];
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

/** A mark for each piece of the first track, a few for a segment. */
export function mediaTimesOf({ parts, tracks, payload, lengthBytes, headerBytes }: MediaTimesInput): MediaTimes {
  const [track] = tracks;
  if (track === undefined || payload.length === 0) return MediaTimes.none;
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
  return new MediaTimes([start, ...marks, end]);
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
