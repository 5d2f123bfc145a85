/** Samples of a pipe become frames: sound lies end to end where its source rounds, and only there; pictures bring changes. */
import { describe, expect, test } from 'vitest';
import type { StreamSample } from '../../src/ingest/fragment-stream.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import type { SourceFrame } from '../../src/ingest/source.ts';
import { TrackFeed } from '../../src/ingest/track-feed.ts';
import type { Track } from '../../src/media.ts';
import { concatBytes } from '../../src/mp4/box.ts';
import { parameterSets } from '../../src/mp4/parameter-sets.ts';
import type { MovieTrack } from '../../src/mp4/reader.ts';
import { makeMedia, mediaFile } from '../support/media.ts';

const NO_CONFIG = new Uint8Array(0);
const AAC: Track = {
  kind: 'audio',
  codec: 'mp4a.40.2',
  timescale: 48_000,
  sampleRate: 48_000,
  channels: 1,
  config: NO_CONFIG,
};
const OPUS: Track = { ...AAC, codec: 'opus' };
const ALAW: Track = { ...AAC, codec: 'alaw', timescale: 8000, sampleRate: 8000 };

function feedOf(track: Track): TrackFeed {
  const samples = {
    ...{ count: 0, dts: new Float64Array(0), duration: new Float64Array(0), compositionOffset: new Int32Array(0) },
    ...{ size: new Uint32Array(0), offset: new Float64Array(0), sync: new Uint8Array(0) },
  };
  const { kind, timescale } = track;
  const movie: MovieTrack = { id: 1, kind, entry: '', track, timescale, edits: [], samples, compositionVersion: 0 };
  return new TrackFeed(1, movie);
}

const sampleAt = (dts: number, data: Uint8Array = new Uint8Array(100), durationTicks = 7): StreamSample => ({
  ...{ data, dts, durationTicks, compositionOffset: 0, sync: false, producerUtcMs: undefined },
});

/** Times from the first frame on: all tracks have the same lead-in. */
function timesOf(
  feed: TrackFeed,
  samples: readonly StreamSample[],
): (readonly [dts: number, durationTicks?: number])[] {
  const frames = samples.map((sample) => feed.frame(sample, 0));
  return frames.map(({ dts, durationTicks }) => [dts - (frames[0]?.dts ?? 0), durationTicks ?? Number.NaN] as const);
}

