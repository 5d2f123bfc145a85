/**
 * Sick disks: a failed write or sync is reported, interrupts only the recording it belongs to, and costs nothing that was
 * appended before.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import type { VerifyReport } from '../../src/archive-check.ts';
import type { Frame } from '../../src/media.ts';
import { native } from '../../src/native.ts';
import type { Native } from '../../src/native-types.ts';
import { GroupFlusher } from '../../src/segment/flusher.ts';
import { mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { noise, openBytes, PICTURE_TICKS, tellStory, VIDEO } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

const picture = (i: number, bytes = 300): Frame => ({
  ...{ track: 0, dts: i * PICTURE_TICKS, compositionOffset: 0, sync: i % 10 === 0 },
  data: noise(bytes, i),
});

/** A camera that never ends; its first hundred pictures have `bytes`. */
async function* live(bytes = 300): AsyncGenerator<Frame, void, undefined> {
  for (let i = 0; ; i++) {
    yield picture(i, i < 100 ? bytes : 300);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A native layer whose flush says what `verdict` says of each descriptor, and notes the groups. */
function flushing(verdict: (fd: number) => number): { layer: Native; groups: number[][] } {
  const groups: number[][] = [];
  const groupFlush = async (fds: Int32Array) => {
    groups.push([...fds]);
    await new Promise((resolve) => setTimeout(resolve, 5));
    return fds.map(verdict);
  };
  return { layer: { ...native, groupFlush }, groups };
}

describe('group flush', () => {
  test('requests of one moment share a group, later ones the next; none is flushed twice', async () => {
    const { layer, groups } = flushing(() => 0);
    const flusher = new GroupFlusher(layer);
    const first = [flusher.flush([3, 4]), flusher.flush([5]), flusher.flush([3])];
    await new Promise((resolve) => setTimeout(resolve, 2));
    await Promise.all([...first, flusher.flush([6]), flusher.flush([7])]);
    expect(groups).toEqual([
      [3, 4, 5],
      [6, 7],
    ]);
  });

  test("an error is its file's alone", async () => {
    const flusher = new GroupFlusher(flushing((fd) => (fd === 4 ? constants.errno.EIO : 0)).layer);
    const results = await Promise.allSettled([flusher.flush([3]), flusher.flush([4, 5]), flusher.flush([6])]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { code: 'E_FLUSH', message: expect.stringContaining('EIO') } });
  });

  test('a flush that fails as a whole is an error of all, not a silence', async () => {
    const cause = new Error('no thread');
    const flusher = new GroupFlusher({ ...native, groupFlush: () => Promise.reject(cause) });
    const results = await Promise.allSettled([flusher.flush([3]), flusher.flush([4])]);
    for (const result of results) expect(result).toMatchObject({ reason: { code: 'E_FLUSH', cause } });
    await expect(flusher.flush([5])).rejects.toMatchObject({ code: 'E_FLUSH' });
  });

  test('a failed flush interrupts only the recording whose file it was; that file is not flushed again', async () => {
    const root = await temporaryFolder();
    let sick: number | undefined;
    const asked: number[] = [];
    const groupFlush = async (fds: Int32Array) => {
      asked.push(...fds);
      return fds.map((fd) => (fd === sick ? constants.errno.EIO : 0));
    };
    await using archive = await openArchive(root, { native: { ...native, groupFlush } });
    const options = { tracks: [VIDEO], flushIntervalMs: 100 };
    const bad = await archive.record('bad', { ...options, frames: live() });
    await until(() => asked.length > 0);
    const [first] = asked;
    // Both run before one is sick: the descriptor of a segment that was left may be given to the next.
    const good = await archive.record('good', { ...options, frames: live() });
    asked.length = 0;
    sick = first;
    await until(() => bad.stats().state === 'interrupted');
    expect(bad.stats().cause).toMatchObject({ code: 'E_FLUSH' });
    // One flush may have been under way. (Later the descriptor may be that of a new segment.)
    expect(asked.filter((fd) => fd === sick).length).toBeLessThanOrEqual(2);
    sick = undefined;
    const flushed = good.stats().flushed[0] ?? 0;
    await until(() => (good.stats().flushed[0] ?? 0) > flushed + 20);
    expect(good.stats()).toMatchObject({ state: 'recording', lost: [0] });
    await good.stop();
    await bad.stop().catch(() => undefined);
  });
});

/** A file system of `mib` MiB. */
async function smallDisk(mib: number): Promise<string> {
  const folder = join(await temporaryFolder(), 'disk');
  await mkdir(folder);
  await run('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', folder]);
  onTestFinished(async () => {
    await run('umount', ['-l', folder]);
  });
  return folder;
}

