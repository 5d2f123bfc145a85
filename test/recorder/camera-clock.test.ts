/** What the camera's own clock says is kept with the footage, places nothing, and is in nobody's way. */
import { once } from 'node:events';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Archive, openArchive, type RecordOptions } from '../../src/archive.ts';
import type { Frame } from '../../src/media.ts';
import { inspectSegment, type RecordPlace } from '../../src/segment/inspect.ts';
import { nodeDisk } from '../../src/segment/disk.ts';
import { LAYERS } from '../native/layers.ts';
import { footage } from '../support/command.ts';
import {
  AUDIO,
  AUDIO_TICKS,
  framesOf,
  io,
  noise,
  PICTURE_TICKS,
  readOpen,
  START_UTC_MS,
  unseal,
  VIDEO,
} from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

const HOUR_MS = 3_600_000;

const dtsOf = (i: number) => (i - 2) * PICTURE_TICKS;

/** A picture that is presented two pictures after it is decoded; the camera's clock is an hour and `aheadMs` ahead. */
function picture(i: number, aheadMs?: number): Frame {
  const utcMs = START_UTC_MS + i * 40;
  const camera = aheadMs === undefined ? {} : { cameraUtcMs: utcMs + HOUR_MS + aheadMs };
  const times = { dts: dtsOf(i), compositionOffset: 2 * PICTURE_TICKS, sync: i % 10 === 0 };
  return { track: 0, data: noise(300, i), ...times, utcMs, ...camera };
}

function sound(i: number, aheadMs: number): Frame {
  const cameraUtcMs = START_UTC_MS + (i * AUDIO_TICKS) / 48 + HOUR_MS + aheadMs;
  const times = { dts: i * AUDIO_TICKS, compositionOffset: 0, sync: true, durationTicks: AUDIO_TICKS };
  return { track: 1, data: noise(30, i), ...times, cameraUtcMs };
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

async function record(archive: Archive, given: readonly Frame[], options: Partial<RecordOptions> = {}) {
  async function* frames() {
    yield* given;
  }
  const recording = await archive.record('door', { tracks: [VIDEO, AUDIO], frames: frames(), ...options });
  await recording.finished;
  const reports = [];
  for await (const report of archive.verify()) reports.push(report);
  for (const { problems } of reports) expect(problems).toEqual([]);
  return reports.map(({ path }) => join(archive.root, path));
}

async function segmentIn(root: string): Promise<string> {
  const names = await readdir(root, { recursive: true });
  return join(root, names.find((name) => name.endsWith('.mp4')) ?? '');
}

/** Camera clocks as [track, DTS, ms ahead of our clock, type of the record that it stands before]. */
async function clocksIn(path: string, layer = io): Promise<[number, number, number, string | undefined][]> {
  const { list = [], problems } = await inspectSegment(path, layer, true);
  expect(problems).toEqual([]);
  return list.flatMap((record, i) => {
    const { type, track, dts, cameraUtcMs = Number.NaN } = record;
    const ownMs = START_UTC_MS + dts / (track === 0 ? 90 : 48);
    return type === 'cameraClock' ? [[track, dts, Math.round(cameraUtcMs - ownMs), nextFrame(list, i)]] : [];
  });
}

const nextFrame = (list: readonly RecordPlace[], i: number) =>
  list.slice(i + 1).find(({ type }) => type !== 'cameraClock')?.type;

describe('a record', () => {
  test('comes before the first frame that has one, and where it has moved by more than 500 ms', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const jitter = range(0, 30).map((i) => picture(i, i === 0 ? 0 : (i % 3) * 250));
    const frames = [...jitter, ...range(30, 40).map((i) => picture(i, 501)), ...range(40, 50).map((i) => picture(i))];
    const [path = ''] = await record(archive, [...frames, ...range(50, 60).map((i) => picture(i, 0))]);
    expect(await clocksIn(path)).toEqual([
      [0, dtsOf(0), HOUR_MS, 'frame'],
      [0, dtsOf(30), HOUR_MS + 501, 'frame'],
      [0, dtsOf(50), HOUR_MS, 'frame'],
    ]);
    // The footage is where it would be without.
    const { spans } = await archive.timeline('door');
    expect(spans).toEqual([{ startUtcMs: START_UTC_MS, endUtcMs: START_UTC_MS + 2400 }]);
  });

  test('is in every segment, and for each track that has one', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const heard = range(0, 40).map((i) => sound(i, i < 20 ? 0 : 700));
    const frames = [...range(0, 15).map((i) => picture(i, 0)), ...heard, ...range(15, 40).map((i) => picture(i, 0))];
    const paths = await record(archive, frames, { segmentDurationMs: 700 });
    const found = await Promise.all(paths.map((path) => clocksIn(path)));
    expect(found).toEqual([
      [
        [0, dtsOf(0), HOUR_MS, 'frame'],
        [1, 0, HOUR_MS, 'group'],
        [1, 20 * AUDIO_TICKS, HOUR_MS + 700, 'group'],
      ],
      [[0, dtsOf(20), HOUR_MS, 'frame']],
    ]);
  });
});

