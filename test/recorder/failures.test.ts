/**
 * Sick disks: a failed write or sync is reported, ends only the recording it belongs to, and costs nothing that was
 * appended before.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import type { Frame } from '../../src/media.ts';
import { native } from '../../src/native.ts';
import type { Native } from '../../src/native-types.ts';
import { GroupFlusher } from '../../src/segment/flusher.ts';
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

  test('a failed flush ends only the recording whose file it was; it is not tried again', async () => {
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
    // Both run before one is sick: the descriptor of a recording that has failed may be given to the next.
    const good = await archive.record('good', { ...options, frames: live() });
    asked.length = 0;
    sick = first;
    await expect(bad.finished).rejects.toMatchObject({ code: 'E_FLUSH' });
    const flushed = good.stats().flushed[0] ?? 0;
    await until(() => (good.stats().flushed[0] ?? 0) > flushed + 20);
    const askedSick = asked.filter((fd) => fd === sick).length;
    expect(askedSick).toBeLessThanOrEqual(2);
    sick = undefined;
    await good.stop();
    // What was appended of the sick one is still there: the next recording recovers it.
    const { appended } = bad.stats();
    const next = await archive.record('bad', { ...options, frames: live() });
    await next.stop();
    const [segment] = (await archive.cameras()).filter(({ name }) => name === 'bad');
    expect(segment?.spans[0]?.endUtcMs).toBe((segment?.spans[0]?.startUtcMs ?? 0) + (appended[0] ?? 0) * 40);
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
  test('ends the recording with E_DISK_FULL at the next flush; what was appended is kept, and can be sealed with room', async () => {
    const root = await smallDisk(4);
    let appended = 0;
    {
      await using archive = await openArchive(root);
      const options = { tracks: [VIDEO], flushIntervalMs: 100 };
      const recording = await archive.record('door', { ...options, frames: live(60_000) });
      await expect(recording.finished).rejects.toMatchObject({ code: 'E_DISK_FULL' });
      appended = recording.stats().appended[0] ?? 0;
      expect(appended).toBeGreaterThan(30);
      // Nothing more fits; beginnings must not heap up.
      const again = archive.record('door', { ...options, frames: live(60_000) }).then((one) => one.finished);
      await expect(again).rejects.toMatchObject({ code: 'E_DISK_FULL' });
    }
    // A full disk does not keep the archive from being opened and read.
    {
      await using archive = await openArchive(root);
      expect(archive.recovered).toMatchObject([
        { camera: 'door', recovery: { outcome: 'failed', error: { code: 'E_DISK_FULL' } } },
      ]);
      const [camera] = await archive.cameras();
      const session = await archive.session({ camera: 'door', start: (camera?.startUtcMs ?? 0) / 1000, duration: 60 });
      expect(session.length).toBeGreaterThan(60_000 * (appended - 1));
    }
    await run('mount', ['-o', 'remount,size=8m', root]);
    await using archive = await openArchive(root);
    expect(archive.recovered).toMatchObject([{ recovery: { outcome: 'sealed', frames: appended } }]);
    for await (const report of archive.verify()) expect(report.problems).toEqual([]);
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
