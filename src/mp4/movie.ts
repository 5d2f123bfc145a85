/**
 * Writes a `moov` around sample tables: the header of sealed segments and of answers (ISO/IEC 14496-12 section 8). The
 * tables are given as parts, so that a header can be made out of existing ones without looking into them.
 *
 * Every `moov` keeps the guarantees that let the next one be made out of it: `stsz` without a common size, `stts` in
 * maximal runs with the last sample in a run of its own, `ctts` and `stss` always present for video, always `co64`,
 * one sample description, version 1 of all boxes with times; 64-bit sizes where a box grows beyond 4 GiB.
 */
import type { Track } from '../media.ts';
import { box, boxHeader, fourcc, fullBox, i64, u8, u16, u32, u64, zeros } from './box.ts';
import { sampleGroups } from './sample-groups.ts';
import { MOVIE_TABLES, type MovieTable } from './table-writer.ts';

/** The file type box of everything that is written (4.3). */
export const FTYP = box(
  'ftyp',
  fourcc('isom'),
  u32(0x200),
  fourcc('isom'),
  fourcc('iso6'),
  fourcc('mp41'),
  fourcc('mp42'),
);

/** Largest timescale: players take it for a signed number. */
export const MAX_TIMESCALE = 2 ** 31 - 1;

/** One entry of the edit list (8.6.6). `mediaTime` −1 is an empty edit. */
export interface Edit {
  /** Ticks of the movie timescale. */
  readonly duration: number;
  /** Ticks of the track's timescale. */
  readonly mediaTime: number;
}

/** Anything with a length in bytes that stands for that many bytes of a `moov`. */
export interface MoviePart {
  readonly length: number;
}

/** Entries of one table: bytes, or what stands for them. */
export interface TableSpec<P extends MoviePart> {
  readonly version: number;
  /** Entries. */
  readonly count: number;
  readonly parts: readonly (Uint8Array | P)[];
}

export type TableSpecs<P extends MoviePart> = Readonly<Partial<Record<MovieTable, TableSpec<P>>>>;

export interface MovieTrackSpec<P extends MoviePart = never> {
  readonly track: Track;
  /** Sum of all deltas, ticks of the track (`mdhd`). */
  readonly durationTicks: number;
  readonly edits: readonly Edit[];
  readonly tables: TableSpecs<P>;
}

export interface MovieSpec<P extends MoviePart = never> {
  /** Ticks per second of the edits. */
  readonly timescale: number;
  /** Wall time that is written as creation time, Unix ms. */
  readonly creationUtcMs: number;
  readonly tracks: readonly MovieTrackSpec<P>[];
  /** Boxes appended to `moov`. */
  readonly extra: readonly Uint8Array[];
}

/** A box to be: bytes or what stands for them, or a container of boxes. */
type Node<P extends MoviePart> = Uint8Array | P | Container<P>;
interface Container<P extends MoviePart> {
  readonly type: string;
  readonly children: readonly Node<P>[];
}

const MAC_EPOCH_OFFSET_S = 2_082_844_800; // 1904-01-01 to 1970-01-01
const UNITY_MATRIX = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000].map((n) => u32(n));
const LANGUAGE_UND = 0x55c4;

/** The `moov`, part by part, in order. */
export function writeMovie<P extends MoviePart = never>(spec: MovieSpec<P>): (Uint8Array | P)[] {
  const tracks = spec.tracks.map((track, i) => trackBox(spec, track, i + 1));
  const parts: (Uint8Array | P)[] = [];
  append<P>({ type: 'moov', children: [movieHeader(spec), ...tracks, ...spec.extra] }, parts);
  return parts;
}