describe('whoever does not know the record', () => {
  const frames = range(0, 40).map((i) => picture(i, i < 15 ? 0 : 5000));
  const DTS = [dtsOf(0), dtsOf(15)];

  test.each(LAYERS)('hops over it: the scan of the %s', async (_, native) => {
    await using archive = await openArchive(await temporaryFolder());
    const [path = ''] = await record(archive, frames);
    expect((await clocksIn(path, { disk: nodeDisk, native })).map(([, dts]) => dts)).toEqual(DTS);
  });

  test('hops over it: a reader of the open segment, by its pseudo-header and by the scan', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const held = new AbortController();
    async function* live() {
      yield* frames;
      await once(held.signal, 'abort');
    }
    const options = { tracks: [VIDEO], frames: live(), flushIntervalMs: 100, indexIntervalMs: 0 };
    const recording = await archive.record('door', options);
    while (recording.stats().flushed[0] !== 40) await new Promise((resolve) => setTimeout(resolve, 5));
    const path = await segmentIn(archive.root);
    const index = async () => (await inspectSegment(path, io)).index?.blocks ?? 0;
    while ((await index()) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(framesOf(await readOpen(path)).map(({ size, dts }) => [size, dts])).toEqual(
      frames.slice(0, -1).map(({ data, dts }) => [data.byteLength, dts]),
    );
    held.abort();
    await recording.finished;
  });

  test('keeps it in place: recovery of a torn segment, and repair of one in which it is damaged', async () => {
    const root = await temporaryFolder();
    const path = await sealedAt(root);
    const sealed = await readFile(path);
    await unseal(path);
    await writeFile(path, (await readFile(path)).subarray(0, -50));
    await rm(join(root, 'catalog.db'));
    {
      await using archive = await openArchive(root);
      expect(archive.recovered).toMatchObject([{ recovery: { outcome: 'sealed', frames: 40 } }]);
    }
    expect((await clocksIn(path)).map(([, dts]) => dts)).toEqual(DTS);
    await writeFile(path, sealed);
    const { list = [] } = await inspectSegment(path, io, true);
    const offset = list.findLast(({ type }) => type === 'cameraClock')?.offset ?? 0;
    await writeFile(path, Buffer.from(sealed).fill(0xff, offset + 32, offset + 40));
    await rm(join(root, 'catalog.db'));
    await using archive = await openArchive(root);
    for await (const { state, problems, repair } of archive.repair()) {
      if (state === 'other') continue;
      expect([problems.map(({ code }) => code), repair?.outcome]).toEqual([['record-damaged'], 'repaired']);
    }
    expect((await clocksIn(path)).map(([, dts]) => dts)).toEqual(DTS.slice(0, 1));
    expect((await readOpen(path)).tracks[0]?.samples.count).toBe(40);
  });

  async function sealedAt(root: string): Promise<string> {
    await using archive = await openArchive(root);
    const [path = ''] = await record(archive, frames);
    return path;
  }
});

test('footage inspect --records shows what it says', async () => {
  await using archive = await openArchive(await temporaryFolder());
  const [path = ''] = await record(archive, [picture(0, 0), picture(1, 0)]);
  const { stdout, status } = await footage('inspect', path, '--records');
  expect(status).toBe(0);
  expect(stdout).toMatch(
    /^record \d+: cameraClock, 40 bytes, track 0, DTS -7200, 0 frames, 2026-01-31T12:59:59\.920Z by the camera's clock$/m,
  );
  const { stdout: json } = await footage('inspect', path, '--records', '--json');
  const { list } = JSON.parse(json) as { list: RecordPlace[] };
  expect(list.find(({ type }) => type === 'cameraClock')).toMatchObject({ cameraUtcMs: START_UTC_MS + HOUR_MS - 80 });
});
