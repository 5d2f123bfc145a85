/** Chains of whole segments: planned as one block, with the same bytes and the same ETag as segment by segment. */
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import type { Catalog, SegmentRow } from '../../src/catalog/catalog.ts';
import { openRow, reconcile } from '../../src/catalog/reconcile.ts';
import { openCatalog } from '../../src/catalog/sqlite-catalog.ts';
import type { Frame } from '../../src/media.ts';
import { native } from '../../src/native.ts';
import { SegmentCache } from '../../src/segment/cache.ts';
import { chainsOf } from '../../src/session/chains.ts';
import { loadRuns, TrackCache } from '../../src/session/load.ts';
import { Planner } from '../../src/session/planner.ts';
import { type AnswerOptions, answerPolicy, type PlanRequest } from '../../src/session/request.ts';
import type { VirtualFile } from '../../src/session/virtual-file.ts';
import { seeded } from '../support/acceptance.ts';
import { AUDIO, AUDIO_TICKS, HEAD, noise, PICTURE_TICKS, START_UTC_MS, unseal, VIDEO, io } from '../support/segment.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

const SEGMENTS = 15;

/** Two seconds a segment, one GOP each; pictures are shown in another order than they are decoded. */
async function* frames(): AsyncGenerator<Frame, void, undefined> {
  let sounds = 0;
  for (let i = 0; i < SEGMENTS * 50; i++) {
    const compositionOffset = (i % 50 === 0 ? 1 : (i % 3) + 1) * PICTURE_TICKS;
    const data = noise(60 + ((i * 37) % 90), i);
    yield { track: 0, data, dts: i * PICTURE_TICKS, compositionOffset, sync: i % 50 === 0 };
    for (; sounds * AUDIO_TICKS * 25 < i * 48_000; sounds++) {
      yield {
        track: 1,
        data: noise(20 + (sounds % 7), sounds),
        dts: sounds * AUDIO_TICKS,
        compositionOffset: 0,
        sync: true,
      };
    }
  }
}

async function record(folder: string): Promise<void> {
  await using archive = await openArchive(folder);
  const options = { tracks: [VIDEO, AUDIO], frames: frames(), segmentDurationMs: 2000, startUtcMs: START_UTC_MS };
  await (
    await archive.record('door', options)
  ).finished;
}

/** The rows of what lies in a folder. */
async function rowsOf(archive: string): Promise<SegmentRow[]> {
  const catalog = await openCatalog(undefined);
  expect(await reconcile(archive, catalog, io)).toEqual([]);
  const rows = catalog.all('door');
  catalog.close();
  return rows;
}

interface Rig {
  readonly catalog: Catalog;
  readonly cache: SegmentCache;
  readonly planner: Planner;
}

async function rigOf(archive: string): Promise<Rig> {
  const catalog = await openCatalog(undefined);
  const cache = new SegmentCache(io);
  onTestFinished(async () => {
    await cache.close();
    catalog.close();
  });
  expect(await reconcile(archive, catalog, io)).toEqual([]);
  return { catalog, cache, planner: new Planner({ archive, catalog, cache }) };
}

function ask(fromS: number, toS: number, options: AnswerOptions = {}): PlanRequest {
  const span = { startUtcMs: START_UTC_MS + fromS * 1000, endUtcMs: START_UTC_MS + toS * 1000 };
  return { camera: 'door', ...span, ...answerPolicy(options) };
}

async function bytesOf(file: VirtualFile, start = 0, end = file.length): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const slice of file.slices({ start, end })) {
    if (slice.kind === 'bytes') parts.push(slice.data);
    else parts.push((await readFile(slice.path)).subarray(slice.offset, slice.offset + slice.length));
  }
  return Buffer.concat(parts);
}

const REQUESTS: readonly PlanRequest[] = [
  ...[ask(0, 30), ask(1.3, 28.9), ask(-5, 40), ask(2, 28), ask(7.77, 22.22, { gaps: 'freeze' })],
  ...[ask(3.1, 27, { begin: 'keyframe' }), ask(3.1, 27, { begin: 'next' })],
  ...[ask(1.3, 28.9, { tracks: 'video' }), ask(1.3, 28.9, { tracks: 'audio' }), ask(1, 29, { format: 'fmp4' })],
  ask(0, 30, { keyframes: true, speed: 10 }),
];

