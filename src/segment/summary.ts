/**
 * Counters and extents of a segment's tables: what catalog rows, trailers and edit lists are made of.
 */
import type { SampleTable } from '../mp4/tables.ts';
import { clocksOf, type SegmentContents, type SegmentTrack } from './contents.ts';

export interface TrackExtent {
  /** Earliest presentation time; for priming before the run's time 0 that is 0. Ticks. */
  readonly firstPts: number;
  /** Latest presentation end, ticks. */
  readonly endPts: number;
  readonly syncSamples: number;
  readonly payloadBytes: number;
}

export interface Extent {
  /** Wall time of the first presented instant and of the end, Unix ms. */
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  readonly tracks: readonly TrackExtent[];
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

/** The presentation interval of sample `i` with no regard to time 0. */
function wholeTicks({ samples }: Pick<SegmentTrack, 'samples'>, i: number) {
  const from = ptsAt(samples, i);
  return { from, to: from + (samples.duration[i] ?? 0) };
}

function trackExtent(track: SegmentTrack, ticks: typeof presentedTicks): TrackExtent {
  const { samples } = track;
  let firstPts = Infinity;
  let endPts = -Infinity;
  let syncSamples = 0;
  let payloadBytes = 0;
  for (let i = 0; i < samples.count; i++) {
    syncSamples += samples.sync[i] ?? 0;
    payloadBytes += samples.size[i] ?? 0;
    const presented = ticks(track, i);
    if (presented === undefined) continue;
    firstPts = Math.min(firstPts, presented.from);
    endPts = Math.max(endPts, presented.to);
  }
  if (endPts === -Infinity) return { firstPts: 0, endPts: 0, syncSamples, payloadBytes };
  return { firstPts, endPts, syncSamples, payloadBytes };
}

/**
 * Extent of a segment, or undefined if it has no samples. One that holds nothing but priming counts as a whole: it has
 * to lie somewhere in time, and its file has to show something.
 */
export function extentOf(contents: SegmentContents): Extent | undefined {
  return extentBy(contents, presentedTicks) ?? extentBy(contents, wholeTicks);
}

function extentBy(contents: SegmentContents, ticks: typeof presentedTicks): Extent | undefined {
  const clocks = clocksOf(contents);
  let startUtcMs = Infinity;
  let endUtcMs = -Infinity;
  contents.tracks.forEach((track, t) => {
    const clock = clocks[t];
    if (clock === undefined) return;
    for (let i = 0; i < track.samples.count; i++) {
      const presented = ticks(track, i);
      if (presented === undefined) continue;
      const dts = track.samples.dts[i] ?? 0;
      startUtcMs = Math.min(startUtcMs, clock.utcMs(presented.from, dts));
      endUtcMs = Math.max(endUtcMs, clock.utcMs(presented.to, dts));
    }
  });
  if (endUtcMs === -Infinity) return undefined;
  return { startUtcMs, endUtcMs, tracks: contents.tracks.map((track) => trackExtent(track, ticks)) };
}

/** Presentation time of sample `i`, ticks. */
export function ptsAt(samples: SampleTable, i: number): number {
  return (samples.dts[i] ?? 0) + (samples.compositionOffset[i] ?? 0);
}
