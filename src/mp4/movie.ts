/**
 * Writes a `moov` from sample tables: the header of sealed segments and of answers (ISO/IEC 14496-12 section 8).
 *
 * Every `moov` keeps the guarantees that let the next one be made out of it: `stsz` without a common size, `stts` in
 * maximal runs with the last sample in a run of its own, `ctts` and `stss` always present for video, always `co64`,
 * one sample description, version 1 of all boxes with times. One chunk is a stretch of samples without other bytes
 * in between.
 */
import type { Track } from '../media.ts';
import { box, fourcc, fullBox, i64, u8, u16, u32, u64, viewOf, zeros } from './box.ts';
import { writeSampleEntry } from './sample-entry.ts';

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

/** One entry of the edit list (8.6.6). `mediaTime` −1 is an empty edit. */
export interface Edit {
  /** Ticks of the movie timescale. */
  readonly duration: number;
  /** Ticks of the track's timescale. */
  readonly mediaTime: number;
}

/** The samples of a track as its `moov` shows them; arrays may be longer than `count`. */
export interface MovieSamples {
  readonly count: number;
  /** DTS difference to the next sample, for the last one its own length; ticks, each below 2³². */
  readonly delta: Float64Array;
  readonly compositionOffset: Int32Array;
  readonly size: Uint32Array;
  readonly sync: Uint8Array;
  /** Position of the first byte, counted from where `shift` says. */
  readonly position: Float64Array;
}

export interface MovieTrackSpec {
  readonly track: Track;
  readonly samples: MovieSamples;
  readonly edits: readonly Edit[];
}

export interface MovieSpec {
  /** Ticks per second of the edits. */
  readonly timescale: number;
  /** Wall time that is written as creation time, Unix ms. */
  readonly creationUtcMs: number;
  readonly tracks: readonly MovieTrackSpec[];
  /** Boxes appended to `moov`. */
  readonly extra: readonly Uint8Array[];
  /** What is added to every chunk offset, given the length of the `moov`. */
  readonly shift: (moovBytes: number) => number;
}

/** Tables of a track whose entries a later header may copy. */
export const MOVIE_TABLES = ['stsd', 'stts', 'ctts', 'stss', 'stsz', 'stsc', 'co64'] as const;
export type MovieTable = (typeof MOVIE_TABLES)[number];

/** Entries of one table. */
interface Table {
  readonly entries: Uint8Array;
  readonly count: number;
  readonly version: number;
}

/** Where a table's entries lie in the `moov`. */
export interface TablePlace {
  readonly offset: number;
  readonly length: number;
  readonly count: number;
}

export interface Movie {
  readonly bytes: Uint8Array;
  /** Per track. A table that the track does not have is absent. */
  readonly tables: readonly Partial<Record<MovieTable, TablePlace>>[];
}

/** A box to be: raw bytes, or a container of boxes. */
type Node = Uint8Array | { readonly type: string; readonly children: readonly Node[] };

const MAC_EPOCH_OFFSET_S = 2_082_844_800; // 1904-01-01 to 1970-01-01
const UNITY_MATRIX = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000].map((n) => u32(n));
const LANGUAGE_UND = 0x55c4;

export function writeMovie(spec: MovieSpec): Movie {
  const tables = spec.tracks.map(({ track, samples }) => buildTables(track, samples));
  const children = [
    movieHeader(spec),
    ...spec.tracks.map((track, i) => trackBox(spec, track, i + 1, tables[i] ?? {})),
    ...spec.extra,
  ];
  const moov: Node = { type: 'moov', children };
  const bytes = new Uint8Array(sizeOf(moov));
  const shift = spec.shift(bytes.byteLength);
  for (const { co64 } of tables) if (co64 !== undefined) shiftOffsets(co64.entries, shift);
  const places = new Map<Uint8Array, number>();
  serialize(moov, bytes, 0, places);
  return { bytes, tables: tables.map((own) => placesOf(own, places)) };
}

