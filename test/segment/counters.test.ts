/** The counters of a sealed segment: what a range is planned from without opening a table. */
import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import {
  decodeTrailer,
  encodeTrailer,
  type TrackCounters,
  TRAILER_BYTES,
  type Trailer,
} from '../../src/format/trailer.ts';
import { SampleTableBuilder } from '../../src/mp4/tables.ts';
import { native } from '../../src/native.ts';
import { countersOf, extentOf } from '../../src/segment/summary.ts';
import { verifySegment } from '../../src/segment/verify.ts';
import {
  AUDIO_TICKS,
  HEAD,
  PICTURE_TICKS,
  type Story,
  tellStory,
  VIDEO,
  type Written,
  io,
} from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

function trailerOf({ sealed }: Story): Trailer {
  const trailer = decodeTrailer(sealed.subarray(-TRAILER_BYTES), native.crc32c);
  if (trailer === undefined) throw new Error('no trailer');
  return trailer;
}

const bytesOf = (frames: readonly Written[]) => frames.reduce((sum, { size }) => sum + size, 0);

describe('the trailer of a segment', () => {
  test('counts what was written', async () => {
    const story = await tellStory(await temporaryFolder(), 12);
    const { tracks, ...whole } = trailerOf(story);
    const of = (track: number) => story.frames.filter((one) => one.track === track);
    const payload = { offset: story.frames[0]?.offset, end: story.frames.at(-1)?.recordEnd };
    expect(whole).toMatchObject({ discontinuous: false, recovered: false, payload });
    const shared = { breaks: 0, firstSync: true, negativeOffsets: false, estimated: false };
    const pictures = { samples: 12, syncSamples: 2, frameTicks: PICTURE_TICKS, lastTicks: PICTURE_TICKS };
    const bytes = { payloadBytes: bytesOf(of(0)), syncBytes: bytesOf(of(0).filter(({ sync }) => sync)) };
    expect(tracks[0]).toMatchObject({ ...shared, ...pictures, ...bytes });
    const sound = { samples: 21, syncSamples: 21, frameTicks: AUDIO_TICKS, lastTicks: AUDIO_TICKS };
    expect(tracks[1]).toMatchObject({ ...shared, ...sound, payloadBytes: bytesOf(of(1)), syncBytes: bytesOf(of(1)) });
  });

  test('tells a pause of the sound: a break, no common length, not continuous', async () => {
    const trailer = trailerOf(await tellStory(await temporaryFolder(), 40));
    expect(trailer.discontinuous).toBe(true);
    expect(trailer.tracks[0]).toMatchObject({ breaks: 0, frameTicks: PICTURE_TICKS });
    expect(trailer.tracks[1]).toMatchObject({ breaks: 1, frameTicks: 0, lastTicks: AUDIO_TICKS });
  });
});

type Picture = readonly [dts: number, duration: number, offset?: number, sync?: boolean];

/** Counters of a segment with these pictures of 10 bytes. */
function countersWith(pictures: readonly Picture[], discontinuity = false) {
  const samples = new SampleTableBuilder();
  pictures.forEach(([dts, duration, offset = 0, sync = true], i) => {
    samples.push(dts, duration, offset, 10, 1000 + 50 * i, sync);
  });
  const last = pictures.at(-1);
  const endDts = last && last[0] + last[1];
  const contents = {
    head: HEAD,
    anchors: [{ ...HEAD.anchor, dts: 5, discontinuity }],
    ended: true,
    tracks: [{ track: VIDEO, samples, endDts, estimated: false }],
  };
  const counters = countersOf(contents, extentOf(contents) ?? { startUtcMs: 0, endUtcMs: 0, tracks: [] });
  return { counters, track: counters.tracks[0] };
}

