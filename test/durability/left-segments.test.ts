/**
 * Segments that a recorder had to leave, and what is counted of them: no failure of a disk may make frames count as durable
 * that no good sync covers, nor keep a segment from being sealed once that can be done.
 */
import { EventEmitter, once } from 'node:events';
import { copyFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { readGaps } from '../../src/catalog/gap-log.ts';
import { nodeDisk } from '../../src/segment/disk.ts';
import { SegmentWriter } from '../../src/segment/writer.ts';
import { FaultyDisk } from '../support/faulty-disk.ts';
import { HEAD, io, quickFlusher, START_UTC_MS, unseal, VIDEO } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';
import { camera, lengths, OPTIONS, stored, sum, warnings } from './live-camera.ts';

const PATIENCE = { timeout: 30_000 };
/** Long segments, and no sub-blocks: nothing happens but what the test provokes. */
const CALM = { ...OPTIONS, segmentDurationMs: 600_000, indexIntervalMs: 600_000 };

test('a segment whose sealing fails is sealed while the recording goes on, which tells of it', async () => {
  const seen = warnings();
  const root = await temporaryFolder();
  const made: string[] = [];
  let failed = false;
  const disk = new FaultyDisk(({ kind, path }) => {
    if (kind === 'create' && path.endsWith('.mp4')) made.push(path);
    const sealing = kind === 'flush' && path === made[0] && made.length > 1;
    if (!sealing || failed) return undefined;
    failed = true;
    return 'EIO';
  });
  await using archive = await openArchive(root, disk.io);
  let stop = false;
  const given = camera(() => stop);
  const recording = await archive.record('door', { ...OPTIONS, frames: given.frames });
  await vi.waitUntil(() => failed, PATIENCE);
  await vi.waitUntil(() => seen.length > 0, PATIENCE);
  const { appended } = recording.stats();
  expect(recording.stats().state).toBe('recording');
  expect(seen).toEqual([expect.stringContaining('could not be sealed yet')]);
  // What is durable is not held back for as long as the recording lasts.
  await vi.waitUntil(() => (recording.stats().flushed[0] ?? 0) > (appended[0] ?? 0), PATIENCE);
  stop = true;
  const stats = await recording.finished;
  expect(stats).toMatchObject({ appended: given.counts, flushed: given.counts, lost: [0, 0] });
  expect(lengths((await stored(archive)).get('door'))).toEqual(given.counts);
});

test('of two flushes that end together, a good second one does not make good what the first one failed on', async () => {
  warnings();
  const root = await temporaryFolder();
  const folders = new EventEmitter();
  let [held, flushes] = [true, 0];
  const disk = new FaultyDisk(async ({ kind, path }) => {
    if (kind === 'syncFolder' && path.startsWith(join(root, 'door/')) && held) await once(folders, 'synced');
    if (kind !== 'flush' || !path.endsWith('.mp4')) return undefined;
    flushes++;
    return flushes === 1 ? 'EIO' : undefined;
  });
  await using archive = await openArchive(root, disk.io);
  let stop = false;
  const given = camera(() => stop);
  const recording = await archive.record('door', { ...CALM, frames: given.frames });
  await vi.waitUntil(() => flushes >= 2, PATIENCE);
  await delay(50);
  held = false;
  folders.emit('synced');
  await vi.waitUntil(() => recording.stats().state === 'interrupted', PATIENCE);
  expect(recording.stats()).toMatchObject({ flushed: [0, 0], appended: [0, 0] });
  await vi.waitUntil(() => recording.stats().state === 'recording', PATIENCE);
  stop = true;
  const { appended, flushed, lost } = await recording.finished;
  expect(flushed).toEqual(appended);
  expect(appended.map((count, i) => count + (lost[i] ?? 0))).toEqual(given.counts);
  expect(lengths((await stored(archive)).get('door'))).toEqual(appended);
});

test('sound whose length is not known yet does not cross a gap, and so does not hide it', async () => {
  warnings();
  const root = await temporaryFolder();
  let created = 0;
  const disk = new FaultyDisk(({ kind, path }) =>
    kind === 'create' && path.endsWith('.mp4') && ++created === 2 ? 'ENOSPC' : undefined,
  );
  await using archive = await openArchive(root, disk.io);
  let stop = false;
  const given = camera(() => stop, { durations: false });
  const recording = await archive.record('door', { ...OPTIONS, frames: given.frames });
  await vi.waitUntil(() => created >= 3, PATIENCE);
  await vi.waitUntil(() => recording.stats().state === 'recording', PATIENCE);
  stop = true;
  const { appended, lost } = await recording.finished;
  expect(appended.map((count, i) => count + (lost[i] ?? 0))).toEqual(given.counts);
  expect(lengths((await stored(archive)).get('door'))).toEqual(appended);
  expect(await archive.timeline('door')).toMatchObject({ gaps: [{ cause: 'E_DISK_FULL' }] });
});

test('frames in a folder that was removed are lost, also when nothing but the sealing could notice', async () => {
  warnings();
  const root = await temporaryFolder();
  await using archive = await openArchive(root);
  let stop = false;
  const given = camera(() => stop);
  const options = { ...OPTIONS, indexIntervalMs: 600_000, segmentDurationMs: 8000 };
  const recording = await archive.record('door', { ...options, frames: given.frames });
  await vi.waitUntil(() => (recording.stats().flushed[0] ?? 0) > 20, PATIENCE);
  await rm(join(root, 'door', String(new Date().getUTCFullYear())), { recursive: true });
  await vi.waitUntil(() => recording.stats().segments > 2, PATIENCE);
  stop = true;
  const { appended, lost } = await recording.finished;
  expect(sum(lost)).toBeGreaterThan(20);
  expect(appended.map((count, i) => count + (lost[i] ?? 0))).toEqual(given.counts);
  expect(lengths((await stored(archive)).get('door'))).toEqual(appended);
});

test('gaps that follow each other closely are all noted, before the camera is free', async () => {
  warnings();
  const root = await temporaryFolder();
  let sick = false;
  const left = new Set<string>();
  const disk = new FaultyDisk(async ({ kind, path }) => {
    if (kind === 'sync' && path.endsWith('.gaps')) await delay(4000);
    // Not the sealing of what was left before: that interrupts nothing.
    if (kind !== 'write' || !path.endsWith('.mp4') || !sick || left.has(path)) return undefined;
    left.add(path);
    sick = false;
    return 'EIO';
  });
  await using archive = await openArchive(root, disk.io);
  let stop = false;
  const given = camera(() => stop);
  const recording = await archive.record('door', { ...CALM, frames: given.frames });
  for (const segments of [1, 2]) {
    await vi.waitUntil(() => recording.stats().segments === segments, PATIENCE);
    await vi.waitUntil(() => recording.stats().state === 'recording', PATIENCE);
    sick = true;
    await vi.waitUntil(() => recording.stats().state === 'interrupted', PATIENCE);
  }
  await vi.waitUntil(() => recording.stats().state === 'recording', PATIENCE);
  stop = true;
  await recording.finished;
  expect(await readGaps(nodeDisk, join(root, 'door'))).toMatchObject([{ cause: 'E_IO' }, { cause: 'E_IO' }]);
});

test('verify --repair removes a segment in which nothing was recorded, and its row', async () => {
  const root = await temporaryFolder();
  const writer = await SegmentWriter.create({
    ...{ ...io, directory: join(root, 'door'), startUtcMs: START_UTC_MS, head: HEAD, flusher: quickFlusher() },
    ...{ tracks: [VIDEO, VIDEO], anchors: [], indexIntervalMs: 0 },
  });
  await writer.close();
  await using archive = await openArchive(root, { recover: false });
  const reports = [];
  for await (const report of archive.repair()) reports.push(report);
  expect(reports.filter(({ path }) => path.endsWith('.mp4'))).toMatchObject([
    { repair: { outcome: 'removed' }, remaining: [] },
  ]);
  expect((await readdir(root, { recursive: true })).filter((name) => /\.(mp4|idx)/.test(name))).toEqual([]);
  expect(await archive.cameras()).toEqual([]);
});

test('a catalog from before a repair is brought up to date when the archive is opened', async () => {
  const root = await temporaryFolder();
  const database = join(root, 'catalog.db');
  {
    await using archive = await openArchive(root);
    const given = camera(() => given.counts[0] >= 100);
    await (
      await archive.record('door', { ...CALM, frames: given.frames })
    ).finished;
  }
  const [name = ''] = (await readdir(root, { recursive: true })).filter((one) => one.endsWith('.mp4'));
  await copyFile(database, join(root, 'before'));
  await unseal(join(root, name));
  {
    await using archive = await openArchive(root, { recover: false });
    for await (const { remaining } of archive.repair()) expect(remaining).toEqual([]);
  }
  await copyFile(join(root, 'before'), database);
  for (const end of ['-wal', '-shm']) await rm(`${database}${end}`, { force: true });
  await rm(join(root, 'before'));
  await using archive = await openArchive(root);
  for await (const { problems } of archive.verify()) expect(problems).toEqual([]);
});
