/**
 * Pass 1 on segments of synthetic frames: the order of runs, what of a file is sent, and what counts as a change. What
 * players make of the answers is for the acceptance tests.
 */
import { open } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { openRow } from '../../src/catalog/reconcile.ts';
import type { Track } from '../../src/media.ts';
import { type SampleTable, SampleTableBuilder } from '../../src/mp4/tables.ts';
import { SegmentCache } from '../../src/segment/cache.ts';
import type { SegmentContents } from '../../src/segment/contents.ts';
import { viewOfContents } from '../../src/segment/view.ts';
import { FragmentRows } from '../../src/session/fragment-layout.ts';
import { Expansions } from '../../src/session/packed.ts';
import { type Plan, planMp4 } from '../../src/session/plan.ts';
import { type AnswerOptions, answerPolicy } from '../../src/session/request.ts';
import { joinRun, type PlanSegment, type Run } from '../../src/session/run.ts';
import type { StoredSlice } from '../../src/session/virtual-file.ts';
import {
  AUDIO,
  AUDIO_TICKS,
  HEAD,
  PICTURE_TICKS,
  readOpen,
  START_UTC_MS,
  tellStory,
  VIDEO,
  io,
} from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

const RECORD_BYTES = 32;
const MDAT_HEADER_BYTES = 8;

/** Pictures of 100 bytes at 25 a second, each a sync sample, from `dts` on; the record of each is in front of it. */
function pictures(count: number, dts = 0): SampleTableBuilder {
  const samples = new SampleTableBuilder();
  for (let i = 0; i < count; i++) {
    samples.push(dts + i * PICTURE_TICKS, PICTURE_TICKS, 0, 100, 1000 + i * (100 + RECORD_BYTES) + RECORD_BYTES, true);
  }
  return samples;
}

interface Lane {
  readonly track: Track;
  readonly samples: SampleTable;
}

function contentsOf(lanes: readonly Lane[]): SegmentContents {
  const tracks = lanes.map(({ track, samples }) => ({ track, samples, endDts: 0, estimated: false }));
  const kinds = lanes.map(({ track: { kind, timescale } }) => ({ kind, timescale }));
  return { head: { ...HEAD, tracks: kinds }, anchors: [], tracks, ended: false };
}

/** A run of one segment all of whose samples are looked at. */
function runOf(id: string, contents: SegmentContents, startUtcMs = START_UTC_MS, path = `/${id}`): Run {
  const view = viewOfContents(contents);
  const to = view.tracks.map(({ tables }) => tables.count);
  const stored = { path, row: { ...openRow('door', path, contents.head, startUtcMs), id: `${id}0`, run: id } };
  const segment: PlanSegment = {
    ...{ ...stored, links: [stored], view },
    zones: [{ kind: 'window', from: to.map(() => 0), to }],
    tracks: view.tracks.map(({ track }) => track),
  };
  return joinRun(id, startUtcMs, [segment]);
}

interface Wish extends AnswerOptions {
  readonly fromS?: number;
  readonly toS?: number;
}

function plan(runs: readonly Run[], { fromS = 0, toS = 3600, ...options }: Wish = {}): Plan {
  const span = { startUtcMs: START_UTC_MS + fromS * 1000, endUtcMs: START_UTC_MS + toS * 1000 };
  const deps = { cache: new SegmentCache(io), expansions: new Expansions(), rows: new FragmentRows() };
  return planMp4(runs, { camera: 'door', ...span, ...answerPolicy(options) }, deps);
}

async function slicesOf({ file }: Plan): Promise<StoredSlice[]> {
  const slices: StoredSlice[] = [];
  for await (const slice of file.slices({ start: 0, end: file.length })) slices.push(slice);
  return slices;
}

/** Bytes [from, to) of segments that go out. */
async function rangesOf(answer: Plan): Promise<[number, number][]> {
  return (await slicesOf(answer)).flatMap((slice) =>
    slice.kind === 'file' ? [[slice.offset, slice.offset + slice.length] as [number, number]] : [],
  );
}