describe('the counters of a track', () => {
  test.each<readonly [string, readonly Picture[], Partial<TrackCounters>]>([
    ['with one picture: its own length', [[0, 70]], { frameTicks: 70, lastTicks: 70, breaks: 0 }],
    [
      'whose last picture is longer',
      [
        [0, 40],
        [40, 40],
        [80, 90],
      ],
      { frameTicks: 40, lastTicks: 90 },
    ],
    [
      'of changing rate',
      [
        [0, 40],
        [40, 41],
        [81, 40],
      ],
      { frameTicks: 0, lastTicks: 40, breaks: 0 },
    ],
    [
      'with a hole',
      [
        [0, 40],
        [90, 40],
        [130, 40],
      ],
      { frameTicks: 0, breaks: 1, lastTicks: 40 },
    ],
    [
      'with a hole between any two',
      [
        [0, 40],
        [90, 40],
        [180, 40],
      ],
      { frameTicks: 90, breaks: 2, lastTicks: 40 },
    ],
    [
      'that begins with no sync sample',
      [
        [0, 40, 0, false],
        [40, 40],
      ],
      { firstSync: false, syncBytes: 10, payloadBytes: 20 },
    ],
    [
      'with a negative offset',
      [
        [0, 40],
        [40, 40, -1],
      ],
      { firstSync: true, negativeOffsets: true },
    ],
    [
      'with positive offsets',
      [
        [0, 40, 9],
        [40, 40, 1],
      ],
      { negativeOffsets: false },
    ],
  ])('%s', (_, pictures, wanted) => {
    expect(countersWith(pictures).track).toMatchObject(wanted);
  });

  test('without pictures are 0, whatever its tables hold behind their count', () => {
    const samples = new SampleTableBuilder();
    samples.push(0, 40, -1, 10, 1000, true);
    samples.count = 0;
    const tracks = [{ track: VIDEO, samples, endDts: undefined, estimated: false }];
    const none = { startUtcMs: 0, endUtcMs: 0, tracks: [] };
    expect(countersOf({ head: HEAD, anchors: [], ended: true, tracks }, none).tracks).toEqual([
      {
        ...{ firstDts: undefined, endDts: undefined, estimated: false, firstPts: 0, endPts: 0 },
        ...{ samples: 0, syncSamples: 0, payloadBytes: 0, syncBytes: 0, breaks: 0, frameTicks: 0, lastTicks: 0 },
        ...{ firstSync: false, negativeOffsets: false },
      },
    ]);
  });

  test('a segment is not continuous if a track has a break, or an anchor says so', () => {
    const whole: Picture[] = [
      [0, 40],
      [40, 40],
    ];
    const broken: Picture[] = [
      [0, 40],
      [50, 40],
    ];
    const of = (pictures: Picture[], flagged: boolean) => countersWith(pictures, flagged).counters.discontinuous;
    expect([of(whole, false), of(whole, true), of(broken, false)]).toEqual([false, true, true]);
  });

  test('all samples lie between the ends of the payload', () => {
    expect(
      countersWith([
        [0, 40],
        [40, 40],
        [80, 40],
      ]).counters.payload,
    ).toEqual({ offset: 1000, end: 1110 });
  });
});

describe('verify', () => {
  // Another `firstDts` moves the whole table: the test of the tables finds it.
  const TRACK: readonly (keyof TrackCounters)[] = [
    ...(['endDts', 'firstPts', 'endPts', 'samples', 'syncSamples', 'payloadBytes', 'syncBytes'] as const),
    ...(['breaks', 'frameTicks', 'lastTicks', 'estimated', 'firstSync', 'negativeOffsets'] as const),
  ];

  test.each(TRACK)('finds a trailer whose %s is not that of the frames', async (name) => {
    const story = await tellStory(await temporaryFolder(), 12);
    const trailer = trailerOf(story);
    const tracks = trailer.tracks.map((track, i) => {
      const was = track[name];
      return i === 1 ? { ...track, [name]: typeof was === 'boolean' ? !was : (was ?? 0) + 1 } : track;
    });
    expect(await problemsWith(story, { ...trailer, tracks })).toEqual([
      expect.stringMatching(`^track 1: the trailer says ${name} `),
    ]);
  });

  test.each<readonly [string, (trailer: Trailer) => Partial<Trailer>]>([
    ['startUtcMs', ({ startUtcMs }) => ({ startUtcMs: startUtcMs - 1 })],
    ['endUtcMs', ({ endUtcMs }) => ({ endUtcMs: endUtcMs + 1 })],
    ['discontinuous', ({ discontinuous }) => ({ discontinuous: !discontinuous })],
    ['payloadOffset', ({ payload }) => ({ payload: { ...payload, offset: payload.offset + 1 } })],
    ['payloadEnd', ({ payload }) => ({ payload: { ...payload, end: payload.end - 1 } })],
  ])('finds a trailer whose %s is not that of the frames', async (name, change) => {
    const story = await tellStory(await temporaryFolder(), 12);
    const trailer = trailerOf(story);
    expect(await problemsWith(story, { ...trailer, ...change(trailer) })).toEqual([
      expect.stringMatching(`^the trailer says ${name} `),
    ]);
  });
});

/** What verify says of the story with another trailer. */
async function problemsWith({ path, sealed }: Story, trailer: Trailer): Promise<readonly string[]> {
  const bytes = Buffer.from(sealed);
  bytes.set(encodeTrailer(trailer, native.crc32c), bytes.length - TRAILER_BYTES);
  await writeFile(path, bytes);
  return (await verifySegment(path, io)).problems.map(({ message }) => message);
}
