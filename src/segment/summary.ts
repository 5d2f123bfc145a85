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

export function trackExtent({ track, samples }: Pick<SegmentTrack, 'track' | 'samples'>): TrackExtent {
  let firstPts = Infinity;
  let endPts = -Infinity;
  let syncSamples = 0;
  let payloadBytes = 0;
  for (let i = 0; i < samples.count; i++) {
    const pts = ptsAt(samples, i);
    const end = pts + (samples.duration[i] ?? 0);
    syncSamples += samples.sync[i] ?? 0;
    payloadBytes += samples.size[i] ?? 0;
    if (end <= 0) continue;
    // Only audio is cut at time 0 of the run: a picture is presented whole.
    firstPts = Math.min(firstPts, track.kind === 'audio' ? Math.max(0, pts) : pts);
    endPts = Math.max(endPts, end);
  }
  if (endPts === -Infinity) return { firstPts: 0, endPts: 0, syncSamples, payloadBytes };
  return { firstPts, endPts, syncSamples, payloadBytes };
}

/** Extent of a segment, or undefined if nothing in it is presented. */
export function extentOf(contents: SegmentContents): Extent | undefined {
  const clocks = clocksOf(contents);
  const tracks = contents.tracks.map(trackExtent);
  let startUtcMs = Infinity;
  let endUtcMs = -Infinity;
  contents.tracks.forEach(({ track, samples }, t) => {
    const clock = clocks[t];
    if (clock === undefined) return;
    for (let i = 0; i < samples.count; i++) {
      const dts = samples.dts[i] ?? 0;
      const pts = ptsAt(samples, i);
      const end = pts + (samples.duration[i] ?? 0);
      if (end <= 0) continue;
      startUtcMs = Math.min(startUtcMs, clock.utcMs(track.kind === 'audio' ? Math.max(0, pts) : pts, dts));
      endUtcMs = Math.max(endUtcMs, clock.utcMs(end, dts));
    }
  });
  return endUtcMs === -Infinity ? undefined : { startUtcMs, endUtcMs, tracks };
}

/** Presentation time of sample `i`, ticks. */
export function ptsAt(samples: SampleTable, i: number): number {
  return (samples.dts[i] ?? 0) + (samples.compositionOffset[i] ?? 0);
}
