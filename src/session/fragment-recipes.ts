/**
 * How the samples of a unit are found when its bytes are reached. A recipe of a block or a packed segment holds numbers
 * and no tables: plans are kept, and what was looked into for them is large.
 */
import type { TrackKind } from '../media.ts';
import type { SampleTable } from '../mp4/tables.ts';
import { type Lane, LaneBuilder } from './fragment-lanes.ts';
import type { FragmentTrack, UnitLane, UnitPiece } from './fragment-units.ts';
import { type KeyPiece, type PlacedKeys, syncsIn, timeOf } from './keyframes.ts';
import type { PackedSegment } from './packed.ts';
import type { StoredPiece } from './pieces.ts';

/** Samples [from, from + count) of a table. */
interface SampleStep extends Pick<UnitPiece, 'silences'> {
  readonly kind: 'samples';
  readonly from: number;
  readonly count: number;
  readonly time: number;
  readonly scale: number;
  readonly lastTicks: number | undefined;
}

/** Sync samples of a segment. */
interface Keys extends Pick<KeyPiece, 'ranges' | 'start' | 'scale'> {
  readonly segment: PackedSegment;
  /** Index of the track in the segment. */
  readonly index: number;
}

interface KeyStep extends Keys {
  readonly kind: 'keys';
  readonly count: number;
  /** What comes behind; nothing: the last picture lasts until `endTicks`. */
  readonly next: Keys | undefined;
  readonly endTicks: number;
}

export interface LaneRecipe {
  readonly trackId: number;
  readonly kind: TrackKind;
  readonly raise: number;
  readonly prefixBytes: number;
  /** Index of the track in the segment. */
  readonly index: number;
  readonly samples: number;
  readonly steps: readonly (SampleStep | KeyStep)[];
}

/** Place in the payload of a sample of the table, which is the lane's `nth`. */
type Place = (sample: number, nth: number) => number;

/** For the tables of the whole segment. */
export function recipeOf({ track, pieces }: UnitLane): LaneRecipe {
  const steps = pieces.map((own) =>
    own.piece.kind === 'keys' ? keyStep(track, own.piece, own) : sampleStep(track, own.piece, own, own.piece.sample),
  );
  return recipe({ track, pieces }, steps);
}

/** The lane of a window, whose samples the plan has at hand. */
export function windowLane({ track, pieces }: UnitLane): Lane {
  const positions: number[] = [];
  let items: SampleTable | undefined;
  const steps = pieces.flatMap((own): SampleStep[] => {
    const { piece, place } = own;
    if (piece.kind === 'keys' || place.kind !== 'samples') return [];
    for (const position of place.positions) positions.push(position);
    items = piece.source.items;
    return [sampleStep(track, piece, own, piece.from)];
  });
  if (items === undefined) throw new RangeError('a window has samples');
  return fill(recipe({ track, pieces }, steps), items, (_, nth) => positions[nth] ?? 0);
}

function recipe({ track, pieces }: UnitLane, steps: LaneRecipe['steps']): LaneRecipe {
  const samples = steps.reduce((sum, { count }) => sum + count, 0);
  const [first] = pieces;
  const index = first?.piece.source.index ?? 0;
  const prefixBytes = first?.place.kind === 'packed' ? first.place.segment.prefixBytes(index) : 0;
  return { trackId: track.id, kind: track.track.kind, raise: track.raise, prefixBytes, index, samples, steps };
}

function sampleStep(
  { track, origin }: FragmentTrack,
  { source, count, start, lastTicks }: StoredPiece,
  { silences }: UnitPiece,
  from: number,
): SampleStep {
  const scale = track.timescale / source.timescale;
  return { kind: 'samples', silences, from, count, time: start - origin, scale, lastTicks };
}

function keyStep({ track }: FragmentTrack, piece: KeyPiece, { place, next }: UnitPiece): KeyStep {
  if (place.kind !== 'packed') throw new RangeError('pictures of a time-lapse are packed');
  const own = keysOf({ piece, segment: place.segment, at: place.at });
  return { kind: 'keys', ...own, count: piece.count, next: next && keysOf(next), endTicks: track.durationTicks };
}

function keysOf({ piece: { ranges, start, scale, source }, segment }: PlacedKeys): Keys {
  return { ranges, start, scale, segment, index: source.index };
}

/** The lane of a block, from the tables of its segment. `shift` leads from offsets in the file to places. */
export function blockLane(lane: LaneRecipe, table: SampleTable, shift: number): Lane {
  return fill(lane, table, (sample) => (table.offset[sample] ?? 0) + shift);
}

/** The lane of a packed segment that lies `at` in the payload. */
export async function packedLane(lane: LaneRecipe, segment: PackedSegment, at: number): Promise<Lane> {
  const table = await tableOf(segment, lane.index);
  const positions = await segment.positions(lane.index, 0, Infinity);
  const place: Place = (_, nth) => (positions[nth] ?? 0) + at;
  const [first] = lane.steps;
  return first?.kind === 'keys' ? fillKeys(lane, first, table, place) : fill(lane, table, place);
}

function fill(lane: LaneRecipe, table: SampleTable, place: Place): Lane {
  const builder = new LaneBuilder(lane, lane.samples);
  for (const step of lane.steps) {
    if (step.kind === 'keys') throw new RangeError('a track has samples or sync samples');
    for (const silence of step.silences) builder.addSilence(silence);
    const first = builder.count;
    builder.addSamples({ ...step, table, position: (i) => place(step.from + i, first + i) });
  }
  return builder;
}

/** Each picture lasts until the next one, of the next segment too. */
async function fillKeys(lane: LaneRecipe, step: KeyStep, table: SampleTable, place: Place): Promise<Lane> {
  const builder = new LaneBuilder(lane, lane.samples);
  const keys = [...syncsIn(table, step.ranges)];
  const times = keys.map((sample) => timeOf(table, sample, step));
  times.push(step.next === undefined ? step.endTicks : await firstTime(step.next));
  builder.addKeys({ table, keys, times, position: (i) => place(keys[i] ?? 0, i) });
  return builder;
}

async function firstTime(keys: Keys): Promise<number> {
  const table = await tableOf(keys.segment, keys.index);
  const [first = 0] = syncsIn(table, keys.ranges);
  return timeOf(table, first, keys);
}

async function tableOf(segment: PackedSegment, index: number): Promise<SampleTable> {
  const table = (await segment.contents()).tracks[index]?.samples;
  if (table === undefined) throw new RangeError('a piece has samples');
  return table;
}
