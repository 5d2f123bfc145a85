/**
 * One run of a camera as a plan sees it: per track a row of items, and the stretches in which its leading track is
 * continuous. Inside a run continuity is judged by DTS alone.
 *
 * An item is one sample, or a block of samples that nobody needs to tell apart: the middle of a segment, or a whole one
 * that is known by its counters alone. A block stands in the columns like one long sample.
 */
import type { SegmentRow } from '../catalog/catalog.ts';
import type { TrackClock } from '../format/clock.ts';
import type { Track } from '../media.ts';
import { type SampleTable, SampleTableBuilder } from '../mp4/tables.ts';
import { ptsAt } from '../segment/summary.ts';
import type { SegmentView } from '../segment/view.ts';
import { lastAtOrBelow } from './search.ts';
import type { Zone } from './zones.ts';

/** A row, and the absolute path of its file. */
export interface StoredSegment {
  readonly row: SegmentRow;
  readonly path: string;
}

/**
 * A segment of a plan; or a chain of whole ones, each the seamless successor of the one before and known by its row
 * alone, which a plan takes as if they were one. Row and path are those of the first.
 */
export interface PlanSegment extends StoredSegment {
  /** The links of a chain, in order; else the one segment. */
  readonly links: readonly StoredSegment[];
  /** What was looked into; undefined for a segment that is planned from its row. */
  readonly view: SegmentView | undefined;
  readonly zones: readonly Zone[];
  /** Per track of the run; undefined where the segment has no samples of it. */
  readonly tracks: readonly (Track | undefined)[];
}

/** Items of one zone: those of a window stand for a sample each, a block is one item. */
export interface ItemGroup {
  readonly kind: Zone['kind'];
  /** Index in the run's segments. */
  readonly segment: number;
  /** Items [from, to). */
  readonly from: number;
  readonly to: number;
  /** First sample in the segment's track, and number of samples. */
  readonly sample: number;
  readonly count: number;
  /** Own length of the last sample, ticks. */
  readonly lastTicks: number;
}

export interface RunTrack {
  readonly index: number;
  readonly kind: Track['kind'];
  readonly timescale: number;
  /** The items as if they were samples. */
  readonly items: SampleTable;
  /** What items [from, to) stand for, in order. */
  groups(from: number, to: number): ItemGroup[];
  /** The item of the first sample of a zone. */
  itemOf(segment: number, sample: number): number | undefined;
  /** Wall time of presentation time `pts` (ticks), by the clock of an item. */
  utcMs(pts: number, item: number): number;
  /** The tick nearest to a wall time, by the clock of an item. */
  ticksAt(utcMs: number, item: number): number;
}

export interface Run {
  readonly id: string;
  /** Wall time of the run's first presented instant, Unix ms. */
  readonly startUtcMs: number;
  readonly segments: readonly PlanSegment[];
  readonly tracks: readonly RunTrack[];
}

/** A continuous piece of the leading track: items [from, to). */
export interface Stretch {
  readonly from: number;
  readonly to: number;
  /** First presentation time and end of the last, ticks of the leading track. */
  readonly firstPts: number;
  readonly endPts: number;
}

/** Maps between wall time and ticks of a track. */
type Clock = Pick<TrackClock, 'utcMs' | 'ticksAt'>;

/** `startUtcMs`: that of the whole run, whichever of its segments are read. */
export function joinRun(id: string, startUtcMs: number, segments: readonly PlanSegment[]): Run {
  const kinds = tracksOf(segments);
  const tracks = kinds.map(({ kind, timescale }, index) => buildTrack(segments, index, kind, timescale));
  return { id, startUtcMs, segments, tracks };
}

/** The same run with every link of its chains as a segment of its own. */
export function unchained({ id, startUtcMs, segments }: Run): Run {
  return joinRun(id, startUtcMs, segments.flatMap(linksOf));
}

function linksOf(segment: PlanSegment): PlanSegment[] {
  const { links, view, tracks } = segment;
  if (links.length === 1) return [segment];
  return links.map((link) => ({ ...link, links: [link], view, zones: [wholeZone([link])], tracks }));
}

/** All samples of segments that are known by their rows. */
export function wholeZone(links: readonly StoredSegment[]): Zone {
  const counts = links[0]?.row.tracks.map((_, i) => samplesOf(links, i)) ?? [];
  return { kind: 'block', from: counts.map(() => 0), to: counts };
}

function samplesOf(links: readonly StoredSegment[], track: number): number {
  return links.reduce((sum, { row }) => sum + (row.tracks[track]?.samples ?? 0), 0);
}

/** The tracks of a run: those of any of its segments' heads. */
function tracksOf([first]: readonly PlanSegment[]): readonly { kind: Track['kind']; timescale: number }[] {
  return first?.view?.head.tracks ?? first?.row.tracks ?? [];
}

function buildTrack(segments: readonly PlanSegment[], index: number, kind: Track['kind'], timescale: number): RunTrack {
  const items = new SampleTableBuilder();
  const groups: ItemGroup[] = [];
  segments.forEach((segment, s) => {
    for (const zone of segment.zones) {
      const [sample = 0, end = 0] = [zone.from[index], zone.to[index]];
      if (end <= sample) continue;
      const from = items.count;
      if (zone.kind === 'window') addWindow(items, segment, index, zone);
      else addBlock(items, segment, index, zone);
      const place = { kind: zone.kind, segment: s, sample, count: end - sample };
      groups.push({ ...place, from, to: items.count, lastTicks: lastTicksOf(segment, index, end) });
    }
  });
  const clocks = segments.map((segment) => clockOf(segment, index, timescale));
  const clockAt = (item: number): Clock => {
    const clock = clocks[groups[groupAt(groups, item)]?.segment ?? 0];
    if (clock === undefined) throw new RangeError('a run has segments');
    return clock;
  };
  return {
    ...{ index, kind, timescale, items },
    groups: (from, to) => clippedGroups(groups, items, from, to),
    itemOf: (segment, sample) => groups.find((group) => group.segment === segment && group.sample === sample)?.from,
    utcMs: (pts, item) => clockAt(item).utcMs(pts, items.dts[item] ?? 0),
    ticksAt: (utcMs, item) => clockAt(item).ticksAt(utcMs, items.dts[item] ?? 0),
  };
}