describe('a range over many segments', () => {
  let sealed: string;
  let open: string;
  beforeAll(async () => {
    [sealed, open] = [await sharedTemporaryFolder(), await sharedTemporaryFolder()];
    await record(sealed);
    // Open segments are always looked into: there are no chains of them.
    await cp(sealed, open, { recursive: true });
    for (const { path } of await rowsOf(open)) await unseal(join(open, path));
  });

  test('is one block but for its ends', async () => {
    const { catalog, cache } = await rigOf(sealed);
    const span = { startUtcMs: START_UTC_MS + 1300, endUtcMs: START_UTC_MS + 28_900 };
    const deps = { archive: sealed, catalog, cache, tracks: new TrackCache(native.crc32c) };
    const [run] = await loadRuns(catalog.segments('door', -Infinity, Infinity), span, deps);
    const links = run?.segments.map((segment) => segment.links.length) ?? [];
    expect(Math.max(...links)).toBe(SEGMENTS - 8);
    expect(links.reduce((sum, count) => sum + count, 0)).toBe(SEGMENTS);
    expect(run?.segments.flatMap((segment) => segment.links.map(({ row }) => row.sequence))).toEqual(
      Array.from({ length: SEGMENTS }, (_, i) => i),
    );
  });

  test.each(REQUESTS)('gives the same bytes under the same ETag as one by one: %j', async (request) => {
    const chained = await (await rigOf(sealed)).planner.plan(request);
    const single = await (await rigOf(open)).planner.plan(request);
    const whole = await bytesOf(chained.file);
    expect(whole.equals(await bytesOf(single.file))).toBe(true);
    expect([chained.file.etag, chained.manifest]).toEqual([single.file.etag, single.manifest]);
    const random = seeded(7);
    for (let i = 0; i < 40; i++) {
      const start = Math.floor(random() * whole.length);
      const end = start + Math.floor(random() * Math.min(5000, whole.length - start));
      expect((await bytesOf(chained.file, start, end)).equals(whole.subarray(start, end))).toBe(true);
    }
  });

  test('has a gap where a file in its middle is gone', async () => {
    const folder = await temporaryFolder();
    await record(folder);
    const { catalog, planner } = await rigOf(folder);
    const rows = catalog.all('door');
    const gone = rows[7];
    if (gone === undefined) throw new Error('there are fifteen segments');
    await rm(join(folder, gone.path));
    const { manifest } = await planner.plan(ask(0, 30));
    expect(manifest.segments).toEqual(rows.filter((row) => row !== gone).map(({ id }) => id));
    expect(manifest.missing).toHaveLength(1);
  });
});

const lengths = (rows: readonly SegmentRow[], isWhole = (_row: SegmentRow) => true) =>
  chainsOf(rows, isWhole).map(({ length }) => length);

function withEntry(row: SegmentRow | undefined, crc: number): SegmentRow['tracks'] {
  return (row?.tracks ?? []).map((track) => ({
    ...track,
    tables: { ...track.tables, stsd: { ...track.tables.stsd, crc } },
  }));
}

describe('a chain', () => {
  let rows: SegmentRow[];
  beforeAll(async () => {
    const folder = await sharedTemporaryFolder();
    await record(folder);
    rows = await rowsOf(folder);
  });
  const changed = (at: number, change: Partial<SegmentRow>) =>
    rows.map((row, i) => (i === at ? { ...row, ...change } : row));

  test('leaves its ends single', () => {
    expect(lengths(rows)).toEqual([1, 1, SEGMENTS - 4, 1, 1]);
    expect(lengths(rows.slice(0, 5))).toEqual([1, 1, 1, 1, 1]);
    expect(lengths([])).toEqual([]);
  });

  test.each([
    ['a segment that the range does not take as a whole', () => lengths(rows, ({ sequence }) => sequence !== 7)],
    ['a segment that is not there', () => lengths(rows.toSpliced(7, 1)).toSpliced(5, 0, 1)],
    ['breaks in a segment', () => lengths(changed(7, { discontinuous: true }))],
    ['a segment that is open', () => lengths(changed(7, openRow('door', 'x', { ...HEAD, sequence: 7 }, 0)))],
    ['a segment whose samples lie nowhere', () => lengths(changed(7, { payload: undefined }))],
    ['another sample entry', () => lengths(changed(7, { tracks: withEntry(rows[7], 1) }))],
  ])('ends at %s', (_what, cut) => {
    expect(cut()).toEqual([1, 1, 3, 1, 1, 1, 1, 1, 3, 1, 1]);
  });
});
