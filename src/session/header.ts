/**
 * The header of an answer, made out of existing ones (docs/decisions.md, "New headers from existing headers"): every
 * table is a row of parts, one or a few for each piece of the track. Only windows are written out; what stands for a
 * block is copied from the `moov` of its segment when it is sent.
 */
import type { Track } from '../media.ts';
import { boxHeader } from '../mp4/box.ts';
import { FTYP, movieLength, type MovieTrackSpec, type TableSpec, type TableSpecs, writeMovie } from '../mp4/movie.ts';
import { writeSampleEntry } from '../mp4/sample-entry.ts';
import {
  chunkOffsets,
  chunkStarts,
  compositionOffsets,
  offsetsOf,
  sampleSizes,
  sampleToChunk,
  syncSamples,
  timeToSample,
  words,
} from '../mp4/table-writer.ts';
import { type BlockTableName, type BlockTables, wholeTables } from '../segment/track-tables.ts';
import { type Change, changed, type HeaderPart, madeOnDemand, repeated } from './entries.ts';
import { type KeyPiece, keyTables, type PlacedKeys } from './keyframes.ts';
import type { PiecePlace, Payload } from './payload.ts';
import type { PackedSegment, Prefixes } from './packed.ts';
import type { PlanSegment } from './run.ts';
import type { Part } from './select.ts';
import { type AnswerTrack, segmentOf, type SilentPiece, type StoredPiece } from './pieces.ts';
import type { Timeline } from './timeline.ts';
import type { Slice } from './virtual-file.ts';
import { joinedTable, type WholeSegment } from './whole-tables.ts';

export interface HeaderInput {
  readonly parts: readonly Part[];
  readonly timeline: Timeline;
  readonly payload: Payload;
  /** Per track of the timeline: codec and configuration that the answer's sample entry tells. */
  readonly descriptions: readonly Track[];
  readonly prefixes: Prefixes | undefined;
  /** Wall time that is written as creation time, Unix ms. */
  readonly creationUtcMs: number;
}

/** `ftyp`, `moov` and the header of `mdat`: everything in front of the payload. */
export function buildHeader(input: HeaderInput): Slice[] {
  const { timeline, creationUtcMs } = input;
  const mdat = boxHeader('mdat', input.payload.length);
  const tables = timeline.tracks.map((track) => tablesOf(input, track));
  const movieAt = (payloadAt: number) => {
    const tracks = timeline.tracks.map((track, i) =>
      trackSpec(track, input.descriptions[i], tables[i]?.(payloadAt) ?? {}),
    );
    return writeMovie<HeaderPart>({ timescale: timeline.timescale, creationUtcMs, tracks, extra: [] });
  };
  // The length of a header does not depend on the offsets in it.
  const length = FTYP.byteLength + movieLength(movieAt(0)) + mdat.byteLength;
  return slicesOf([FTYP, ...movieAt(length), mdat]);
}

/** Neighbouring bytes as one slice. */
export function slicesOf(parts: readonly (Uint8Array | HeaderPart)[]): Slice[] {
  const slices: Slice[] = [];
  let bytes: Uint8Array[] = [];
  const close = () => {
    if (bytes.length > 0) slices.push({ kind: 'bytes', data: Buffer.concat(bytes) });
    bytes = [];
  };
  for (const part of parts) {
    if (part instanceof Uint8Array) bytes.push(part);
    else {
      close();
      slices.push(part);
    }
  }
  close();
  return slices;
}

function trackSpec(
  track: AnswerTrack,
  description: Track | undefined,
  tables: TableSpecs<HeaderPart>,
): MovieTrackSpec<HeaderPart> {
  if (description === undefined) throw new RangeError('a track of an answer has a description');
  return {
    track: { ...description, timescale: track.timescale },
    durationTicks: track.durationTicks,
    edits: track.edits,
    tables: { stsd: table([writeSampleEntry(description)], 1), ...tables },
  };
}

/** The tables of a track, given where the payload begins. */
function tablesOf(input: HeaderInput, track: AnswerTrack): (payloadAt: number) => TableSpecs<HeaderPart> {
  const keys = track.pieces.filter((piece) => piece.kind === 'keys').map((piece) => placedKeys(input, piece));
  if (keys.length > 0) return (payloadAt) => keyTables(keys, track.durationTicks, payloadAt);
  const tables = new TrackTablesWriter(input, track);
  for (const piece of track.pieces) if (piece.kind !== 'keys') tables.add(piece);
  return (payloadAt) => tables.specs(payloadAt);
}