function placesOf(tables: Partial<Record<MovieTable, Table>>, places: ReadonlyMap<Uint8Array, number>) {
  const found: Partial<Record<MovieTable, TablePlace>> = {};
  for (const name of MOVIE_TABLES) {
    const table = tables[name];
    if (table === undefined) continue;
    found[name] = { offset: places.get(table.entries) ?? 0, length: table.entries.byteLength, count: table.count };
  }
  return found;
}

function sizeOf(node: Node): number {
  if (node instanceof Uint8Array) return node.byteLength;
  return node.children.reduce((sum, child) => sum + sizeOf(child), 8);
}

function serialize(node: Node, into: Uint8Array, at: number, places: Map<Uint8Array, number>): number {
  if (node instanceof Uint8Array) {
    places.set(node, at);
    into.set(node, at);
    return at + node.byteLength;
  }
  into.set(u32(sizeOf(node)), at);
  into.set(fourcc(node.type), at + 4);
  return node.children.reduce((position, child) => serialize(child, into, position, places), at + 8);
}

function trackDuration(edits: readonly Edit[]): number {
  return edits.reduce((sum, edit) => sum + edit.duration, 0);
}

/** `mvhd` (8.2.2), version 1. */
function movieHeader(spec: MovieSpec): Uint8Array {
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

function trackBox(
  movie: MovieSpec,
  spec: MovieTrackSpec,
  id: number,
  tables: Partial<Record<MovieTable, Table>>,
): Node {
  const video = spec.track.kind === 'video';
  const media: Node = {
    type: 'mdia',
    children: [
      mediaHeader(movie, spec),
      fullBox('hdlr', 0, 0, u32(0), fourcc(video ? 'vide' : 'soun'), zeros(12), nameBytes(video)),
      {
        type: 'minf',
        children: [
          video ? fullBox('vmhd', 0, 1, zeros(8)) : fullBox('smhd', 0, 0, zeros(4)),
          { type: 'dinf', children: [fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1))] },
          { type: 'stbl', children: MOVIE_TABLES.flatMap((name) => tableBox(name, tables[name])) },
        ],
      },
    ],
  };
  const edits: Node = { type: 'edts', children: [editList(spec.edits)] };
  return { type: 'trak', children: [trackHeader(movie, spec, id), edits, media] };
}

const nameBytes = (video: boolean) => new TextEncoder().encode(video ? 'VideoHandler\0' : 'SoundHandler\0');