describe('sound', () => {
  test('whose times are rounded to milliseconds lies end to end', () => {
    const rounded = Array.from({ length: 1000 }, (_, i) => sampleAt(Math.round((i * 1024) / 48) * 48));
    expect(timesOf(feedOf(AAC), rounded)).toEqual(rounded.map((_, i) => [i * 1024, 1024]));
  });

  test('that was lost is a hole', () => {
    const there = [0, 1, 2, 4, 5, 9].map((i) => i * 1024);
    expect(
      timesOf(
        feedOf(AAC),
        there.map((dts) => sampleAt(dts + 20)),
      ).map(([dts]) => dts),
    ).toEqual(there);
  });

  test('whose clock drifts against its times is put right by half a frame, and no sooner', () => {
    // A frame is told to be 1030 ticks long, and is 1024.
    const frames = timesOf(
      feedOf(AAC),
      Array.from({ length: 400 }, (_, i) => sampleAt(i * 1030)),
    );
    const wrong = frames.map(([dts], i) => i * 1030 - dts);
    expect(Math.max(...wrong)).toBeGreaterThan(500);
    expect(Math.max(...wrong)).toBeLessThanOrEqual(512);
    expect(Math.min(...wrong)).toBe(0);
  });

  test.each([
    ['AAC at 48 kHz in ticks of 90 kHz', { ...AAC, timescale: 90_000 }, 50, 1920],
    ['AAC at 44.1 kHz', { ...AAC, timescale: 44_100, sampleRate: 44_100 }, 50, 1024],
    ['A-law', ALAW, 160, 160],
    ['A-law of two channels', { ...ALAW, channels: 2 }, 320, 160],
    ['A-law in ticks of 48 kHz', { ...ALAW, timescale: 48_000 }, 160, 960],
    ['AAC of another kind: what the pipe says', { ...AAC, codec: 'mp4a.40.5' }, 50, 7],
  ])('%s', (_what, track, bytes, ticks) => {
    expect(timesOf(feedOf(track), [sampleAt(0, new Uint8Array(bytes))])).toEqual([[0, ticks]]);
  });

  /** Table of contents: configuration, and how many frames; ms. */
  test.each([
    ['SILK, 10 ms', [0 << 3], 10],
    ['SILK, 60 ms', [11 << 3], 60],
    ['hybrid, 20 ms', [15 << 3], 20],
    ['CELT, 2.5 ms', [16 << 3], 2.5],
    ['CELT, 20 ms', [31 << 3], 20],
    ['two frames', [(31 << 3) | 1], 40],
    ['two of differing lengths', [(31 << 3) | 2], 40],
    ['as many as it says', [(31 << 3) | 3, 0x80 | 5], 100],
    ['120 ms', [(31 << 3) | 3, 6], 120],
  ])('an Opus packet: %s', (_what, bytes, ms) => {
    expect(timesOf(feedOf(OPUS), [sampleAt(0, Uint8Array.from(bytes))])).toEqual([[0, ms * 48]]);
  });

  test.each([
    ['without bytes', []],
    ['of no frames', [(31 << 3) | 3, 0]],
    ['longer than a packet may be', [(11 << 3) | 3, 63]],
  ])('an Opus packet %s is as long as the pipe says', (_what, bytes) => {
    expect(timesOf(feedOf(OPUS), [sampleAt(0, Uint8Array.from(bytes))])).toEqual([[0, 7]]);
  });

  test('has sync samples only, and brings when it was there and when it came', () => {
    const feed = feedOf(AAC);
    expect(feed.frame({ ...sampleAt(0), producerUtcMs: 5 }, 99)).toMatchObject({
      ...{ track: 1, sync: true, cameraUtcMs: 5, arrivalMs: 99 },
    });
    expect(feed.frame(sampleAt(1024), 99)).not.toHaveProperty('cameraUtcMs');
  });
});

describe('pictures', () => {
  const small = ['-f', 'lavfi', '-i', 'testsrc2=size=178x98:rate=25', '-frames:v', '30', '-c:v', 'libx264'];

  test('bring the configuration that has changed, once, with a sync sample', async () => {
    await using first = await openMediaFile(await mediaFile('h264-only'));
    await using second = await openMediaFile(
      await makeMedia('small.mp4', [...small, '-pix_fmt', 'yuv420p', '-g', '10']),
    );
    const [[before], [behind]] = [first.tracks, second.tracks];
    if (before === undefined || behind === undefined) throw new Error('no tracks');
    const feed = feedOf(before);
    const seen: SourceFrame[] = [];
    for await (const { dts, data, sync, compositionOffset } of second.frames()) {
      const sent = sync ? concatBytes([parameterSets(behind), data]) : data;
      seen.push(feed.frame({ ...sampleAt(dts, sent), sync, compositionOffset }, 0));
    }
    expect(seen.filter(({ sync }) => sync)).toHaveLength(3);
    expect(seen.flatMap(({ newTrack }, i) => (newTrack === undefined ? [] : [i]))).toEqual([0]);
    expect(seen[0]?.newTrack).toEqual({ ...behind, timescale: before.timescale });
    expect(feed.track).toBe(seen[0]?.newTrack);
    expect(seen.every(({ durationTicks }) => durationTicks === undefined)).toBe(true);
  });

  test('that are no sync samples are not looked into', async () => {
    await using file = await openMediaFile(await mediaFile('h264-only'));
    const [track] = file.tracks;
    if (track === undefined) throw new Error('no track');
    expect(feedOf(track).frame(sampleAt(0, Uint8Array.of(9, 9, 9, 9, 9)), 0)).toMatchObject({ sync: false });
  });
});