describe('the order of runs', () => {
  const early = contentsOf([{ track: VIDEO, samples: pictures(50) }]);
  const late = contentsOf([{ track: VIDEO, samples: pictures(50, 30 * VIDEO.timescale) }]);

  test.each([
    ['a', 'b'],
    ['b', 'a'],
  ])('is that of their beginnings, whatever their UUIDs are (%s, %s)', (first, second) => {
    const runs = [runOf(first, early), runOf(second, late, START_UTC_MS + 30_000)];
    for (const order of [runs, runs.toReversed()]) {
      const { delivered, segments } = plan(order).manifest;
      expect(delivered.map(({ startUtcMs }) => startUtcMs - START_UTC_MS)).toEqual([0, 30_000]);
      expect(segments).toEqual([`${first}0`, `${second}0`]);
    }
  });

  test('of runs that begin at one instant, it is that of their UUIDs', () => {
    for (const ids of [['a', 'b'] as const, ['b', 'a'] as const]) {
      expect(plan(ids.map((id) => runOf(id, early))).manifest.segments).toEqual(['a0', 'b0']);
    }
  });
});

/** The bytes behind the header of an answer. */
async function payloadOf(answer: Plan): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for (const slice of await slicesOf(answer)) {
    parts.push(slice.kind === 'bytes' ? slice.data : await readStretch(slice.path, slice.offset, slice.length));
  }
  const bytes = Buffer.concat(parts);
  return bytes.subarray(bytes.lastIndexOf('mdat') - 4 + MDAT_HEADER_BYTES);
}

async function readStretch(path: string, offset: number, length: number): Promise<Buffer> {
  const file = await open(path);
  try {
    return (await file.read(Buffer.alloc(length), 0, length, offset)).buffer;
  } finally {
    await file.close();
  }
}

describe('what a request leaves out is not sent', () => {
  test.each([
    ['video', 0],
    ['audio', 1],
  ] as const)('with tracks=%s, nothing but its samples, one behind the other', async (tracks, track) => {
    const story = await tellStory(await temporaryFolder());
    const run = runOf('a', await readOpen(story.path), START_UTC_MS, story.path);
    const answer = plan([run], { tracks });
    const frames = story.frames.filter((frame) => frame.track === track);
    const samples = frames.map(({ offset, size }) => story.sealed.subarray(offset, offset + size));
    expect((await payloadOf(answer)).equals(Buffer.concat(samples))).toBe(true);
    expect(answer.manifest.codecs).toEqual([[VIDEO, AUDIO][track]?.codec]);
    expect(answer.manifest.omittedCodecs).toEqual([[AUDIO, VIDEO][track]?.codec]);
  });

  test('an open segment’s last picture, whose length is not known yet: the same bytes before and after sealing', async () => {
    const sound = new SampleTableBuilder();
    for (let i = 0; i < 8; i++) sound.push(i * AUDIO_TICKS, AUDIO_TICKS, 0, 10, 1900 + i * 10, true);
    const [before, after] = [4, 5].map((count) => {
      const lanes = [
        { track: VIDEO, samples: Object.assign(pictures(5), { count }) },
        { track: AUDIO, samples: sound },
      ];
      // The range ends inside the fourth picture; the sound lies behind the fifth in the file.
      return plan([runOf('a', contentsOf(lanes))], { toS: 0.15 });
    });
    if (before === undefined || after === undefined) throw new Error('two plans were made');
    expect(before.file.etag).toBe(after.file.etag);
    expect(await slicesOf(before)).toEqual(await slicesOf(after));
    const endOfFourth = 1000 + 4 * (100 + RECORD_BYTES);
    expect(await rangesOf(before)).toEqual([
      [1000 + RECORD_BYTES, endOfFourth],
      [1900, 1980],
    ]);
  });
});

/** A minute of nothing lies between these and the pictures from 0 on. */
const MINUTE = 60;

function soundFrom(second: number): SampleTableBuilder {
  const sound = new SampleTableBuilder();
  const dts = second * AUDIO.timescale;
  for (let i = 0; i < 80; i++) sound.push(dts + i * AUDIO_TICKS, AUDIO_TICKS, 0, 10, 9000 + i * 10, true);
  return sound;
}

