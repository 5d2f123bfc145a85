/**
 * The units of a fragmented answer: stretches of payload that are cut into fragments by themselves. Each window and each
 * block of a segment is one, and each packed segment.
 */
import { type AnswerTrack, type Piece, segmentOf, type StoredPiece } from './pieces.ts';
import type { KeyPiece, PlacedKeys } from './keyframes.ts';
import type { LaneSilence } from './fragment-lanes.ts';
import { blockBytes, type Payload, type PiecePlace } from './payload.ts';
import type { PlanSegment } from './run.ts';
import type { Part } from './select.ts';
import type { Timeline } from './timeline.ts';

/** A track of the answer as fragments tell it. */
export interface FragmentTrack {
  readonly id: number;
  readonly track: AnswerTrack;
  /** Taken from times of pieces: media time 0 is the first sample's, or earlier where the track begins later than others. */
  readonly origin: number;
  /** Added to every composition offset: with negative ones FFmpeg shows the pictures of fragments late. */
  readonly raise: number;
}

export interface UnitPiece {
  readonly piece: StoredPiece | KeyPiece;
  readonly place: PiecePlace;
  /** Silence in front of it. */
  readonly silences: readonly Omit<LaneSilence, 'before'>[];
  /** Of a time-lapse: the pictures behind it. */
  readonly next: PlacedKeys | undefined;
}

/** The pieces of a track in a unit; at least one. */
export interface UnitLane {
  readonly track: FragmentTrack;
  readonly pieces: readonly UnitPiece[];
}

/** Bytes [start, end) of the payload, and what is in them. */
export interface PlannedUnit {
  readonly segment: PlanSegment;
  readonly lanes: readonly UnitLane[];
  readonly start: number;
  readonly end: number;
}

interface Draft {
  readonly segment: PlanSegment;
  readonly lanes: Map<FragmentTrack, UnitPiece[]>;
  start: number;
}

export function fragmentTracks({ tracks, timescale }: Timeline): FragmentTrack[] {
  return tracks.map((track, i) => {
    const [first] = track.pieces;
    const begin = first === undefined || first.kind === 'keys' ? 0 : first.start;
    return { id: i + 1, track, origin: begin - waitOf(track, timescale), raise: raiseOf(track) };
  });
}

/** Ticks that a track begins later than the answer. Not all players heed an empty edit in front of fragments. */
function waitOf({ edits, timescale }: AnswerTrack, movieTimescale: number): number {
  const [first] = edits;
  return first?.mediaTime === -1 ? Math.round((first.duration * timescale) / movieTimescale) : 0;
}

/** As far as the windows tell, and in them are whole GOPs. */
function raiseOf({ kind, pieces, timescale, raise }: AnswerTrack): number {
  let lowest = -raise;
  for (const piece of kind === 'video' ? pieces : []) {
    if (piece.kind !== 'samples') continue;
    const { items, timescale: own } = piece.source;
    for (let i = piece.from; i < piece.to; i++) {
      lowest = Math.min(lowest, Math.round(((items.compositionOffset[i] ?? 0) * timescale) / own));
    }
  }
  return -lowest;
}

/** In the order of the payload, which is that of time. */
export function unitsOf(parts: readonly Part[], tracks: readonly FragmentTrack[], payload: Payload): PlannedUnit[] {
  const drafts = new Map<string, Draft>();
  const borders = [payload.length];
  for (const track of tracks) {
    let silences: Omit<LaneSilence, 'before'>[] = [];
    for (const [i, piece] of track.track.pieces.entries()) {
      const place = placeOf(payload, piece);
      if (piece.kind === 'silence') {
        const at = place.kind === 'silence' ? place.at : 0;
        const bytes = piece.count * (track.track.silence?.byteLength ?? 0);
        silences.push({ count: piece.count, position: at, bytes, ticks: piece.count * piece.frameTicks });
        borders.push(at);
        continue;
      }
      addPiece(drafts, parts, track, { piece, place, silences, next: placedKeys(payload, track.track.pieces[i + 1]) });
      silences = [];
    }
  }
  const units = [...drafts.values()].toSorted((a, b) => a.start - b.start);
  const ends = borders.concat(units.map(({ start }) => start)).toSorted((a, b) => a - b);
  let next = 0;
  return units.map(({ segment, lanes, start }) => {
    while ((ends[next] ?? Infinity) <= start) next++;
    const own = tracks.flatMap((track) => laneOf(track, lanes.get(track)));
    return { segment, lanes: own, start, end: ends[next] ?? start };
  });
}

function placeOf({ places }: Payload, piece: Piece): PiecePlace {
  const place = places.get(piece);
  if (place === undefined) throw new RangeError('a piece has a place');
  return place;
}

function placedKeys(payload: Payload, piece: Piece | undefined): PlacedKeys | undefined {
  if (piece?.kind !== 'keys') return undefined;
  const place = placeOf(payload, piece);
  return place.kind === 'packed' ? { piece, segment: place.segment, at: place.at } : undefined;
}

function laneOf(track: FragmentTrack, pieces: readonly UnitPiece[] | undefined): UnitLane[] {
  return pieces === undefined ? [] : [{ track, pieces }];
}

function addPiece(drafts: Map<string, Draft>, parts: readonly Part[], track: FragmentTrack, own: UnitPiece): void {
  const { piece, place } = own;
  const segment = segmentOf(piece, parts);
  const zone = place.kind === 'packed' || piece.kind === 'keys' ? -1 : zoneOf(segment, piece);
  const key = `${piece.part}/${piece.segment}/${zone}`;
  const draft = drafts.get(key) ?? { segment, lanes: new Map<FragmentTrack, UnitPiece[]>(), start: Infinity };
  drafts.set(key, draft);
  const lane = draft.lanes.get(track);
  if (lane === undefined) draft.lanes.set(track, [own]);
  else lane.push(own);
  draft.start = Math.min(draft.start, startOf(segment, zone, place));
}

/** Index of the zone that holds a piece. */
function zoneOf({ zones }: PlanSegment, { source, sample }: StoredPiece): number {
  return zones.findIndex(({ from, to }) => sample >= (from[source.index] ?? 0) && sample < (to[source.index] ?? 0));
}

function startOf(segment: PlanSegment, zone: number, place: PiecePlace): number {
  if (place.kind === 'samples') return place.positions[0] ?? 0;
  if (place.kind === 'chain') throw new RangeError('fragments are cut segment by segment');
  return place.kind === 'block' ? blockBytes(segment, zone).from + place.shift : place.at;
}
