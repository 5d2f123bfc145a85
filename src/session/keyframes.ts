/**
 * A time-lapse with no re-encoding: the sync samples of the video alone, each shown until the next one, `speed` times as
 * fast. Times are the pictures' own: the track's timescale is multiplied, no duration is rounded.
 *
 * How many sync samples a segment has, and their bytes, stand in its counters; which ones they are is looked up when the
 * answer is sent.
 */
import { FootageError } from '../errors.ts';
import { MAX_TIMESCALE, type MovieTrackSpec, type TableSpec } from '../mp4/movie.ts';
import type { SampleTable } from '../mp4/tables.ts';
import { offsetsOf, sampleSizes, words } from '../mp4/table-writer.ts';
import { ptsAt } from '../segment/summary.ts';
import { type HeaderPart, madeOnDemand } from './entries.ts';
import { type PackedSegment, sumsOf } from './packed.ts';
import type { ItemGroup, RunTrack } from './run.ts';
import type { Part } from './select.ts';

/** Samples [from, to) of a segment's track. */
interface SampleRange {
  readonly from: number;
  readonly to: number;
}

/** The sync samples of one segment that are in the answer. */
export interface KeyPiece {
  readonly kind: 'keys';
  readonly part: number;
  readonly segment: number;
  readonly source: RunTrack;
  /** Ranges in which every sync sample counts. */
  readonly ranges: readonly SampleRange[];
  /** Sync samples. */
  readonly count: number;
  /** Added to presentation times of the run: ticks of the answer, and `scale` of these to one of the run. */
  readonly start: number;
  readonly scale: number;
}

export interface KeyTimeline {
  readonly pieces: readonly KeyPiece[];
  /** Ticks per second, `speed` included. */
  readonly timescale: number;
  /** End of the last picture, ticks. */
  readonly endTicks: number;
  readonly starts: readonly number[];
}

/** `timescale`: in which the parts' video is whole ticks. */
export function keyTimeline(parts: readonly Part[], timescale: number, speed: number): KeyTimeline {
  const pieces: KeyPiece[] = [];
  const starts: number[] = [];
  let time = 0;
  parts.forEach((part, p) => {
    starts.push(time);
    const { video, pictures } = part;
    if (video === undefined || pictures === undefined) return;
    const { source, from, to } = video;
    const scale = timescale / source.timescale;
    const begin = Math.round(pictures.from * scale);
    const place = { part: p, source, start: time - begin, scale };
    for (const groups of bySegment(source.groups(from, to))) {
      const piece = pieceOf(part, groups, pictures, place);
      if (piece !== undefined) pieces.push(piece);
    }
    time += Math.round(pictures.to * scale) - begin;
  });
  const faster = Math.round(timescale * speed);
  if (faster > MAX_TIMESCALE || faster < 1) {
    throw new FootageError('E_QUERY', `A speed of ${speed} is beyond what MP4 can say here: choose one nearer to 1.`);
  }
  return { pieces, timescale: faster, endTicks: time, starts };
}

function bySegment(groups: readonly ItemGroup[]): ItemGroup[][] {
  const rows: ItemGroup[][] = [];
  for (const group of groups) {
    if (rows.at(-1)?.[0]?.segment === group.segment) rows.at(-1)?.push(group);
    else rows.push([group]);
  }
  return rows;
}

function pieceOf(
  { run }: Part,
  groups: readonly ItemGroup[],
  shown: { readonly from: number; readonly to: number },
  place: Pick<KeyPiece, 'part' | 'source' | 'start' | 'scale'>,
): KeyPiece | undefined {
  const { source } = place;
  const ranges: SampleRange[] = [];
  let count = 0;
  let [segment] = groups.map((group) => group.segment);
  segment ??= 0;
  const planned = run.segments[segment];
  for (const group of groups) {
    if (group.kind === 'window') {
      const own = keysOf(source.items, group, shown);
      ranges.push(...own);
      count += own.length;
    } else if (planned !== undefined) {
      const range = { from: group.sample, to: group.sample + group.count };
      ranges.push(range);
      count += sumsOf(planned, source.index, range.from, range.to).syncSamples;
    }
  }
  return count === 0 ? undefined : { kind: 'keys', segment, ranges, count, ...place };
}