describe('a change of the video', () => {
  const first = runOf('a', contentsOf([{ track: VIDEO, samples: pictures(50) }]));
  const second = (track: Track) =>
    runOf('b', contentsOf([{ track, samples: pictures(50, MINUTE * VIDEO.timescale) }]), START_UTC_MS + MINUTE * 1000);

  test('is none if it is only spelt in another way; the answer spells it as the configuration says', () => {
    const { manifest } = plan([first, second({ ...VIDEO, codec: 'avc1.64002A' })]);
    expect(manifest.codecs).toEqual(['avc1.640028']);
    expect(manifest.insertedParameterSets).toBe(false);
    expect(plan([second({ ...VIDEO, codec: 'avc1.4D401F' })]).manifest.codecs).toEqual(['avc1.640028']);
  });

  test.each<readonly [string, Track]>([
    ['parameter sets are others', { ...VIDEO, config: Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe1, 0, 1, 0x67, 0) }],
    ['the size is another', { ...VIDEO, width: 320 }],
  ])('is none if %s: each sync sample brings its own', (_what, track) => {
    const { manifest } = plan([first, second(track)]);
    expect(manifest).toMatchObject({ insertedParameterSets: true, parts: 1 });
    expect(manifest.delivered).toHaveLength(2);
  });

  test.each<readonly [string, Track]>([
    ['the sample entry is another', { ...VIDEO, codec: 'avc3.640028' }],
    ['lengths of NAL units are others', { ...VIDEO, config: Uint8Array.of(1, 0x64, 0, 0x28, 0xfd, 0xe0, 0) }],
  ])('is one if %s: refused, or one answer on each side', (_what, track) => {
    const runs = [first, second(track)];
    const refused = expect.objectContaining({ code: 'E_CHANGES' });
    expect(() => plan(runs)).toThrow(refused);
    expect(() => plan(runs, { changes: 'drop-audio' })).toThrow(refused);
    const begins = [1, 2].map((part) => {
      const { delivered, parts, ...manifest } = plan(runs, { changes: 'split', part }).manifest;
      expect([manifest.part, parts, delivered.length]).toEqual([part, 2, 1]);
      return (delivered[0]?.startUtcMs ?? 0) - START_UTC_MS;
    });
    expect(begins).toEqual([0, MINUTE * 1000]);
    expect(() => plan(runs, { changes: 'split', part: 3 })).toThrow(expect.objectContaining({ code: 'E_RANGE_EMPTY' }));
  });
});

/** Two seconds of pictures with sound. */
function bothFrom(id: string, second: number, track: Track): Run {
  const lanes = [
    { track: VIDEO, samples: pictures(50, second * VIDEO.timescale) },
    { track, samples: soundFrom(second) },
  ];
  return runOf(id, contentsOf(lanes), START_UTC_MS + second * 1000);
}

describe('a change of the sound', () => {
  /** The same but for the bit rates in its descriptor, and with two channels. */
  const [sameSound, stereo] = [AUDIO.config.slice(), AUDIO.config.slice()];
  sameSound[20] = 1;
  stereo[27] = 0x90;

  test('is none if the decoder is set up in the same way', () => {
    const { manifest } = plan([bothFrom('a', 0, AUDIO), bothFrom('b', MINUTE, { ...AUDIO, config: sameSound })]);
    expect(manifest.codecs).toEqual([VIDEO.codec, AUDIO.codec]);
  });

  test('is refused, or one answer on each side, or no sound at all', () => {
    const runs = [bothFrom('a', 0, AUDIO), bothFrom('b', MINUTE, { ...AUDIO, config: stereo, channels: 2 })];
    expect(() => plan(runs)).toThrow(expect.objectContaining({ code: 'E_CHANGES' }));
    expect(plan(runs, { changes: 'split', part: 2 }).manifest).toMatchObject({ part: 2, parts: 2 });
    const silent = plan(runs, { changes: 'drop-audio' }).manifest;
    expect(silent).toMatchObject({ codecs: [VIDEO.codec], omittedCodecs: [AUDIO.codec], parts: 1 });
    expect(silent.delivered).toHaveLength(2);
  });

  test('channels and rate are those of the configuration, as they will be read from the sealed segment', () => {
    const [track] = viewOfContents(contentsOf([{ track: { ...AUDIO, channels: 2 }, samples: soundFrom(0) }])).tracks;
    expect(track?.track).toMatchObject({ channels: 1, sampleRate: 48_000, timescale: 48_000 });
  });
});