function placedKeys({ payload }: HeaderInput, piece: KeyPiece): PlacedKeys {
  const place = payload.places.get(piece);
  if (place?.kind !== 'packed') throw new RangeError('pictures of a time-lapse are packed');
  return { piece, segment: place.segment, at: place.at };
}

const table = (parts: (Uint8Array | HeaderPart)[], count: number, version = 0) => ({ version, count, parts });

/** Where the numbers lie that change: ticks in `stts` and `ctts`, numbers in `stss` and `stsc`, offsets in `co64`. */
const TICKS = { entryBytes: 8, at: 4, wide: false };
const SAMPLE_NUMBERS = { entryBytes: 4, at: 0, wide: false, factor: 1 };
const CHUNK_NUMBERS = { entryBytes: 12, at: 0, wide: false, factor: 1 };
const OFFSETS = { entryBytes: 8, at: 0, wide: true, factor: 1 };

/** One table that grows piece by piece. */
class GrowingTable {
  readonly parts: (Uint8Array | HeaderPart)[] = [];
  count = 0;

  add(count: number, ...parts: readonly (Uint8Array | HeaderPart)[]): void {
    this.count += count;
    this.parts.push(...parts.filter(({ length }) => length > 0));
  }

  spec(version = 0): TableSpec<HeaderPart> {
    return table(this.parts, this.count, version);
  }
}

/** The tables of one track of an answer. */
class TrackTablesWriter {
  readonly #input: HeaderInput;
  readonly #track: AnswerTrack;
  readonly #stts = new GrowingTable();
  readonly #ctts = new GrowingTable();
  readonly #stss = new GrowingTable();
  readonly #stsz = new GrowingTable();
  readonly #stsc = new GrowingTable();
  /** Chunk offsets: the last thing that is known is where the payload begins. */
  readonly #co64: ((payloadAt: number) => readonly (Uint8Array | HeaderPart)[])[] = [];
  #samples = 0;
  #chunks = 0;
  #negativeOffsets = false;
  /** Whole segments, one behind the other, that stand in no table yet. */
  #whole: WholeSegment[] = [];

  constructor(input: HeaderInput, track: AnswerTrack) {
    this.#input = input;
    this.#track = track;
  }