/** Sync samples of a window that are shown, a range each. */
function keysOf(items: SampleTable, group: ItemGroup, shown: { readonly from: number; readonly to: number }) {
  const ranges: SampleRange[] = [];
  for (let i = group.from; i < group.to; i++) {
    const pts = ptsAt(items, i);
    if (items.sync[i] !== 1 || pts < shown.from || pts >= shown.to) continue;
    const from = group.sample + i - group.from;
    ranges.push({ from, to: from + 1 });
  }
  return ranges;
}

/** A piece and where its bytes lie. */
export interface PlacedKeys {
  readonly piece: KeyPiece;
  readonly segment: PackedSegment;
  readonly at: number;
}

type Tables = Omit<MovieTrackSpec<HeaderPart>['tables'], 'stsd'>;

/** The tables of a time-lapse: one chunk for each picture; all of them sync samples, so neither `stss` nor `ctts`. */
export function keyTables(placed: readonly PlacedKeys[], endTicks: number, payloadAt: number): Tables {
  const counts = placed.map(({ piece }) => piece.count);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const rows = placed.map(({ piece, segment, at }) => ({
    ...{ segment, at, count: piece.count, track: piece.source.index, ranges: piece.ranges },
    ...{ start: piece.start, scale: piece.scale },
  }));
  const stts = rows.map((row, i) => madeOnDemand(8 * row.count, () => lengths(row, rows[i + 1], endTicks)));
  const stsz = rows.map((row) => madeOnDemand(4 * row.count, async () => sizes(await samplesOf(row), row)));
  const co64 = rows.map(({ segment, track, count, at }) =>
    madeOnDemand(8 * count, async () => offsetsOf(await segment.positions(track, 0, Infinity), at + payloadAt)),
  );
  return {
    stts: table(stts, total),
    stsz: table(stsz, total),
    stsc: { version: 0, count: 1, parts: [words([1, 1, 1])] },
    co64: table(co64, total),
  };
}

function table(parts: HeaderPart[], count: number): TableSpec<HeaderPart> {
  return { version: 0, count, parts };
}

interface KeyRow {
  readonly segment: PackedSegment;
  readonly count: number;
  readonly track: number;
  readonly ranges: readonly SampleRange[];
  readonly start: number;
  readonly scale: number;
}

async function samplesOf({ segment, track }: KeyRow): Promise<SampleTable> {
  const samples = (await segment.contents()).tracks[track]?.samples;
  if (samples === undefined) throw new RangeError('a piece has samples');
  return samples;
}

/** Sync samples within ranges. */
export function* syncsIn({ sync }: SampleTable, ranges: readonly SampleRange[]): Generator<number, void, undefined> {
  for (const { from, to } of ranges) for (let i = from; i < to; i++) if (sync[i] === 1) yield i;
}

/** When a sync sample is shown in the answer, ticks. */
export function timeOf(samples: SampleTable, i: number, { start, scale }: Pick<KeyRow, 'start' | 'scale'>): number {
  return Math.round(ptsAt(samples, i) * scale) + start;
}

/** `stts`: each picture lasts until the next one, of the next segment too. */
async function lengths(row: KeyRow, next: KeyRow | undefined, endTicks: number): Promise<Uint8Array> {
  const behind = next && (await samplesOf(next));
  const [first = 0] = next && behind ? syncsIn(behind, next.ranges) : [];
  const end = next && behind ? timeOf(behind, first, next) : endTicks;
  const samples = await samplesOf(row);
  const times = [...syncsIn(samples, row.ranges)].map((i) => timeOf(samples, i, row));
  return words(times.flatMap((time, i) => [1, (times[i + 1] ?? end) - time]));
}

function sizes(samples: SampleTable, { ranges, count, segment, track }: KeyRow): Uint8Array {
  const prefix = segment.prefixBytes(track);
  const found = Uint32Array.from(syncsIn(samples, ranges), (i) => (samples.size[i] ?? 0) + prefix);
  return sampleSizes(found, 0, count).entries;
}
