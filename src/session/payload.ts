/**
 * Where the bytes of an answer come from: the payload part of its virtual file, and the place of every piece in it.
 *
 * What a request leaves out is not in the answer: a stretch of a file goes out whole, delimiters included, only while
 * every sample in it is part of the answer. Where that cannot be (a track is left out, parameter sets come in between),
 * a segment is packed: nothing but its selected samples, worked out when they are reached.
 */
import type { SegmentRow } from '../catalog/catalog.ts';
import { FootageError } from '../errors.ts';
import { lowerBound } from '../segment/track-tables.ts';
import type { PlanSegment, RunTrack, StoredSegment } from './run.ts';
import { type PackedPick, PackedSegment, type PackedDeps, type Prefixes } from './packed.ts';
import type { TrackChoice } from './request.ts';
import type { Part } from './select.ts';
import { repeated } from './entries.ts';
import type { KeyPiece } from './keyframes.ts';
import type { AnswerTrack, Piece, SilentPiece, StoredPiece } from './pieces.ts';
import { partOf, type Slice, type StoredSlice } from './virtual-file.ts';

/** Between two samples of one slice lie only delimiters and small records; more than this is a hole in the file. */
const MAX_JOIN_BYTES = 4096;

/** Where a piece lies, counted from the first byte of the payload. */
export type PiecePlace =
  /** Position of each sample. */
  | { readonly kind: 'samples'; readonly positions: Float64Array }
  /** What is added to offsets in the file; of a chain, in that of each link. */
  | { readonly kind: 'block'; readonly shift: number }
  | { readonly kind: 'chain'; readonly shifts: Float64Array }
  | { readonly kind: 'packed'; readonly segment: PackedSegment; readonly at: number }
  | { readonly kind: 'silence'; readonly at: number };

export interface Payload {
  readonly slices: readonly Slice[];
  readonly length: number;
  readonly places: ReadonlyMap<Piece, PiecePlace>;
}

export interface PayloadOptions {
  readonly packed: PackedDeps;
  /** Parameter sets of each video segment, where an answer has several configurations. */
  readonly prefixes: Prefixes | undefined;
  /** Only the sync samples of the video. */
  readonly keyframes: boolean;
  /** Kinds of tracks that are in the answer: nothing of the others may be. */
  readonly sent: TrackChoice;
}

export function buildPayload(parts: readonly Part[], tracks: readonly AnswerTrack[], options: PayloadOptions): Payload {
  const writer = new PayloadWriter();
  const grouped = tracks.map(bySegment);
  const silences = silencesByPart(tracks);
  parts.forEach((part, p) => {
    for (const piece of silences.get(p) ?? []) writeSilence(writer, piece);
    const packed = isPacked(part, options);
    part.run.segments.forEach((segment, s) => {
      const pieces = grouped.map((own) => own.get(`${p}/${s}`) ?? []);
      if (pieces.every((own) => own.length === 0)) return;
      if (packed) writePacked(writer, segment, pieces, options);
      else writeStretches(writer, part, segment, pieces.flat().filter(isStored));
    });
  });
  writer.close();
  return { slices: writer.slices, length: writer.length, places: writer.places };
}

/** A piece that bytes of a segment stand behind. */
type MediaPiece = StoredPiece | KeyPiece;

/** The pieces of a track by part and segment. */
function bySegment({ pieces }: AnswerTrack): Map<string, MediaPiece[]> {
  const grouped = new Map<string, MediaPiece[]>();
  for (const piece of pieces) {
    if (piece.kind === 'silence') continue;
    const key = `${piece.part}/${piece.segment}`;
    const own = grouped.get(key);
    if (own === undefined) grouped.set(key, [piece]);
    else own.push(piece);
  }
  return grouped;
}

const isStored = (piece: MediaPiece): piece is StoredPiece => piece.kind !== 'keys';

/** Collects slices and places, counted from the first byte of the payload. */
class PayloadWriter {
  readonly slices: Slice[] = [];
  readonly places = new Map<Piece, PiecePlace>();
  length = 0;
  #path: string | undefined;
  #begin = 0;
  #end = 0;

  /** Bytes [offset, end) of a file that go into the answer; returns their position. */
  stretch(path: string, offset: number, end: number): number {
    const joins = this.#path === path && offset >= this.#end && offset - this.#end <= MAX_JOIN_BYTES;
    if (!joins) {
      this.close();
      this.#path = path;
      this.#begin = offset;
    }
    this.#end = end;
    return this.length + offset - this.#begin;
  }