/** Index of the group that holds an item. */
function groupAt(groups: readonly ItemGroup[], item: number): number {
  return lastAtOrBelow(groups.length, (i) => groups[i]?.from ?? 0, item);
}

function clippedGroups(groups: readonly ItemGroup[], items: SampleTable, from: number, to: number): ItemGroup[] {
  const clipped: ItemGroup[] = [];
  for (let i = groupAt(groups, from); i < groups.length; i++) {
    const group = groups[i];
    if (group === undefined || group.from >= to) break;
    const first = Math.max(from, group.from);
    const end = Math.min(to, group.to);
    if (group.kind === 'block' || (first === group.from && end === group.to)) clipped.push(group);
    else {
      const lastTicks = items.duration[end - 1] ?? 0;
      const sample = group.sample + first - group.from;
      clipped.push({ ...group, from: first, to: end, sample, count: end - first, lastTicks });
    }
  }
  return clipped;
}

/** Own length of the sample before `end`. */
function lastTicksOf({ view, links }: PlanSegment, index: number, end: number): number {
  const tables = view?.tracks[index]?.tables;
  if (tables === undefined) return links.at(-1)?.row.tracks[index]?.lastTicks ?? 0;
  return tables.window(end - 1, end).duration[0] ?? 0;
}

function addWindow(items: SampleTableBuilder, { view }: PlanSegment, index: number, zone: Zone): void {
  const window = view?.tracks[index]?.tables.window(zone.from[index] ?? 0, zone.to[index] ?? 0);
  if (window === undefined) return;
  for (let i = 0; i < window.count; i++) {
    items.push(
      window.dts[i] ?? 0,
      window.duration[i] ?? 0,
      window.compositionOffset[i] ?? 0,
      window.size[i] ?? 0,
      window.offset[i] ?? 0,
      window.sync[i] === 1,
    );
  }
}

function addBlock(items: SampleTableBuilder, segment: PlanSegment, index: number, zone: Zone): void {
  const { view, row, links } = segment;
  const tables = view?.tracks[index]?.tables;
  const [from = 0, to = 0] = [zone.from[index], zone.to[index]];
  if (tables !== undefined) {
    const dts = tables.dts(from);
    const end = tables.dts(to - 1) + lastTicksOf(segment, index, to);
    items.push(dts, end - dts, tables.pts(from) - dts, 0, 0, tables.syncBefore(from) === from);
    return;
  }
  const summary = row.tracks[index];
  const dts = summary?.firstDts ?? 0;
  const end = links.at(-1)?.row.tracks[index]?.endDts ?? 0;
  items.push(dts, end - dts, blockOffset(summary, dts), 0, 0, summary?.firstSync ?? false);
}

/** Priming is not presented: audio of a whole segment begins with its samples. */
function blockOffset(summary: SegmentRow['tracks'][number] | undefined, dts: number): number {
  return summary === undefined || summary.kind === 'audio' ? 0 : summary.firstPts - dts;
}

function clockOf({ view, row }: PlanSegment, index: number, timescale: number): Clock {
  const own = view?.clocks[index];
  if (own !== undefined) return own;
  // Of a segment that lies inside the range as a whole: it only has to be that.
  const firstPts = row.tracks[index]?.firstPts ?? 0;
  return {
    utcMs: (pts) => row.startUtcMs + ((pts - firstPts) * 1000) / timescale,
    ticksAt: (utcMs) => firstPts + Math.round(((utcMs - row.startUtcMs) * timescale) / 1000),
  };
}

/** The track that gives the answer's rhythm: the first video with samples, else the first audio with samples. */
export function leadingTrack(tracks: readonly RunTrack[]): RunTrack | undefined {
  const filled = tracks.filter(({ items }) => items.count > 0);
  return filled.find(({ kind }) => kind === 'video') ?? filled[0];
}

/** Continuous pieces of a track: a new one begins where an item does not begin at the end of its forerunner. */
export function stretchesOf({ items, kind }: RunTrack): Stretch[] {
  const stretches: Stretch[] = [];
  let from = 0;
  for (let i = 1; i <= items.count; i++) {
    const follows = i < items.count && (items.dts[i - 1] ?? 0) + (items.duration[i - 1] ?? 0) === items.dts[i];
    if (follows) continue;
    stretches.push(stretch(items, from, i, kind === 'audio'));
    from = i;
  }
  return stretches;
}

/** Priming before time 0 is never presented: the first presented instant of audio is not before it. */
function stretch(items: SampleTable, from: number, to: number, audio: boolean): Stretch {
  let firstPts = Infinity;
  let endPts = -Infinity;
  for (let i = from; i < to; i++) {
    const pts = ptsAt(items, i);
    const end = pts + (items.duration[i] ?? 0);
    if (end <= 0 && from === 0) continue;
    firstPts = Math.min(firstPts, audio && from === 0 ? Math.max(0, pts) : pts);
    endPts = Math.max(endPts, end);
  }
  return { from, to, firstPts, endPts };
}
