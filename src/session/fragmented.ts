/**
 * An answer as fragmented MP4 (`format=fmp4`): an init segment, then fragments. It has the payload and the times of the
 * plain answer. How long it is follows from counters; the headers of the fragments of a block are worked out when they
 * are reached, from the tables of its one segment.
 */
import { setImmediate } from 'node:timers/promises';
import { FootageError } from '../errors.ts';
import type { Track } from '../media.ts';
import { type FragmentCounts, fragmentLength, writeFragment, writeInitSegment } from '../mp4/fragment-writer.ts';
import type { Edit } from '../mp4/movie.ts';
import type { SegmentCache, SegmentRef } from '../segment/cache.ts';
import type { Lane } from './fragment-lanes.ts';
import {
  cutFragments,
  FragmentRow,
  type FragmentRows,
  SOUND_CHUNKS,
  SOUND_SAMPLES,
  type Unit,
} from './fragment-layout.ts';
import { blockLane, type LaneRecipe, packedLane, recipeOf, windowLane } from './fragment-recipes.ts';
import { type FragmentTrack, fragmentTracks, type PlannedUnit, type UnitLane, unitsOf } from './fragment-units.ts';
import { type PackedSegment, sumsOf } from './packed.ts';
import type { Payload, PiecePlace } from './payload.ts';
import type { StoredPiece } from './pieces.ts';
import type { PlanSegment } from './run.ts';
import type { Part } from './select.ts';
import type { Timeline } from './timeline.ts';
import { type ByteRange, type Slice, VirtualFile } from './virtual-file.ts';

export interface FragmentDeps {
  readonly cache: SegmentCache;
  readonly rows: FragmentRows;
}

export interface FragmentedInput {
  readonly parts: readonly Part[];
  readonly timeline: Timeline;
  readonly payload: Payload;
  /** Per track of the timeline: codec and configuration that the init segment tells. */
  readonly descriptions: readonly Track[];
  /** Wall time that is written as creation time, Unix ms. */
  readonly creationUtcMs: number;
  readonly deps: FragmentDeps;
}

/** The whole answer. */
export function buildFragmented(input: FragmentedInput): Slice[] {
  const tracks = fragmentTracks(input.timeline);
  const writer = new FragmentsWriter(input);
  for (const unit of unitsOf(input.parts, tracks, input.payload)) writer.add(unit);
  return [{ kind: 'bytes', data: initSegment(input, tracks) }, ...writer.slices];
}

function initSegment({ timeline, descriptions, creationUtcMs }: FragmentedInput, tracks: readonly FragmentTrack[]) {
  const { timescale } = timeline;
  return writeInitSegment({
    ...{ timescale, creationUtcMs, durationTicks: Math.max(...tracks.map(({ track }) => lengthOf(track.edits))) },
    tracks: tracks.map(({ track, raise }, i) => {
      const description = descriptions[i];
      if (description === undefined) throw new RangeError('a track of an answer has a description');
      // What an empty edit would say is in the decode times.
      const shown = track.edits.filter(({ mediaTime }) => mediaTime !== -1);
      const edits = shown.map((edit) => ({ ...edit, mediaTime: edit.mediaTime + raise - track.raise }));
      return { track: { ...description, timescale: track.timescale }, edits, ...defaultFrame(track) };
    }),
  });
}

const lengthOf = (edits: readonly Edit[]) => edits.reduce((sum, { duration }) => sum + duration, 0);

/** Silent frames are all alike. */
function defaultFrame({ pieces, silence }: FragmentTrack['track']) {
  const silent = pieces.find((piece) => piece.kind === 'silence');
  if (silent === undefined || silence === undefined) return {};
  return { defaultFrame: { ticks: silent.frameTicks, bytes: silence.byteLength } };
}

/** Slices of the units, one after the other. */
class FragmentsWriter {
  readonly slices: Slice[] = [];
  readonly #payload: VirtualFile;
  readonly #deps: FragmentDeps;
  readonly #rows: FragmentRows;
  #sequence = 1;

  constructor({ payload, deps }: FragmentedInput) {
    this.#payload = new VirtualFile(payload.slices, '', 0);
    this.#deps = deps;
    this.#rows = deps.rows;
  }

