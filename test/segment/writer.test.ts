/** What must be on disk before a flush counts, and what a beginning or a flush that fails leaves behind. */
import { type FileHandle, mkdir, open, readdir, readlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { native } from '../../src/native.ts';
import { makeSegmentFolder, nodeDisk } from '../../src/segment/disk.ts';
import { GroupFlusher } from '../../src/segment/flusher.ts';
import { indexPathOf, segmentPath } from '../../src/segment/layout.ts';
import { Author, HEAD, START_UTC_MS } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

/** Calls `sync` in the place of every FileHandle's own, with the path of the file. */
async function onSync(sync: (path: string) => void): Promise<void> {
  const handle = await open('/dev/null');
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const spy = vi.spyOn(prototype, 'sync').mockImplementation(async function (this: FileHandle) {
    sync(await readlink(`/proc/self/fd/${this.fd}`));
  });
  onTestFinished(() => spy.mockRestore());
}

describe('the folder of a segment', () => {
  test('is made durable up to the entry of the archive, also if a process that died had made it; then it alone', async () => {
    const above = await temporaryFolder();
    const camera = join(above, 'archive', 'door');
    const day = join(camera, '2026', '01', '31');
    await mkdir(day, { recursive: true });
    let synced: string[] = [];
    await onSync((path) => synced.push(path));
    const whole = [above, join(above, 'archive'), camera, join(camera, '2026'), join(camera, '2026', '01'), day];

    await (
      await makeSegmentFolder(nodeDisk, camera, day)
    )();
    expect(synced.toSorted()).toEqual(whole);
    synced = [];
    await (
      await makeSegmentFolder(nodeDisk, camera, day)
    )();
    expect(synced).toEqual([day]);
    synced = [];
    const next = join(camera, '2026', '02', '01');
    await (
      await makeSegmentFolder(nodeDisk, camera, next)
    )();
    expect(synced).toEqual(expect.arrayContaining([next, dirname(next), join(camera, '2026')]));
  });
});

describe('a segment', () => {
  test('whose pseudo-header cannot be created leaves no empty file behind', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, segmentPath(START_UTC_MS, HEAD.segment));
    await mkdir(dirname(path), { recursive: true });
    await writeFile(indexPathOf(path), 'in the way');
    await expect(Author.begin(folder)).rejects.toMatchObject({ code: 'E_IO' });
    expect((await readdir(dirname(path))).filter((name) => name.endsWith('.mp4'))).toEqual([]);
  });

  test('whose folder cannot be synced reports it only when no sync uses its files any more', async () => {
    await onSync(() => {
      throw Object.assign(new Error('EIO'), { code: 'EIO' });
    });
    let inFlight = 0;
    const groupFlush = async (fds: Int32Array): Promise<Int32Array> => {
      inFlight++;
      await new Promise((resolve) => setTimeout(resolve, 30));
      inFlight--;
      return new Int32Array(fds.length);
    };
    const flusher = new GroupFlusher({ ...native, groupFlush });
    const { writer } = await Author.begin(await temporaryFolder(), { flusher });
    await expect(writer.flush()).rejects.toMatchObject({ code: 'E_FLUSH' });
    expect(inFlight).toBe(0);
    await writer.close();
  });

  test('gathers what it writes where there are many recordings, and writes at once where there are few', async () => {
    for (const [recordings, gathers] of [
      [1, false],
      [100, true],
    ] as const) {
      const flusher = new GroupFlusher(native);
      const stops = Array.from({ length: recordings }, () => flusher.every(3_600_000, () => undefined));
      const author = await Author.begin(await temporaryFolder(), { flusher });
      const before = author.writer.pendingBytes;
      author.picture();
      // What is gathered is still pending when a write would long be under way, and the next one joins it.
      const gathering = flusher.gather();
      expect([before, gathering !== undefined]).toEqual([0, gathers]);
      author.picture();
      await author.writer.written();
      expect(author.writer.pendingBytes).toBe(0);
      for (const stop of stops) stop();
      expect(flusher.gather()).toBeUndefined();
      await author.writer.close();
    }
  });
});