  specs(payloadAt: number): TableSpecs<HeaderPart> {
    this.#writeWhole();
    const shared = {
      stts: this.#stts.spec(),
      stsz: this.#stsz.spec(),
      stsc: this.#stsc.spec(),
      co64: table(
        this.#co64.flatMap((parts) => parts(payloadAt)),
        this.#chunks,
      ),
    };
    if (this.#track.kind === 'audio') return shared;
    return { ...shared, ctts: this.#ctts.spec(this.#negativeOffsets ? 1 : 0), stss: this.#stss.spec() };
  }

  add(piece: StoredPiece | SilentPiece): void {
    const place = this.#input.payload.places.get(piece);
    if (place === undefined) throw new RangeError('a piece has a place');
    if (piece.kind === 'silence') {
      this.#writeWhole();
      this.#addSilence(piece, place);
    } else if (!this.#addWhole(piece, place)) {
      this.#writeWhole();
      const segment = segmentOf(piece, this.#input.parts);
      this.#negativeOffsets ||= hasNegativeOffsets(segment, piece);
      const block = piece.kind === 'block' ? blockTables(segment, piece) : undefined;
      if (block === undefined) this.#addSamples(piece);
      else this.#addBlock(piece, segment, block);
      this.#addSizes(piece, segment, place, block);
      this.#addChunks(piece, segment, place, block);
    }
    this.#samples += piece.count;
  }

  /** A segment that is known by its row alone costs a few numbers. */
  #addWhole(piece: StoredPiece, place: PiecePlace): boolean {
    const { view, links } = segmentOf(piece, this.#input.parts);
    if ((place.kind !== 'block' && place.kind !== 'chain') || view !== undefined) return false;
    if (piece.lastTicks !== undefined) throw new RangeError('a block does not end at a joint');
    let samples = this.#samples;
    for (let i = 0; i < links.length; i++) {
      const [link, shift = 0] = [links[i], place.kind === 'chain' ? place.shifts[i] : place.shift];
      const summary = link?.row.tracks[piece.source.index];
      if (link === undefined || summary === undefined) throw new RangeError('a sealed segment has counters');
      this.#negativeOffsets ||= summary.negativeOffsets;
      this.#whole.push({ path: link.path, summary, samples, chunks: this.#chunks, shift });
      samples += summary.samples;
      this.#chunks += summary.tables.co64.count;
    }
    return true;
  }

  #writeWhole(): void {
    const segments = this.#whole;
    if (segments.length === 0) return;
    this.#whole = [];
    const count = (name: BlockTableName) => segments.reduce((sum, { summary }) => sum + summary.tables[name].count, 0);
    const add = (into: GrowingTable, name: BlockTableName, change: (segment: WholeSegment) => Change | undefined) =>
      into.add(count(name), joinedTable(segments, name, change));
    const { timescale, raise, kind } = this.#track;
    const ticks = (own: number, plus: number): Change => ({ ...TICKS, factor: timescale / own, add: plus });
    add(this.#stts, 'stts', ({ summary }) => ticks(summary.timescale, 0));
    add(this.#stsz, 'stsz', () => undefined);
    add(this.#stsc, 'stsc', ({ chunks }) => ({ ...CHUNK_NUMBERS, add: chunks }));
    this.#co64.push((payloadAt) => [
      joinedTable(segments, 'co64', ({ shift }) => ({ ...OFFSETS, add: shift + payloadAt })),
    ]);
    if (kind === 'audio') return;
    add(this.#ctts, 'ctts', ({ summary }) => ticks(summary.timescale, raise));
    add(this.#stss, 'stss', ({ samples }) => ({ ...SAMPLE_NUMBERS, add: samples }));
  }

  #addSilence({ count, frameTicks }: SilentPiece, place: PiecePlace): void {
    const bytes = this.#track.silence?.byteLength ?? 0;
    this.#stts.add(1, words([count, frameTicks]));
    this.#stsz.add(count, repeated(words([bytes]), count));
    this.#stsc.add(1, words([this.#chunks + 1, count, 1]));
    const at = place.kind === 'silence' ? place.at : 0;
    this.#co64.push((payloadAt) => [offset64(payloadAt + at)]);
    this.#chunks++;
  }

  /** Times and sync samples of a window. */
  #addSamples(piece: StoredPiece): void {
    const { source, from, to, count } = piece;
    const { items, kind } = source;
    const scale = this.#track.timescale / source.timescale;
    const delta = (i: number) => {
      if (i + 1 === count && piece.lastTicks !== undefined) return piece.lastTicks;
      const dts = items.dts[from + i] ?? 0;
      const duration = items.duration[from + i] ?? 0;
      return kind === 'audio'
        ? Math.round(duration * scale)
        : Math.round((dts + duration) * scale) - Math.round(dts * scale);
    };
    const stts = timeToSample(count, delta, false);
    this.#stts.add(stts.count, stts.entries);
    if (this.#track.kind === 'audio') return;
    const { raise } = this.#track;
    const ctts =
      scale === 1 && raise === 0
        ? compositionOffsets(items.compositionOffset, from, to)
        : compositionOffsets(scaledOffsets(piece, scale, raise), 0, count);
    this.#ctts.add(ctts.count, ctts.entries);
    const stss = syncSamples(items.sync, from, to, this.#samples + 1);
    this.#stss.add(stss.count, stss.entries);
  }

  /** Times and sync samples of a block. */
  #addBlock(piece: StoredPiece, { path }: PlanSegment, { tables }: BlockTables): void {
    const factor = this.#track.timescale / piece.source.timescale;
    if (piece.lastTicks !== undefined) throw new RangeError('a block does not end at a joint');
    const times = (add: number): Change => ({ ...TICKS, factor, add });
    this.#stts.add(tables.stts.count, ...tables.stts.parts.map((part) => changed(part, path, times(0))));
    if (this.#track.kind === 'audio') return;
    const offsets = times(this.#track.raise);
    this.#ctts.add(tables.ctts.count, ...tables.ctts.parts.map((part) => changed(part, path, offsets)));
    const numbers = { ...SAMPLE_NUMBERS, add: this.#samples - piece.sample };
    this.#stss.add(tables.stss.count, ...tables.stss.parts.map((part) => changed(part, path, numbers)));
  }

  #addSizes(piece: StoredPiece, segment: PlanSegment, place: PiecePlace, block: BlockTables | undefined): void {
    const { source, from, to, count, sample } = piece;
    const track = source.index;
    const prefix = this.#track.kind === 'video' ? this.#input.prefixes?.of(segment) : undefined;
    if (prefix !== undefined && place.kind === 'packed') {
      this.#stsz.add(count, prefixedSizes({ segment: place.segment, track, sample, count }, prefix.byteLength));
    } else if (block === undefined) {
      this.#stsz.add(count, sampleSizes(source.items.size, from, to).entries);
    } else {
      this.#stsz.add(count, ...block.tables.stsz.parts.map((part) => changed(part, segment.path, undefined)));
    }
  }

  #addChunks(piece: StoredPiece, segment: PlanSegment, place: PiecePlace, block: BlockTables | undefined): void {
    if (place.kind === 'samples') this.#addWindowChunks(piece, place.positions);
    else if (place.kind === 'block' && block !== undefined) this.#addBlockChunks(segment, block, place.shift);
    else if (place.kind === 'packed') {
      const { sample, count, source } = piece;
      const samples = { segment: place.segment, track: source.index, sample, count };
      const { at } = place;
      this.#stsc.add(1, words([this.#chunks + 1, 1, 1]));
      this.#co64.push((payloadAt) => [packedOffsets(samples, payloadAt + at)]);
      this.#chunks += count;
    }
  }

  #addWindowChunks({ source, from, count }: StoredPiece, positions: Float64Array): void {
    const position = (i: number) => positions[i] ?? 0;
    const starts = chunkStarts(position, source.items.size.subarray(from), 0, count);
    const stsc = sampleToChunk(starts, count, this.#chunks + 1);
    this.#stsc.add(stsc.count, stsc.entries);
    this.#co64.push((payloadAt) => [chunkOffsets(starts, (i) => position(i) + payloadAt).entries]);
    this.#chunks += starts.length;
  }

  #addBlockChunks({ path }: PlanSegment, { tables, firstChunk }: BlockTables, shift: number): void {
    const numbers = { ...CHUNK_NUMBERS, add: this.#chunks + 1 - firstChunk };
    this.#stsc.add(tables.stsc.count, ...tables.stsc.parts.map((part) => changed(part, path, numbers)));
    this.#co64.push((payloadAt) =>
      tables.co64.parts.map((part) => changed(part, path, { ...OFFSETS, add: shift + payloadAt })),
    );
    this.#chunks += tables.co64.count;
  }
}

function blockTables({ view, row }: PlanSegment, { source, sample, count }: StoredPiece): BlockTables {
  const tables = view?.tracks[source.index]?.tables;
  if (tables !== undefined) return tables.block(sample, sample + count);
  const summary = row.tracks[source.index];
  if (summary === undefined) throw new RangeError('a sealed segment has counters');
  return wholeTables(summary);
}

/** Of the piece's own samples: what else the segment holds, or will hold, must not show in the answer. */
function hasNegativeOffsets({ view, row }: PlanSegment, { source, sample, count }: StoredPiece): boolean {
  const tables = view?.tracks[source.index]?.tables;
  return tables?.hasNegativeOffsets(sample, sample + count) ?? row.tracks[source.index]?.negativeOffsets ?? false;
}

function scaledOffsets({ source, from, to }: StoredPiece, scale: number, raise: number): Int32Array {
  return source.items.compositionOffset.subarray(from, to).map((offset) => Math.round(offset * scale) + raise);
}

interface PackedSamples {
  readonly segment: PackedSegment;
  readonly track: number;
  readonly sample: number;
  readonly count: number;
}

/** `stsz` of samples that get a prefix where they are sync samples. It keeps nothing of what was looked into. */
function prefixedSizes({ segment, track, sample, count }: PackedSamples, prefixBytes: number): HeaderPart {
  return madeOnDemand(4 * count, async () => {
    const samples = (await segment.contents()).tracks[track]?.samples;
    const sizes = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const sync = samples?.sync[sample + i] === 1;
      sizes[i] = (samples?.size[sample + i] ?? 0) + (sync ? prefixBytes : 0);
    }
    return sampleSizes(sizes, 0, count).entries;
  });
}

/** `co64` of samples, a chunk for each. */
function packedOffsets({ segment, track, sample, count }: PackedSamples, at: number): HeaderPart {
  return madeOnDemand(8 * count, async () => offsetsOf(await segment.positions(track, sample, sample + count), at));
}

function offset64(value: number): Uint8Array {
  return offsetsOf(Float64Array.of(value), 0);
}
