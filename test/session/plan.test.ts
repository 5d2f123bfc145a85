/**
 * Pass 1 on segments of synthetic frames: the order of runs, what of a file is sent, what counts as a change, and how
 * long an answer may be. What players make of the answers is for the acceptance tests.
 */
import { describe, expect, test } from 'vitest';
import type { Catalog, SegmentRow } from '../../src/catalog/catalog.ts';
import type { Head } from '../../src/format/records.ts';
import type { Track } from '../../src/media.ts';
import { type SampleTable, SampleTableBuilder } from '../../src/mp4/tables.ts';
import { native } from '../../src/native.ts';
import { SegmentCache } from '../../src/segment/cache.ts';
import type { SegmentContents } from '../../src/segment/contents.ts';
import { type Plan, planMp4 } from '../../src/session/plan.ts';
import { Planner } from '../../src/session/planner.ts';
import { joinRun, type Run } from '../../src/session/run.ts';
import { MAX_SAMPLES } from '../../src/session/size.ts';
import type { Slice } from '../../src/session/virtual-file.ts';
import { AUDIO, AUDIO_TICKS, HEAD, PICTURE_TICKS, START_UTC_MS, VIDEO } from '../support/segment.ts';

const HOUR_MS = 3_600_000;
const RECORD_BYTES = 32;

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

function contentsOf(lanes: readonly Lane[], head: Partial<Head> = {}): SegmentContents {
  const tracks = lanes.map(({ track, samples }) => ({ track, samples, endDts: 0, estimated: false }));
  const kinds = lanes.map(({ track: { kind, timescale } }) => ({ kind, timescale }));
  return { head: { ...HEAD, ...head, tracks: kinds }, anchors: [], tracks };
}

function runOf(id: string, contents: SegmentContents): Run {
  return joinRun(id, [{ id: `${id}0`, path: `/${id}`, repairGeneration: 0, contents }]);
}

function plan(runs: readonly Run[], fromS = 0, toS = 3600): Plan {
  const span = { startUtcMs: START_UTC_MS + fromS * 1000, endUtcMs: START_UTC_MS + toS * 1000 };
  return planMp4(runs, { camera: 'door', gaps: 'collapse', ...span });
}

function slicesOf({ file }: Plan): Slice[] {
  return [...file.slices({ start: 0, end: file.length })];
}

/** Bytes [from, to) of segments that go out. */
function rangesOf(answer: Plan): [number, number][] {
  return slicesOf(answer).flatMap((slice) =>
    slice.kind === 'file' ? [[slice.offset, slice.offset + slice.length] as [number, number]] : [],
  );
}

describe('the order of runs', () => {
  const early = contentsOf([{ track: VIDEO, samples: pictures(50) }]);
  const late = contentsOf([{ track: VIDEO, samples: pictures(50, 30 * VIDEO.timescale) }]);

  test.each([
    ['a', 'b'],
    ['b', 'a'],
  ])('with one anchor, it is that of their first samples, whatever their UUIDs are (%s, %s)', (first, second) => {
    for (const runs of [
      [runOf(first, early), runOf(second, late)],
      [runOf(second, late), runOf(first, early)],
    ]) {
      const { delivered, segments } = plan(runs).manifest;
      expect(delivered.map(({ startUtcMs }) => startUtcMs - START_UTC_MS)).toEqual([0, 30_000]);
      expect(segments).toEqual([`${first}0`, `${second}0`]);
    }
  });

  test('of runs that begin at one instant, it is that of their UUIDs', () => {
    for (const ids of [['a', 'b'] as const, ['b', 'a'] as const]) {
      expect(plan(ids.map((id) => runOf(id, early))).manifest.segments).toEqual(['a0', 'b0']);
    }
  });

  test('priming before time 0 does not make a run begin earlier', () => {
    const sound = new SampleTableBuilder();
    for (let i = -2; i < 50; i++) sound.push(i * AUDIO_TICKS, AUDIO_TICKS, 0, 10, 1000 + i * 10 + 20, true);
    expect(runOf('a', contentsOf([{ track: AUDIO, samples: sound }])).startUtcMs).toBe(START_UTC_MS);
  });
});

describe('what a request leaves out is not sent', () => {
  test('the payload of a second track of a kind, small as it may be', () => {
    const [video, other] = [new SampleTableBuilder(), new SampleTableBuilder()];
    const record = 100 + RECORD_BYTES;
    for (let i = 0; i < 100; i++) {
      const table = i % 2 === 0 ? video : other;
      table.push((i >> 1) * PICTURE_TICKS, PICTURE_TICKS, 0, 100, 1000 + i * record + RECORD_BYTES, true);
    }
    const run = runOf(
      'a',
      contentsOf([
        { track: VIDEO, samples: video },
        { track: VIDEO, samples: other },
      ]),
    );
    const answer = plan([run]);
    expect(answer.manifest.codecs).toHaveLength(1);
    const sent = rangesOf(answer);
    expect(sent).toHaveLength(50);
    for (const [i, [from, to]] of sent.entries()) {
      expect([from, to - from]).toEqual([1000 + 2 * i * record + RECORD_BYTES, 100]);
    }
  });

  test('an open segment’s last picture, whose length is not known yet: the same bytes before and after sealing', () => {
    const sound = new SampleTableBuilder();
    for (let i = 0; i < 8; i++) sound.push(i * AUDIO_TICKS, AUDIO_TICKS, 0, 10, 1900 + i * 10, true);
    const [before, after] = [4, 5].map((count) => {
      const lanes = [
        { track: VIDEO, samples: Object.assign(pictures(5), { count }) },
        { track: AUDIO, samples: sound },
      ];
      // The range ends inside the fourth picture; the sound lies behind the fifth in the file.
      return plan([runOf('a', contentsOf(lanes))], 0, 0.15);
    });
    if (before === undefined || after === undefined) throw new Error('two plans were made');
    expect(before.file.etag).toBe(after.file.etag);
    expect(slicesOf(before)).toEqual(slicesOf(after));
    const endOfFourth = 1000 + 4 * (100 + RECORD_BYTES);
    expect(rangesOf(before)).toEqual([
      [1000 + RECORD_BYTES, endOfFourth],
      [1900, 1980],
    ]);
  });
});