  /** Ends the open slice: what comes next begins a new one. */
  close(): void {
    if (this.#path === undefined) return;
    this.add({ kind: 'file', path: this.#path, offset: this.#begin, length: this.#end - this.#begin });
    this.#path = undefined;
  }

  add(slice: Slice): void {
    this.slices.push(slice);
    this.length += slice.kind === 'bytes' ? slice.data.byteLength : slice.length;
  }
}

interface Silence {
  readonly piece: SilentPiece;
  readonly frame: Uint8Array;
}

function silencesByPart(tracks: readonly AnswerTrack[]): Map<number, Silence[]> {
  const found = new Map<number, Silence[]>();
  for (const { pieces, silence } of tracks) {
    for (const piece of pieces) {
      if (piece.kind !== 'silence' || silence === undefined) continue;
      const own = found.get(piece.part) ?? [];
      own.push({ piece, frame: silence });
      found.set(piece.part, own);
    }
  }
  return found;
}

/** Silent frames, in front of the data of their part. */
function writeSilence(writer: PayloadWriter, { piece, frame }: Silence): void {
  writer.close();
  writer.places.set(piece, { kind: 'silence', at: writer.length });
  writer.add(repeated(frame, piece.count));
}

/** A stretch of the file would hold more than the answer's own samples, or less. */
export function isPacked({ run, video }: Part, { prefixes, keyframes, sent }: Omit<PayloadOptions, 'packed'>): boolean {
  if (prefixes !== undefined || keyframes) return true;
  return run.tracks.some(({ kind, index }) => {
    if (sent !== 'all' && kind !== sent) return true;
    return kind === 'video' && video !== undefined && video.source.index !== index;
  });
}

function writePacked(
  writer: PayloadWriter,
  segment: PlanSegment,
  pieces: readonly (readonly MediaPiece[])[],
  { packed: deps, prefixes, keyframes }: PayloadOptions,
): void {
  const picks = pieces.flatMap((own): PackedPick[] => {
    const [first] = own;
    return first === undefined ? [] : [pickOf(segment, first.source, own, keyframes, prefixes)];
  });
  const packed = new PackedSegment(segment, picks, deps);
  writer.close();
  for (const piece of pieces.flat()) {
    writer.places.set(piece, { kind: 'packed', segment: packed, at: writer.length });
  }
  writer.add(packed.slice());
}

function pickOf(
  segment: PlanSegment,
  { index, kind }: RunTrack,
  pieces: readonly MediaPiece[],
  keyframes: boolean,
  prefixes: Prefixes | undefined,
): PackedPick {
  return {
    track: index,
    ranges: pieces.flatMap(rangesOf),
    keyframes,
    prefix: kind === 'video' ? prefixes?.of(segment) : undefined,
  };
}

function rangesOf(piece: MediaPiece): readonly { readonly from: number; readonly to: number }[] {
  return isStored(piece) ? [{ from: piece.sample, to: piece.sample + piece.count }] : piece.ranges;
}

/** Samples of a zone in file order, of one track. */
interface Lane {
  readonly source: RunTrack;
  /** The next item, and the end. */
  at: number;
  readonly end: number;
  /** Pieces of the answer among them, in order. */
  readonly pieces: StoredPiece[];
  /** File offset of a sample that is stored behind these but not known yet. */
  readonly behind: number;
}

/** Zone by zone: windows sample by sample, blocks as they lie in the file. */
function writeStretches(
  writer: PayloadWriter,
  { run }: Part,
  segment: PlanSegment,
  pieces: readonly StoredPiece[],
): void {
  segment.zones.forEach((zone, z) => {
    const own = pieces.filter(
      ({ source, sample }) => sample >= (zone.from[source.index] ?? 0) && sample < (zone.to[source.index] ?? 0),
    );
    if (own.length === 0) return;
    if (zone.kind === 'block') writeBlock(writer, segment, z, own);
    else writeWindow(writer, segment, lanesOf(run.tracks, segment, run.segments.indexOf(segment), z, own));
  });
}

function writeBlock(writer: PayloadWriter, segment: PlanSegment, z: number, pieces: readonly StoredPiece[]): void {
  if (segment.links.length > 1) {
    writeChain(writer, segment.links, pieces);
    return;
  }
  const { from, to } = blockBytes(segment, z);
  const shift = writer.stretch(segment.path, from, to) - from;
  for (const piece of pieces) writer.places.set(piece, { kind: 'block', shift });
}

/** All samples of each link, one link behind the other. */
function writeChain(writer: PayloadWriter, links: readonly StoredSegment[], pieces: readonly StoredPiece[]): void {
  writer.close();
  const shifts = new Float64Array(links.length);
  const ends = new Float64Array(links.length);
  let length = 0;
  links.forEach(({ row }, i) => {
    const { offset, end } = storedBytes(row);
    shifts[i] = writer.length + length - offset;
    length += end - offset;
    ends[i] = length;
  });
  for (const piece of pieces) writer.places.set(piece, { kind: 'chain', shifts });
  writer.add({ kind: 'computed', length, read: (from, to) => chainBytes(links, ends, from, to) });
}

function* chainBytes(
  links: readonly StoredSegment[],
  ends: Float64Array,
  from: number,
  to: number,
): Generator<StoredSlice, void, undefined> {
  for (let i = lowerBound(ends.length, (link) => ends[link] ?? 0, from + 1); i < links.length; i++) {
    const link = links[i];
    const begin = ends[i - 1] ?? 0;
    if (link === undefined || begin >= to) return;
    const { offset, end } = storedBytes(link.row);
    const whole = { kind: 'file', path: link.path, offset, length: end - offset } as const;
    yield partOf(whole, Math.max(0, from - begin), Math.min(whole.length, to - begin));
  }
}

/** Where all samples of a sealed segment lie in its file. @throws FootageError E_DAMAGED */
function storedBytes({ id, payload }: SegmentRow): { readonly offset: number; readonly end: number } {
  if (payload !== undefined && payload.end > payload.offset) return payload;
  throw new FootageError(
    'E_DAMAGED',
    `The trailer of segment ${id} does not say where its samples lie: run "footage verify".`,
  );
}

/** The stretch of the file that holds all samples of a block. */
export function blockBytes({ view, row, zones }: PlanSegment, z: number): { from: number; to: number } {
  if (view === undefined) {
    const { offset, end } = storedBytes(row);
    return { from: offset, to: end };
  }
  const zone = zones[z];
  let [from, to] = [Infinity, -Infinity];
  view.tracks.forEach(({ tables }, t) => {
    const [first = 0, end = 0] = [zone?.from[t], zone?.to[t]];
    if (end <= first) return;
    const last = tables.window(end - 1, end);
    from = Math.min(from, tables.chunkOffset(first));
    to = Math.max(to, (last.offset[0] ?? 0) + (last.size[0] ?? 0));
  });
  return { from, to };
}

function lanesOf(
  tracks: readonly RunTrack[],
  { view, zones }: PlanSegment,
  segment: number,
  z: number,
  pieces: readonly StoredPiece[],
): Lane[] {
  const zone = zones[z];
  return tracks.flatMap((source): Lane[] => {
    const [from = 0, to = 0] = [zone?.from[source.index], zone?.to[source.index]];
    const first = source.itemOf(segment, from);
    if (to <= from || first === undefined) return [];
    const tables = view?.tracks[source.index]?.tables;
    const behind = tables !== undefined && to === tables.count ? tables.behind : Infinity;
    const own = pieces.filter((piece) => piece.source === source);
    return [{ source, at: first, end: first + to - from, pieces: own, behind }];
  });
}

/**
 * Walks the samples of all lanes in file order; one that is left out ends the slice before it. A window may be that of
 * thousands of parts: each walks from its first sample to its last.
 */
function writeWindow(writer: PayloadWriter, segment: PlanSegment, lanes: readonly Lane[]): void {
  const positions = new Map<StoredPiece, Float64Array>();
  if (skipToFirst(lanes)) writer.close();
  let wanted = 0;
  for (const { pieces } of lanes) {
    for (const piece of pieces) {
      wanted += piece.count;
      positions.set(piece, new Float64Array(piece.count));
      writer.places.set(piece, { kind: 'samples', positions: positions.get(piece) ?? new Float64Array(0) });
    }
  }
  for (;;) {
    const lane = nextLane(lanes);
    if (lane === undefined) return;
    if (wanted === 0) {
      writer.close();
      return;
    }
    const item = lane.at++;
    if (item >= lane.end) {
      writer.close();
      continue;
    }
    const { items } = lane.source;
    const piece = pieceAt(lane, item);
    const own = piece && positions.get(piece);
    const offset = items.offset[item] ?? 0;
    if (piece === undefined || own === undefined) {
      writer.close();
      continue;
    }
    own[item - piece.from] = writer.stretch(segment.path, offset, offset + (items.size[item] ?? 0));
    wanted--;
  }
}

/** Moves all lanes to the first sample of a piece, in file order; returns whether samples are left out before it. */
function skipToFirst(lanes: readonly Lane[]): boolean {
  let first = Infinity;
  for (const { source, pieces } of lanes) {
    const [piece] = pieces;
    if (piece !== undefined) first = Math.min(first, source.items.offset[piece.from] ?? Infinity);
  }
  let skipped = 0;
  for (const lane of lanes) {
    const { at, end, source } = lane;
    const count = lowerBound(end - at, (i) => source.items.offset[at + i] ?? 0, first);
    lane.at += count;
    skipped += count;
  }
  return skipped > 0;
}

/** The piece that holds an item; pieces that lie before it are dropped from the lane. */
function pieceAt({ pieces }: Lane, item: number): StoredPiece | undefined {
  while ((pieces[0]?.to ?? Infinity) <= item) pieces.shift();
  const [piece] = pieces;
  return piece !== undefined && piece.from <= item ? piece : undefined;
}

function nextLane(lanes: readonly Lane[]): Lane | undefined {
  let best: Lane | undefined;
  let bestOffset = Infinity;
  for (const lane of lanes) {
    const offset = offsetAt(lane);
    if (offset >= bestOffset) continue;
    best = lane;
    bestOffset = offset;
  }
  return best;
}

function offsetAt({ source, at, end, behind }: Lane): number {
  if (at < end) return source.items.offset[at] ?? Infinity;
  return at === end ? behind : Infinity;
}
