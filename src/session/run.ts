/**
 * One run of a camera as a plan sees it: the segments' tables joined per track, clocks, and the stretches in which its
 * leading track is continuous. Inside a run continuity is judged by DTS alone.
 */
import { TrackClock } from '../format/clock.ts';
import type { Track } from '../media.ts';
import type { SampleTable } from '../mp4/tables.ts';
import type { SegmentContents } from '../segment/contents.ts';
import { ptsAt } from '../segment/summary.ts';
import { canonicalTrack } from './configuration.ts';

/** A segment that was read for a plan. */
export interface PlanSegment {
  readonly id: string;
  /** Absolute path of the file. */
  readonly path: string;
  readonly repairGeneration: number;
  readonly contents: SegmentContents;
}

export interface RunTrack {
  readonly index: number;
  readonly track: Track;
  /** Samples of all segments, one behind the other; offsets are positions in each sample's own file. */
  readonly samples: SampleTable;
  /** Index of the first sample of each segment, and the count at the end. */
  readonly bases: Uint32Array;
  readonly clock: TrackClock;
}

export interface Run {
  readonly id: string;
  /** Wall time of the first presented sample of what was read, Unix ms; Infinity without one. */
  readonly startUtcMs: number;
  readonly segments: readonly PlanSegment[];
  readonly tracks: readonly RunTrack[];
}

/** A continuous piece of the leading track: samples [from, to). */
export interface Stretch {
  readonly from: number;
  readonly to: number;
  /** First presentation time and end of the last, ticks of the leading track. */
  readonly firstPts: number;
  readonly endPts: number;
}

export function joinRun(id: string, segments: readonly PlanSegment[]): Run {
  const [first] = segments;
  if (first === undefined) return { id, startUtcMs: Infinity, segments, tracks: [] };
  const { head } = first.contents;
  const anchors = segments.flatMap(({ contents }) => [contents.head.anchor, ...contents.anchors]);
  const tracks = first.contents.tracks.map(({ track }, index): RunTrack => {
    const tables = segments.flatMap(({ contents }) => contents.tracks[index]?.samples ?? []);
    const { samples, bases } = joinTables(tables);
    return { index, track: canonicalTrack(track), samples, bases, clock: new TrackClock(head, anchors, index) };
  });
  return { id, startUtcMs: Math.min(...tracks.map(firstUtcMs)), segments, tracks };
}

/** Wall time of a track's first presented sample, Unix ms; Infinity without one. Priming is never presented. */
function firstUtcMs({ samples, track, clock }: RunTrack): number {
  let first: number | undefined;
  let firstPts = Infinity;
  for (let i = 0; i < samples.count; i++) {
    const pts = ptsAt(samples, i);
    if (pts >= firstPts || pts + (samples.duration[i] ?? 0) <= 0) continue;
    first = i;
    firstPts = pts;
  }
  if (first === undefined) return Infinity;
  return clock.utcMs(track.kind === 'audio' ? Math.max(0, firstPts) : firstPts, samples.dts[first] ?? 0);
}

function joinTables(tables: readonly SampleTable[]): { samples: SampleTable; bases: Uint32Array } {
  const bases = new Uint32Array(tables.length + 1);
  tables.forEach((table, i) => (bases[i + 1] = (bases[i] ?? 0) + table.count));
  const [only] = tables;
  if (only !== undefined && tables.length === 1) return { samples: only, bases };
  const count = bases[tables.length] ?? 0;
  const samples = {
    count,
    dts: new Float64Array(count),
    duration: new Float64Array(count),
    compositionOffset: new Int32Array(count),
    size: new Uint32Array(count),
    offset: new Float64Array(count),
    sync: new Uint8Array(count),
  };
  tables.forEach((table, i) => {
    const at = bases[i] ?? 0;
    samples.dts.set(table.dts.subarray(0, table.count), at);
    samples.duration.set(table.duration.subarray(0, table.count), at);
    samples.compositionOffset.set(table.compositionOffset.subarray(0, table.count), at);
    samples.size.set(table.size.subarray(0, table.count), at);
    samples.offset.set(table.offset.subarray(0, table.count), at);
    samples.sync.set(table.sync.subarray(0, table.count), at);
  });
  return { samples, bases };
}

/** The track that gives the answer's rhythm: the first video with samples, else the first audio with samples. */
export function leadingTrack(run: Run): RunTrack | undefined {
  const filled = run.tracks.filter(({ samples }) => samples.count > 0);
  return filled.find(({ track }) => track.kind === 'video') ?? filled[0];
}

/** Continuous pieces of a track: a new one begins where a sample does not begin at the end of its forerunner. */
export function stretchesOf({ samples, track }: RunTrack): Stretch[] {
  const stretches: Stretch[] = [];
  let from = 0;
  for (let i = 1; i <= samples.count; i++) {
    const follows = i < samples.count && (samples.dts[i - 1] ?? 0) + (samples.duration[i - 1] ?? 0) === samples.dts[i];
    if (follows) continue;
    stretches.push(stretch(samples, from, i, track.kind === 'audio'));
    from = i;
  }
  return stretches;
}

/** Priming before time 0 is never presented: the first presented instant of audio is not before it. */
function stretch(samples: SampleTable, from: number, to: number, audio: boolean): Stretch {
  let firstPts = Infinity;
  let endPts = -Infinity;
  for (let i = from; i < to; i++) {
    const pts = ptsAt(samples, i);
    const end = pts + (samples.duration[i] ?? 0);
    if (end <= 0 && from === 0) continue;
    firstPts = Math.min(firstPts, audio && from === 0 ? Math.max(0, pts) : pts);
    endPts = Math.max(endPts, end);
  }
  return { from, to, firstPts, endPts };
}