describe('a change of the codec', () => {
  const second = (track: Track) => contentsOf([{ track, samples: pictures(50, 60 * VIDEO.timescale) }]);
  const first = contentsOf([{ track: VIDEO, samples: pictures(50) }]);

  test('is none if it is only spelt in another way; the answer spells it as the configuration says', () => {
    const { manifest } = plan([runOf('a', first), runOf('b', second({ ...VIDEO, codec: 'avc1.64002A' }))]);
    expect(manifest.codecs).toEqual(['avc1.640028']);
    expect(plan([runOf('b', second({ ...VIDEO, codec: 'avc1.4D401F' }))]).manifest.codecs).toEqual(['avc1.640028']);
  });

  test.each<readonly [string, Track]>([
    ['sample entry', { ...VIDEO, codec: 'avc3.640028' }],
    ['configuration', { ...VIDEO, config: Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 1) }],
    ['width', { ...VIDEO, width: 320 }],
  ])('is one if the %s is another', (_what, track) => {
    expect(() => plan([runOf('a', first), runOf('b', second(track))])).toThrow(
      expect.objectContaining({ code: 'E_CHANGES' }),
    );
  });

  test('channels and rate of sound are those of the configuration, as they will be read from the sealed segment', () => {
    const sound = new SampleTableBuilder();
    sound.push(0, AUDIO_TICKS, 0, 10, 1000, true);
    const [track] = runOf('a', contentsOf([{ track: { ...AUDIO, channels: 2 }, samples: sound }])).tracks;
    expect(track?.track).toMatchObject({ channels: 1, sampleRate: 48_000, timescale: 48_000 });
  });
});

const row = (hour: number, samples: number, hours = 1): SegmentRow => {
  const startUtcMs = START_UTC_MS + hour * HOUR_MS;
  const span = { startUtcMs, endUtcMs: startUtcMs + hours * HOUR_MS };
  const counters = { firstDts: 0, endDts: 1, estimated: false, samples, syncSamples: 1, payloadBytes: 1 };
  const place = { offset: 0, length: 0, count: 0, crc: 0 };
  const tables = { stsd: place, stts: place, ctts: place, stss: place, stsz: place, stsc: place, co64: place };
  const identity = { id: `s${hour}`, camera: 'door', path: `${hour}.mp4`, run: 'r', sequence: 0 };
  const tracks = [{ ...counters, firstPts: 0, endPts: 1, tables }];
  return { ...identity, ...span, state: 'sealed', repairGeneration: 0, recovered: false, tracks };
};

/** Plans hours [from, to) of these rows; their files do not exist, so what is looked for has nothing in it. */
function planHours(rows: readonly SegmentRow[], from: number, to: number): Promise<Plan> {
  const catalog = { segments: () => rows, open: () => [], run: () => rows } as unknown as Catalog;
  const planner = new Planner({ archive: '/nowhere', catalog, cache: new SegmentCache(native) });
  const span = { startUtcMs: START_UTC_MS + from * HOUR_MS, endUtcMs: START_UTC_MS + to * HOUR_MS };
  return planner.plan({ camera: 'door', gaps: 'collapse', ...span });
}

describe('a range with more samples than one answer holds', () => {
  test('is refused before any table is read', async () => {
    const month = Array.from({ length: 720 }, (_, hour) => row(hour, 270_000));
    await expect(planHours(month, 0, 720)).rejects.toMatchObject({ code: 'E_RANGE_TOO_LONG', httpStatus: 400 });
    const hours = Array.from({ length: 8 }, (_, hour) => row(hour, MAX_SAMPLES / 8));
    await expect(planHours(hours, 0, 8)).rejects.toMatchObject({ code: 'E_RANGE_EMPTY' });
  });

  test('is counted by what of a segment it meets: a long segment can be had piece by piece', async () => {
    const day = [row(0, 3 * MAX_SAMPLES, 24)];
    await expect(planHours(day, 0, 9)).rejects.toMatchObject({ code: 'E_RANGE_TOO_LONG' });
    await expect(planHours(day, 3, 10)).rejects.toMatchObject({ code: 'E_RANGE_EMPTY' });
  });

  test('is refused when its open segments turn out to have them', () => {
    const count = MAX_SAMPLES + 1;
    const samples: SampleTable = {
      count,
      dts: new Float64Array(count),
      duration: new Float64Array(count).fill(1),
      compositionOffset: new Int32Array(count),
      size: new Uint32Array(count).fill(1),
      offset: new Float64Array(count),
      sync: new Uint8Array(count).fill(1),
    };
    for (let i = 0; i < count; i++) samples.dts[i] = i;
    const run = runOf('a', contentsOf([{ track: { ...VIDEO, timescale: 1000 }, samples }]));
    expect(() => plan([run])).toThrow(expect.objectContaining({ code: 'E_RANGE_TOO_LONG' }));
    expect(plan([run], 0, 10).manifest.delivered).toHaveLength(1);
  });
});