/** `tkhd` (8.3.2), version 1, enabled and in the movie. */
function trackHeader(movie: MovieSpec, { track, edits }: MovieTrackSpec, id: number): Uint8Array {
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
function mediaHeader(movie: MovieSpec, { track, samples }: MovieTrackSpec): Uint8Array {
  const time = u64(Math.max(0, Math.floor(movie.creationUtcMs / 1000) + MAC_EPOCH_OFFSET_S));
  let duration = 0;
  for (let i = 0; i < samples.count; i++) duration += samples.delta[i] ?? 0;
  return fullBox('mdhd', 1, 0, time, time, u32(track.timescale), u64(duration), u16(LANGUAGE_UND), u16(0));
}

/** `elst` (8.6.6), version 1, rate 1. */
function editList(edits: readonly Edit[]): Uint8Array {
  const entries = edits.flatMap((edit) => [u64(edit.duration), i64(edit.mediaTime), u16(1), u16(0)]);
  return fullBox('elst', 1, 0, u32(edits.length), ...entries);
}

function tableBox(name: MovieTable, table: Table | undefined): Node[] {
  if (table === undefined) return [];
  const fixed = [u8(table.version), zeros(3), ...(name === 'stsz' ? [u32(0)] : []), u32(table.count)];
  return [{ type: name, children: [...fixed, table.entries] }];
}

function buildTables(track: Track, samples: MovieSamples): Partial<Record<MovieTable, Table>> {
  const chunks = chunkStarts(samples);
  const shared = {
    stsd: { entries: writeSampleEntry(track), count: 1, version: 0 },
    stts: timeToSample(samples),
    stsz: sizes(samples),
    stsc: sampleToChunk(samples, chunks),
    co64: chunkOffsets(samples, chunks),
  };
  if (track.kind === 'audio') return shared;
  return { ...shared, ctts: compositionOffsets(samples), stss: syncSamples(samples) };
}

/** Pairs of 32-bit words that grow; the entries of run-length tables. */
class Words {
  #words = new Uint8Array(1024);
  #view = viewOf(this.#words);
  #length = 0;

  push(...values: readonly number[]): void {
    if (this.#length + 4 * values.length > this.#words.byteLength) {
      const grown = new Uint8Array(this.#words.byteLength * 2);
      grown.set(this.#words);
      this.#words = grown;
      this.#view = viewOf(grown);
    }
    for (const value of values) {
      this.#view.setUint32(this.#length, value);
      this.#length += 4;
    }
  }

  table(wordsPerEntry: number, version = 0): Table {
    const entries = this.#words.slice(0, this.#length);
    return { entries, count: this.#length / 4 / wordsPerEntry, version };
  }
}

/** `stts` (8.6.1.2): maximal runs, the last sample in a run of its own. */
function timeToSample({ count, delta }: MovieSamples): Table {
  const words = new Words();
  for (let i = 0; i < count;) {
    let next = i + 1;
    while (next < count - 1 && delta[next] === delta[i]) next++;
    words.push(next - i, delta[i] ?? 0);
    i = next;
  }
  return words.table(2);
}

/** `ctts` (8.6.1.3): version 1 when an offset is negative. */
function compositionOffsets({ count, compositionOffset }: MovieSamples): Table {
  const words = new Words();
  let version = 0;
  for (let i = 0; i < count;) {
    const offset = compositionOffset[i] ?? 0;
    let next = i + 1;
    while (next < count && compositionOffset[next] === offset) next++;
    if (offset < 0) version = 1;
    words.push(next - i, offset);
    i = next;
  }
  return words.table(2, version);
}

/** `stss` (8.6.2): numbers from 1. */
function syncSamples({ count, sync }: MovieSamples): Table {
  const words = new Words();
  for (let i = 0; i < count; i++) if (sync[i] === 1) words.push(i + 1);
  return words.table(1);
}

/** `stsz` (8.7.3.2). */
function sizes({ count, size }: MovieSamples): Table {
  const entries = new Uint8Array(4 * count);
  const view = viewOf(entries);
  for (let i = 0; i < count; i++) view.setUint32(4 * i, size[i] ?? 0);
  return { entries, count, version: 0 };
}

/** Index of the first sample of each chunk: a chunk ends where other bytes come in between. */
function chunkStarts({ count, position, size }: MovieSamples): Uint32Array {
  const starts = new Uint32Array(count);
  let chunks = 0;
  let end = -1;
  for (let i = 0; i < count; i++) {
    if (position[i] !== end) starts[chunks++] = i;
    end = (position[i] ?? 0) + (size[i] ?? 0);
  }
  return starts.subarray(0, chunks);
}

/** `stsc` (8.7.4): one description. */
function sampleToChunk({ count }: MovieSamples, starts: Uint32Array): Table {
  const words = new Words();
  let previous = 0;
  for (let chunk = 0; chunk < starts.length; chunk++) {
    const samples = (starts[chunk + 1] ?? count) - (starts[chunk] ?? 0);
    if (samples !== previous) words.push(chunk + 1, samples, 1);
    previous = samples;
  }
  return words.table(3);
}

/** `co64` (8.7.5). */
function chunkOffsets({ position }: MovieSamples, starts: Uint32Array): Table {
  const entries = new Uint8Array(8 * starts.length);
  const view = viewOf(entries);
  starts.forEach((sample, i) => setUint64(view, 8 * i, position[sample] ?? 0));
  return { entries, count: starts.length, version: 0 };
}

function shiftOffsets(entries: Uint8Array, by: number): void {
  const view = viewOf(entries);
  for (let at = 0; at < entries.byteLength; at += 8) {
    setUint64(view, at, view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4) + by);
  }
}

function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value % 0x1_0000_0000);
}