  add(unit: PlannedUnit): void {
    const [place] = unit.lanes.flatMap(({ pieces }) => pieces.map((own) => own.place));
    if (place?.kind === 'samples') this.#addWindow(unit);
    else if (place?.kind === 'block') this.#addBlock(unit, place.shift);
    else if (place?.kind === 'packed') this.#addPacked(unit, place);
  }

  #addWindow({ start, end, lanes }: PlannedUnit): void {
    const unit = { start, end, sequence: this.#sequence, packed: false, everySample: false };
    const fragments = cutFragments(lanes.map(windowLane), unit);
    this.#sequence += fragments.length;
    const payload = this.#payload;
    for (const { spec, media } of fragments) {
      this.slices.push(
        { kind: 'bytes', data: writeFragment(spec) },
        ...media.map((range) => stretchOf(payload, range)),
      );
    }
  }

  #addBlock(unit: PlannedUnit, shift: number): void {
    const { segment, lanes } = unit;
    const counts = lanes.map((lane) => blockCounts(segment, lane));
    const fragments = fragmentsOf(counts, ({ runs }) => Math.ceil(runs / SOUND_CHUNKS));
    const recipes = lanes.map(recipeOf);
    const load = blockLanes(refOf(segment), recipes, shift, this.#deps);
    this.#addLater(unit, { packed: false, everySample: false, counts, fragments, load });
  }