describe('a full disk', () => {
  test('interrupts the recording; it goes on when there is room, and what was appended before is sealed', async () => {
    const root = await smallDisk(4);
    await using archive = await openArchive(root);
    const recording = await archive.record('door', { tracks: [VIDEO], flushIntervalMs: 100, frames: live(60_000) });
    await until(() => recording.stats().state === 'interrupted');
    expect(recording.stats().cause).toMatchObject({ code: 'E_DISK_FULL' });
    const appended = recording.stats().appended[0] ?? 0;
    expect(appended).toBeGreaterThan(30);
    // Nothing more fits, and beginnings do not heap up; what there is can be read.
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect((await readdir(root, { recursive: true })).filter((name) => name.endsWith('.mp4'))).toHaveLength(1);
    const [camera] = await archive.cameras();
    const session = await archive.session({ camera: 'door', start: (camera?.startUtcMs ?? 0) / 1000, duration: 60 });
    expect(session.length).toBeGreaterThan(60_000 * (appended - 1));
    await run('mount', ['-o', 'remount,size=32m', root]);
    await until(() => recording.stats().state === 'recording');
    const { appended: all, flushed, lost } = await recording.stop();
    expect(flushed).toEqual(all);
    expect(lost[0]).toBeGreaterThan(0);
    expect(await archive.timeline('door')).toMatchObject({ gaps: [{ cause: 'E_DISK_FULL' }] });
    const reports: VerifyReport[] = [];
    for await (const report of archive.verify()) reports.push(report);
    expect(reports.map(({ state, problems }) => ({ state, problems }))).toEqual(
      reports.map(() => ({ state: 'sealed', problems: [] })),
    );
    expect(reports.reduce((sum, { frames }) => sum + frames, 0)).toBe(all[0]);
  });

  test('that stays full ends the recording with its code; the next start seals what was appended', async () => {
    const root = await smallDisk(4);
    let appended = 0;
    {
      await using archive = await openArchive(root);
      const recording = await archive.record('door', { tracks: [VIDEO], flushIntervalMs: 100, frames: live(60_000) });
      await until(() => recording.stats().state === 'interrupted');
      await expect(recording.stop()).rejects.toMatchObject({ code: 'E_DISK_FULL' });
      appended = recording.stats().appended[0] ?? 0;
    }
    // A full disk does not keep the archive from being opened.
    {
      await using archive = await openArchive(root);
      expect(archive.recovered).toMatchObject([
        { camera: 'door', recovery: { outcome: 'failed', error: { code: 'E_DISK_FULL' } } },
      ]);
    }
    await run('mount', ['-o', 'remount,size=8m', root]);
    await using archive = await openArchive(root);
    expect(archive.recovered).toMatchObject([{ recovery: { outcome: 'sealed', frames: appended } }]);
    for await (const report of archive.verify()) expect(report.problems).toEqual([]);
  });

  test('fails an import, which leaves nothing behind', async () => {
    const root = await smallDisk(1);
    const file = await mediaFile('h264-aac');
    await using archive = await openArchive(root);
    const importing = archive.import('door', file, { start: '2026-01-31T12:00:00Z' });
    await expect(importing).rejects.toMatchObject({ code: 'E_DISK_FULL' });
    expect((await readdir(root, { recursive: true })).filter((name) => name.includes('.mp4'))).toEqual([]);
  });
});

describe('one sick segment', () => {
  test('keeps neither the archive from opening nor the others from being recovered', async () => {
    const root = await temporaryFolder();
    const newer = await tellStory(join(root, 'newer'));
    const bad = openBytes(newer, newer.endAt);
    bad.writeUInt16BE(9, 48 + 32);
    bad.writeUInt32BE(native.crc32c(bad.subarray(48 + 32, 48 + 128)), 48 + 24);
    const seed = native.crc32c(bad.subarray(48 + 40, 48 + 56));
    bad.writeUInt32BE(native.crc32c(bad.subarray(48, 48 + 28), seed), 48 + 28);
    await writeFile(newer.path, bad);
    const torn = await tellStory(join(root, 'torn'));
    await writeFile(torn.path, openBytes(torn, torn.endAt + 3));
    const begun = await tellStory(join(root, 'begun'));
    await writeFile(begun.path, '');
    await using archive = await openArchive(root);
    const outcomes = archive.recovered.map(({ camera, recovery }) => [camera, recovery.outcome]);
    expect(Object.fromEntries(outcomes)).toEqual({ begun: 'empty', newer: 'failed', torn: 'sealed' });
    expect((await readFile(newer.path)).equals(bad)).toBe(true);
    expect((await archive.cameras()).map(({ name }) => name)).toEqual(['torn']);
    expect(archive.unreadable).toMatchObject([{ camera: 'newer', reason: expect.stringContaining('version 9') }]);
    await rm(newer.path);
  });
});