/** Bytes of the parts of a `moov`. */
export function movieLength(parts: readonly MoviePart[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

function isContainer<P extends MoviePart>(node: Node<P>): node is Container<P> {
  return 'children' in node;
}

/** Puts the parts of a node behind those of `into`; returns their length. A header's place is kept until it is known. */
function append<P extends MoviePart>(node: Node<P>, into: (Uint8Array | P)[]): number {
  if (!isContainer(node)) {
    into.push(node);
    return node.length;
  }
  const at = into.push(NO_BYTES) - 1;
  let length = 0;
  for (const child of node.children) length += append(child, into);
  const header = boxHeader(node.type, length);
  into[at] = header;
  return header.byteLength + length;
}

const NO_BYTES = new Uint8Array(0);

function trackDuration(edits: readonly Edit[]): number {
  return edits.reduce((sum, edit) => sum + edit.duration, 0);
}

/** `mvhd` (8.2.2), version 1. */
function movieHeader<P extends MoviePart>(spec: MovieSpec<P>): Uint8Array {
  const time = u64(Math.max(0, Math.floor(spec.creationUtcMs / 1000) + MAC_EPOCH_OFFSET_S));
  const duration = Math.max(0, ...spec.tracks.map((track) => trackDuration(track.edits)));
  return fullBox(
    'mvhd',
    1,
    0,
    ...[time, time, u32(spec.timescale), u64(duration), u32(0x1_0000), u16(0x100), zeros(10)],
    ...UNITY_MATRIX,
    ...[zeros(24), u32(spec.tracks.length + 1)],
  );
}

function trackBox<P extends MoviePart>(movie: MovieSpec<P>, spec: MovieTrackSpec<P>, id: number): Node<P> {
  const video = spec.track.kind === 'video';
  const groups = sampleGroups(spec.track, spec.tables.stsz?.count ?? 0, spec.durationTicks);
  const media: Node<P> = {
    type: 'mdia',
    children: [
      mediaHeader(movie, spec),
      fullBox('hdlr', 0, 0, u32(0), fourcc(video ? 'vide' : 'soun'), zeros(12), nameBytes(video)),
      {
        type: 'minf',
        children: [
          video ? fullBox('vmhd', 0, 1, zeros(8)) : fullBox('smhd', 0, 0, zeros(4)),
          { type: 'dinf', children: [fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1))] },
          { type: 'stbl', children: [...MOVIE_TABLES.flatMap((name) => tableBox(name, spec.tables[name])), ...groups] },
        ],
      },
    ],
  };
  const edits: Node<P>[] = spec.edits.length === 0 ? [] : [{ type: 'edts', children: [editList(spec.edits)] }];
  return { type: 'trak', children: [trackHeader(movie, spec, id), ...edits, media] };
}

const nameBytes = (video: boolean) => new TextEncoder().encode(video ? 'VideoHandler\0' : 'SoundHandler\0');

/** `tkhd` (8.3.2), version 1, enabled and in the movie. */
function trackHeader(movie: MovieSpec<MoviePart>, { track, edits }: MovieTrackSpec<MoviePart>, id: number): Uint8Array {
  const time = u64(Math.max(0, Math.floor(movie.creationUtcMs / 1000) + MAC_EPOCH_OFFSET_S));
  const volume = u16(track.kind === 'audio' ? 0x100 : 0);
  return fullBox(
    'tkhd',
    1,
    3,
    ...[time, time, u32(id), u32(0), u64(trackDuration(edits)), zeros(8), u16(0), u16(0), volume, u16(0)],
    ...UNITY_MATRIX,
    ...[u32((track.width ?? 0) * 0x1_0000), u32((track.height ?? 0) * 0x1_0000)],
  );
}

/** `mdhd` (8.4.2), version 1. */
function mediaHeader(movie: MovieSpec<MoviePart>, { track, durationTicks }: MovieTrackSpec<MoviePart>): Uint8Array {
  const time = u64(Math.max(0, Math.floor(movie.creationUtcMs / 1000) + MAC_EPOCH_OFFSET_S));
  return fullBox('mdhd', 1, 0, time, time, u32(track.timescale), u64(durationTicks), u16(LANGUAGE_UND), u16(0));
}

/** `elst` (8.6.6), version 1, rate 1. */
function editList(edits: readonly Edit[]): Uint8Array {
  const entries = edits.flatMap((edit) => [u64(edit.duration), i64(edit.mediaTime), u16(1), u16(0)]);
  return fullBox('elst', 1, 0, u32(edits.length), ...entries);
}

function tableBox<P extends MoviePart>(name: MovieTable, table: TableSpec<P> | undefined): Node<P>[] {
  if (table === undefined) return [];
  const fixed = [u8(table.version), zeros(3), ...(name === 'stsz' ? [u32(0)] : []), u32(table.count)];
  return [{ type: name, children: [...fixed, ...table.parts] }];
}