  #addPacked(unit: PlannedUnit, { segment: packed, at }: Extract<PiecePlace, { kind: 'packed' }>): void {
    const { segment, lanes } = unit;
    const counts = lanes.map((lane) => packedCounts(segment, lane));
    const fragments = fragmentsOf(counts, ({ samples }) => Math.ceil(samples / SOUND_SAMPLES));
    // One track alone lies without a gap; whether several do is not known before their tables are.
    const everySample = lanes.length > 1 || counts.some(({ silences }) => silences > 0);
    const own = counts.map((lane) => ({ ...lane, runs: everySample ? lane.samples : fragments }));
    const recipes = lanes.map(recipeOf);
    const load = packedLanes(packed, recipes, at);
    this.#addLater(unit, { packed: true, everySample, counts: own, fragments, load });
  }

  /** A unit whose fragments are worked out when they are reached. */
  #addLater(unit: PlannedUnit, { packed, everySample, counts, fragments, load }: LaterUnit): void {
    const { start, end } = unit;
    const silentBytes = unit.lanes.reduce((sum, lane) => sum + silentBytesOf(lane), 0);
    const length = headersLength(counts, fragments) + end - start + silentBytes;
    const cut = { start, end, sequence: this.#sequence, packed, everySample };
    this.#sequence += fragments;
    this.slices.push(laterSlice(length, cut, load, this.#payload, this.#rows));
  }
}

interface LaterUnit extends Pick<Unit, 'packed' | 'everySample'> {
  readonly counts: readonly LaneCounts[];
  readonly fragments: number;
  readonly load: LoadLanes;
}

type LoadLanes = () => Promise<Lane[]>;

function laterSlice(length: number, unit: Unit, load: LoadLanes, payload: VirtualFile, rows: FragmentRows): Slice {
  const make = async () => {
    const lanes = await load();
    // An hour of footage takes a tenth of a second: other answers go on in between.
    await setImmediate();
    const fragments = cutFragments(lanes, unit);
    await setImmediate();
    const row = new FragmentRow(fragments, payload);
    if (row.length === length) return row;
    throw new RangeError(`fragments of ${row.length} bytes where ${length} were announced`);
  };
  return {
    kind: 'computed',
    length,
    read: async function* (from, to) {
      const row = await rows.of(unit, make);
      yield* row.read(from, to);
    },
  };
}

/** A stretch of the payload. */
function stretchOf(payload: VirtualFile, { start, end }: ByteRange): Slice {
  const read = (from: number, to: number) => payload.slices({ start: start + from, end: start + to });
  return { kind: 'computed', length: end - start, read };
}

function refOf({ row, path }: PlanSegment): SegmentRef {
  return { id: row.id, path, state: row.state, repairGeneration: row.repairGeneration };
}

// Both are functions of their own: a closure keeps all that its surroundings have, and plans are kept.
function packedLanes(packed: PackedSegment, recipes: readonly LaneRecipe[], at: number): LoadLanes {
  return () => Promise.all(recipes.map((recipe) => packedLane(recipe, packed, at)));
}

function blockLanes(
  ref: SegmentRef,
  recipes: readonly LaneRecipe[],
  shift: number,
  { cache }: FragmentDeps,
): LoadLanes {
  return async () => {
    const contents = await cache.read(ref);
    if (contents === undefined)
      throw new FootageError('E_IO', `Segment ${ref.path} is gone while it is sent: ask again.`);
    return recipes.map((recipe) => {
      const table = contents.tracks[recipe.index]?.samples;
      if (table === undefined) throw new RangeError('a piece has samples');
      return blockLane(recipe, table, shift);
    });
  };
}

/** What is known of a lane before its tables are looked into. */
interface LaneCounts extends FragmentCounts {
  /** Without those of silence. */
  readonly runs: number;
  readonly silences: number;
  readonly syncSamples: number;
  readonly beginsWithSync: boolean;
}

/** Bytes of the headers of so many fragments that hold these samples: every fragment has every track. */
function headersLength(counts: readonly LaneCounts[], fragments: number): number {
  const all = counts.map(({ kind, samples, runs, silences }) => ({
    kind,
    samples,
    runs: runs + silences,
    always: true,
  }));
  const none = counts.map(({ kind }) => ({ kind, samples: 0, runs: 0, always: true }));
  return fragmentLength(all) + (fragments - 1) * fragmentLength(none);
}

/** How many fragments `cutFragments` makes. */
function fragmentsOf(counts: readonly LaneCounts[], ofSound: (sound: LaneCounts) => number): number {
  const video = counts.find(({ kind }) => kind === 'video');
  if (video !== undefined) return video.syncSamples + (video.beginsWithSync ? 0 : 1);
  const [sound] = counts;
  return sound === undefined ? 0 : ofSound(sound);
}

function blockCounts(segment: PlanSegment, lane: UnitLane): LaneCounts {
  const pieces = storedPieces(lane);
  const tables = pieces.map((piece) => tableCounts(segment, piece));
  return {
    ...laneCounts(segment, lane),
    runs: tables.reduce((sum, { chunks }) => sum + chunks, 0),
    syncSamples: tables.reduce((sum, { syncSamples }) => sum + syncSamples, 0),
  };
}

function tableCounts({ view, row }: PlanSegment, { source, sample, count }: StoredPiece) {
  const block = view?.tracks[source.index]?.tables.block(sample, sample + count).tables;
  if (block !== undefined) return { chunks: block.co64.count, syncSamples: block.stss.count };
  const summary = row.tracks[source.index];
  return { chunks: summary?.tables.co64.count ?? 0, syncSamples: summary?.syncSamples ?? 0 };
}

function packedCounts(segment: PlanSegment, lane: UnitLane): LaneCounts {
  const { pieces } = lane;
  const ranges = pieces.flatMap(({ piece }) =>
    piece.kind === 'keys' ? piece.ranges : [{ from: piece.sample, to: piece.sample + piece.count }],
  );
  const index = pieces[0]?.piece.source.index ?? 0;
  const syncs = ranges.map(({ from, to }) => sumsOf(segment, index, from, to).syncSamples);
  return { ...laneCounts(segment, lane), syncSamples: syncs.reduce((sum, count) => sum + count, 0) };
}

function laneCounts(segment: PlanSegment, lane: UnitLane): LaneCounts {
  const { pieces, track } = lane;
  const [first] = pieces;
  return {
    kind: track.track.kind,
    samples: pieces.reduce((sum, { piece }) => sum + piece.count, 0),
    runs: 0,
    silences: pieces.reduce((sum, { silences }) => sum + silences.length, 0),
    syncSamples: 0,
    beginsWithSync: first !== undefined && (first.piece.kind === 'keys' || isSync(segment, first.piece)),
  };
}

function isSync({ view, row }: PlanSegment, { source, sample }: StoredPiece): boolean {
  const tables = view?.tracks[source.index]?.tables;
  if (tables !== undefined) return tables.window(sample, sample + 1).sync[0] === 1;
  return row.tracks[source.index]?.firstSync ?? false;
}

function storedPieces({ pieces }: UnitLane): StoredPiece[] {
  return pieces.flatMap(({ piece }) => (piece.kind === 'keys' ? [] : [piece]));
}

function silentBytesOf({ pieces }: UnitLane): number {
  return pieces.reduce((sum, { silences }) => sum + silences.reduce((bytes, silence) => bytes + silence.bytes, 0), 0);
}
