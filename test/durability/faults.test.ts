/**
 * A disk that fails and comes back: recording goes on, nothing that was appended is lost, and what was lost is counted and
 * shown as a gap with its cause. Every camera here shares one archive and one disk, and has a failure of its own.
 */
import { EventEmitter, once } from 'node:events';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { openArchive, type RecordOptions } from '../../src/archive.ts';
import { readGaps } from '../../src/catalog/gap-log.ts';
import type { Recording } from '../../src/recorder/recording.ts';
import { nodeDisk } from '../../src/segment/disk.ts';
import { FaultyDisk, type Operation, type Verdict } from '../support/faulty-disk.ts';
import { temporaryFolder } from '../support/tmp.ts';
import { camera, type Given, lengths, OPTIONS, stored, sum, warnings } from './live-camera.ts';

interface Fault {
  readonly name: string;
  readonly kind: Operation['kind'];
  /** From this operation of that kind on, */
  readonly from: number;
  /** for so long, ms. */
  readonly forMs: number;
  readonly verdict: Exclude<Verdict, undefined>;
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

const FAULTS: readonly Omit<Fault, 'name'>[] = [
  // Writes: a file's beginning, its records, a sub-block, the end record, moov, the header of mdat, the next file.
  ...range(1, 24).map((from) => ({ kind: 'write' as const, from, forMs: 300, verdict: 'ENOSPC' as const })),
  ...range(3, 12).map((from) => ({ kind: 'write' as const, from: from * 3, forMs: 0, verdict: 'ENOSPC' as const })),
  ...range(1, 8).map((from) => ({ kind: 'write' as const, from: from * 4, forMs: 100, verdict: 'EIO' as const })),
  ...range(1, 6).map((from) => ({ kind: 'write' as const, from: from * 5, forMs: 0, verdict: 'half' as const })),
  ...range(1, 8).map((from) => ({ kind: 'flush' as const, from: from * 2, forMs: 0, verdict: 'EIO' as const })),
  ...range(1, 6).map((from) => ({ kind: 'create' as const, from, forMs: 200, verdict: 'EMFILE' as const })),
  ...range(1, 3).map((from) => ({ kind: 'mkdir' as const, from: from + 1, forMs: 200, verdict: 'EROFS' as const })),
  ...range(1, 3).map((from) => ({ kind: 'syncFolder' as const, from: from + 2, forMs: 0, verdict: 'EIO' as const })),
  ...range(1, 2).map((from) => ({ kind: 'unlink' as const, from, forMs: 100, verdict: 'EIO' as const })),
];

/** Judges by the camera whose folder a path is in: the fault of that camera begins at its operation and ends in time. */
function judgeOf(root: string, faults: readonly Fault[]) {
  const byCamera = new Map(faults.map((fault) => [fault.name, { fault, seen: 0, untilMs: 0, hit: false }]));
  const judge = ({ kind, path }: Operation): Verdict => {
    const state = byCamera.get(path.slice(root.length + 1).split('/')[0] ?? '');
    // Not of the camera's identity: without it there is no recording yet, and the caller is told at once.
    if (state === undefined || state.fault.kind !== kind || path.endsWith('.camera')) return undefined;
    state.seen++;
    if (state.seen === state.fault.from) {
      state.untilMs = performance.now() + state.fault.forMs;
      state.hit = true;
      return state.fault.verdict;
    }
    return performance.now() < state.untilMs ? state.fault.verdict : undefined;
  };
  return { judge, hits: () => [...byCamera.values()].filter(({ hit }) => hit).length };
}

describe('one failure at one operation', () => {
  test('is outlived: all that counts as appended is stored, all else is counted, and the gap has a cause', async () => {
    warnings();
    const root = await temporaryFolder();
    const faults = FAULTS.map((fault, i) => ({ ...fault, name: `${fault.kind}-${fault.verdict}-${fault.from}-${i}` }));
    const { judge, hits } = judgeOf(root, faults);
    const disk = new FaultyDisk(judge);
    const archive = await openArchive(root, { ...disk.io, lockWaitMs: 0 });
    let stop = false;
    const recorded: { fault: Fault; given: Given; recording: Recording }[] = [];
    for (const fault of faults) {
      const given = camera(() => stop);
      const options: RecordOptions = { ...OPTIONS, frames: given.frames };
      recorded.push({ fault, given, recording: await archive.record(fault.name, options) });
    }
    const over = () => recorded.every(({ recording }) => recording.stats().state === 'recording');
    // Every failure has come, and a while later each is over.
    await vi.waitUntil(() => hits() === faults.length, { timeout: 60_000 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    await vi.waitUntil(over, { timeout: 30_000 });
    stop = true;
    await Promise.all(recorded.map(({ recording }) => recording.finished));
    const held = await stored(archive);
    for (const { fault, given, recording } of recorded) {
      const { appended, flushed, lost, dropped, state } = recording.stats();
      const told = {
        name: fault.name,
        state,
        flushed,
        given: appended.map((n, i) => n + (lost[i] ?? 0) + (dropped[i] ?? 0)),
      };
      expect(told).toEqual({ name: fault.name, state: 'recording', flushed: appended, given: given.counts });
      const numbers = held.get(fault.name) ?? [];
      expect({ name: fault.name, held: lengths(numbers) }).toEqual({ name: fault.name, held: appended });
      for (const list of numbers) expect(new Set(list).size).toBe(list.length);
      const { gaps } = await archive.timeline(fault.name);
      // A short write is no failure: it is gone on with.
      if (fault.verdict === 'half' || fault.kind === 'unlink')
        expect({ lost, gaps }).toEqual({ lost: [0, 0], gaps: [] });
      for (const gap of gaps) expect(gap.cause, `${fault.name} ${JSON.stringify(gap)}`).toMatch(/^E_/);
      // Of pictures or sound: those lost right before a sync sample may leave no gap that shows.
      const noted = await readGaps(nodeDisk, join(root, fault.name));
      if (sum(lost) > 20) expect(noted.map(({ cause }) => cause).join(' '), fault.name).toMatch(/^E_/);
    }
    await archive.close();
    await using again = await openArchive(root);
    expect(again.recovered).toEqual([]);
    expect(again.unreadable).toEqual([]);
  });
});

describe('a failed sync', () => {
  test('takes back what it did not cover, until that has been written again', async () => {
    warnings();
    const root = await temporaryFolder();
    let sick = false;
    const disk = new FaultyDisk(({ kind, path }) =>
      sick && kind === 'flush' && path.endsWith('.mp4') ? 'EIO' : undefined,
    );
    await using archive = await openArchive(root, disk.io);
    let stop = false;
    const given = camera(() => stop);
    const recording = await archive.record('door', { ...OPTIONS, segmentDurationMs: 60_000, frames: given.frames });
    await vi.waitUntil(() => (recording.stats().flushed[0] ?? 0) > 30);
    sick = true;
    await vi.waitUntil(() => recording.stats().state === 'interrupted', { timeout: 5000 });
    const during = recording.stats();
    expect(during.cause).toMatchObject({ code: 'E_FLUSH' });
    expect(during.appended).toEqual(during.flushed);
    expect(sum(during.lost)).toBeGreaterThan(0);
    sick = false;
    const segments = during.segments;
    await vi.waitUntil(() => recording.stats().segments > segments, { timeout: 20_000 });
    await vi.waitUntil(() => (recording.stats().flushed[0] ?? 0) > (during.flushed[0] ?? 0) + 20, { timeout: 20_000 });
    stop = true;
    const { appended, lost, flushed } = await recording.finished;
    expect(flushed).toEqual(appended);
    expect(appended.map((n, i) => n + (lost[i] ?? 0))).toEqual(given.counts);
    expect(lengths((await stored(archive)).get('door'))).toEqual(appended);
    expect(await readGaps(nodeDisk, join(root, 'door'))).toMatchObject([{ cause: 'E_FLUSH' }]);
  });
});

describe('a disk that hangs', () => {
  test('holds up its own recordings, asks it no more, and shows; another disk does not notice', async () => {
    const over = new EventEmitter();
    let hangs = false;
    let asked = 0;
    const sick = new FaultyDisk(async ({ kind }) => {
      if (!hangs || kind !== 'flush') return undefined;
      asked++;
      await once(over, 'over');
      return undefined;
    });
    await using hung = await openArchive(await temporaryFolder(), sick.io);
    await using well = await openArchive(await temporaryFolder());
    let stop = false;
    const [one, other] = [camera(() => stop), camera(() => stop)];
    const held = await hung.record('door', { ...OPTIONS, segmentDurationMs: 60_000, frames: one.frames });
    const free = await well.record('door', { ...OPTIONS, segmentDurationMs: 60_000, frames: other.frames });
    await vi.waitUntil(() => (held.stats().flushed[0] ?? 0) > 5, { timeout: 10_000 });
    hangs = true;
    await vi.waitUntil(() => held.stats().state === 'waiting', { timeout: 20_000 });
    // The two files of one group.
    expect(asked).toBeLessThanOrEqual(2);
    const flushed = free.stats().flushed[0] ?? 0;
    await vi.waitUntil(() => (free.stats().flushed[0] ?? 0) > flushed + 20, { timeout: 10_000 });
    hangs = false;
    over.emit('over');
    await vi.waitUntil(() => held.stats().state === 'recording', { timeout: 10_000 });
    stop = true;
    const { appended, lost, flushed: durable } = await held.finished;
    expect({ appended, lost, durable }).toEqual({ appended: one.counts, lost: [0, 0], durable: appended });
    await free.finished;
  });
});

describe('folders removed under a recorder', () => {
  test('of a day: what was in it is lost and said so, recording goes on', async () => {
    const seen = warnings();
    const root = await temporaryFolder();
    await using archive = await openArchive(root);
    let stop = false;
    const given = camera(() => stop);
    const recording = await archive.record('door', { ...OPTIONS, segmentDurationMs: 60_000, frames: given.frames });
    await vi.waitUntil(() => (recording.stats().flushed[0] ?? 0) > 20, { timeout: 10_000 });
    await rm(join(root, 'door', String(new Date().getUTCFullYear())), { recursive: true });
    await vi.waitUntil(() => recording.stats().segments === 2, { timeout: 20_000 });
    await vi.waitUntil(() => (recording.stats().flushed[0] ?? 0) > 20, { timeout: 20_000 });
    stop = true;
    const { appended, lost } = await recording.finished;
    expect(appended.map((n, i) => n + (lost[i] ?? 0))).toEqual(given.counts);
    expect(lengths((await stored(archive)).get('door'))).toEqual(appended);
    expect(seen.join('\n')).toContain('was removed or renamed while it was being recorded');
  });

  test.each([
    ['when a block of the pseudo-header is due', { indexIntervalMs: 150, segmentDurationMs: 600_000 }],
    ['at the next cut', { indexIntervalMs: 600_000, segmentDurationMs: 3000 }],
  ])(
    'of the camera, with its lock: the recording ends %s, before anybody could write beside it',
    async (_, options) => {
      warnings();
      const root = await temporaryFolder();
      await using archive = await openArchive(root);
      const recording = await archive.record('door', { ...OPTIONS, ...options, frames: camera(() => false).frames });
      await vi.waitUntil(() => (recording.stats().flushed[0] ?? 0) > 20, { timeout: 10_000 });
      await rename(join(root, 'door'), join(root, 'gate'));
      await mkdir(join(root, 'door'));
      await expect(recording.finished).rejects.toMatchObject({ code: 'E_CAMERA_REMOVED' });
    },
  );
});

test('a folder above the archive that cannot be synced is left out', async () => {
  const seen = warnings();
  const root = join(await temporaryFolder(), 'archive');
  const disk = new FaultyDisk(({ kind, path }) =>
    kind === 'syncFolder' && path === dirname(root) ? 'EINVAL' : undefined,
  );
  await using archive = await openArchive(root, disk.io);
  const given = camera(() => given.counts[0] >= 100);
  const recording = await archive.record('door', { ...OPTIONS, frames: given.frames });
  expect(await recording.finished).toMatchObject({ appended: given.counts, flushed: given.counts, lost: [0, 0] });
  expect(seen).toEqual([]);
});

describe('a clock that is set', () => {
  const HOUR_MS = 3_600_000;

  test.each([-3, 3])('by %s hours between two recordings, and during one: everything is there', async (hours) => {
    const root = await temporaryFolder();
    let nowMs = Date.parse('2026-01-31T12:00:00Z');
    await using archive = await openArchive(root, { now: () => nowMs });
    const given: Given[] = [];
    for (const step of [0, hours * HOUR_MS]) {
      nowMs += step;
      const one = camera(() => one.counts[0] >= 200);
      given.push(one);
      const recording = await archive.record('door', { ...OPTIONS, frames: one.frames });
      await vi.waitUntil(() => one.counts[0] > 100);
      nowMs += step / 2;
      const { appended } = await recording.finished;
      expect(appended).toEqual(one.counts);
    }
    const all = [0, 1].map((i) => sum(given.map(({ counts }) => counts[i] ?? 0)));
    expect(lengths((await stored(archive)).get('door'))).toEqual(all);
    const [info] = await archive.cameras();
    expect(info?.spans).toHaveLength(2);
    const session = await archive.session({
      camera: 'door',
      start: (info?.startUtcMs ?? 0) / 1000,
      duration: 4 * 3600,
    });
    expect(session.manifest.delivered).toHaveLength(2);
  });
});
