/**
 * Counters and extents of a segment's tables: what catalog rows, trailers and edit lists are made of.
 */
import type { TrackClock } from '../format/clock.ts';
import type { Break } from '../format/segment-index.ts';
import type { TrackCounters, Trailer } from '../format/trailer.ts';
import type { SampleTable } from '../mp4/tables.ts';
import { clocksOf, type SegmentContents, type SegmentTrack } from './contents.ts';

export interface TrackExtent {
  /** Earliest presentation time; for priming before the run's time 0 that is 0. Ticks. */
  readonly firstPts: number;
  /** Latest presentation end, ticks. */
  readonly endPts: number;
}

export interface Extent {
  /** Wall time of the first presented instant and of the end, Unix ms. */
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  readonly tracks: readonly TrackExtent[];
}

/** What of a trailer follows from the frames, and not from where the tables lie. */
export interface SegmentCounters extends Pick<Trailer, 'startUtcMs' | 'endUtcMs' | 'discontinuous' | 'payload'> {
  readonly tracks: readonly TrackCounters[];
}

/** What of sample `i` is presented: [from, to) in ticks, or undefined for priming, which ends at or before time 0. */
export function presentedTicks(
  { track, samples }: Pick<SegmentTrack, 'track' | 'samples'>,
  i: number,
): { readonly from: number; readonly to: number } | undefined {
  const from = ptsAt(samples, i);
  const to = from + (samples.duration[i] ?? 0);
  if (to <= 0) return undefined;
  // Only sound can begin in the middle of a sample: a picture is presented whole.
  return { from: track.kind === 'audio' ? Math.max(0, from) : from, to };
}

/**
 * Extent of a segment, or undefined if it has no samples. One that holds nothing but priming counts as a whole: it has
 * to lie somewhere in time, and its file has to show something.
 */
export function extentOf(contents: SegmentContents): Extent | undefined {
  return extentBy(contents, true) ?? extentBy(contents, false);
}

/** With `fromZero` what lies before the run's time 0 is not presented (`presentedTicks`). */
function extentBy(contents: SegmentContents, fromZero: boolean): Extent | undefined {
  const clocks = clocksOf(contents);
  const extents = contents.tracks.map((track, t) => trackExtent(track, clocks[t], fromZero));
  const startUtcMs = Math.min(...extents.map((extent) => extent.startUtcMs));
  const endUtcMs = Math.max(...extents.map((extent) => extent.endUtcMs));
  if (endUtcMs === -Infinity) return undefined;
  const tracks = extents.map(({ firstPts, endPts }) =>
    endPts === -Infinity ? { firstPts: 0, endPts: 0 } : { firstPts, endPts },
  );
  return { startUtcMs, endUtcMs, tracks };
}

/** One pass, and no object per sample: an hour is sealed on the loop. */
function trackExtent({ track, samples }: SegmentTrack, clock: TrackClock | undefined, fromZero: boolean) {
  const { count, dts, duration } = samples;
  const notBefore = fromZero && track.kind === 'audio' ? 0 : -Infinity;
  let [firstPts, endPts, startUtcMs, endUtcMs] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < count; i++) {
    const pts = ptsAt(samples, i);
    const end = pts + (duration[i] ?? 0);
    if (fromZero && end <= 0) continue;
    const begin = Math.max(notBefore, pts);
    firstPts = Math.min(firstPts, begin);
    endPts = Math.max(endPts, end);
    startUtcMs = Math.min(startUtcMs, clock?.utcMs(begin, dts[i] ?? 0) ?? Infinity);
    endUtcMs = Math.max(endUtcMs, clock?.utcMs(end, dts[i] ?? 0) ?? -Infinity);
  }
  return { firstPts, endPts, startUtcMs, endUtcMs };
}

/** Presentation time of sample `i`, ticks. */
export function ptsAt(samples: SampleTable, i: number): number {
  return (samples.dts[i] ?? 0) + (samples.compositionOffset[i] ?? 0);
}

/** The counters of a segment whose extent is `extent`. */
export function countersOf({ anchors, tracks }: SegmentContents, extent: Extent): SegmentCounters {
  const counters = tracks.map((track, i) => trackCounters(track, i, extent.tracks[i] ?? { firstPts: 0, endPts: 0 }));
  return {
    // As the trailer stores them, so that a row made now equals one made from the file.
    startUtcMs: Math.round(extent.startUtcMs * 1000) / 1000,
    endUtcMs: Math.round(extent.endUtcMs * 1000) / 1000,
    discontinuous: counters.some(({ breaks }) => breaks > 0) || anchors.some(({ discontinuity }) => discontinuity),
    payload: payloadOf(tracks),
    tracks: counters,
  };
}

function trackCounters(
  { samples, endDts, estimated }: SegmentTrack,
  index: number,
  { firstPts, endPts }: TrackExtent,
): TrackCounters {
  const { count, dts, duration, sync, compositionOffset } = samples;
  return {
    firstDts: count > 0 ? dts[0] : undefined,
    ...{ endDts, estimated, firstPts, endPts },
    samples: count,
    ...sumsOf(samples),
    breaks: breaksOf(samples, index).length,
    frameTicks: frameTicksOf(samples),
    lastTicks: duration[count - 1] ?? 0,
    firstSync: count > 0 && sync[0] === 1,
    negativeOffsets: compositionOffset.subarray(0, count).some((ticks) => ticks < 0),
  };
}

function sumsOf({ count, size, sync }: SampleTable) {
  let syncSamples = 0;
  let payloadBytes = 0;
  let syncBytes = 0;
  for (let i = 0; i < count; i++) {
    const bytes = size[i] ?? 0;
    payloadBytes += bytes;
    if (sync[i] !== 1) continue;
    syncSamples++;
    syncBytes += bytes;
  }
  return { syncSamples, payloadBytes, syncBytes };
}

/** Samples whose own length ends elsewhere than where the next begins. */
export function breaksOf({ count, dts, duration }: SampleTable, track: number): Break[] {
  const breaks: Break[] = [];
  for (let i = 0; i + 1 < count; i++) {
    const own = duration[i] ?? 0;
    if ((dts[i] ?? 0) + own !== dts[i + 1]) breaks.push({ track, sample: i, durationTicks: own });
  }
  return breaks;
}

function frameTicksOf({ count, dts, duration }: SampleTable): number {
  if (count < 2) return count === 0 ? 0 : (duration[0] ?? 0);
  const step = (dts[1] ?? 0) - (dts[0] ?? 0);
  for (let i = 1; i + 1 < count; i++) if ((dts[i + 1] ?? 0) - (dts[i] ?? 0) !== step) return 0;
  return step;
}

function payloadOf(tracks: readonly SegmentTrack[]): Trailer['payload'] {
  let offset = Infinity;
  let end = 0;
  for (const { samples } of tracks) {
    for (let i = 0; i < samples.count; i++) {
      const at = samples.offset[i] ?? 0;
      offset = Math.min(offset, at);
      end = Math.max(end, at + (samples.size[i] ?? 0));
    }
  }
  return { offset, end };
}
