/** What the crash states found, each for itself. */
import { copyFile, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCatalog } from '../../../src/catalog/sqlite-catalog.ts';
import { encodeRecord, RecordType } from '../../../src/format/delimiter.ts';
import { native } from '../../../src/native.ts';
import { nodeDisk } from '../../../src/segment/disk.ts';
import { GroupFlusher } from '../../../src/segment/flusher.ts';
import { indexPathOf } from '../../../src/segment/layout.ts';
import { SegmentWriter } from '../../../src/segment/writer.ts';
import { Author, HEAD, io, quickFlusher, START_UTC_MS, VIDEO } from '../../support/segment.ts';
import { temporaryFolder } from '../../support/tmp.ts';
import { DISK_IMAGE, fileOf, filesIn } from './image.ts';
import { MemoryDisk } from './memory-disk.ts';
import { openAndRecover } from './process.ts';

describe('a record that is handed over while a write comes to its end', () => {
  test.each(Array.from({ length: 12 }, (_, i) => i))('%i turns behind its beginning is written', async (turns) => {
    const disk = new MemoryDisk({ base: DISK_IMAGE });
    const writer = await SegmentWriter.create({
      ...{ directory: '/disk/archive/door', startUtcMs: START_UTC_MS, head: HEAD, tracks: [VIDEO], anchors: [] },
      ...{ indexIntervalMs: 0, flusher: quickFlusher(), ...disk.io },
    });
    const fields = { type: RecordType.void, flags: 0, track: 0, configuration: 0, compositionOffset: 0, dts: 0 };
    const record = () => encodeRecord(fields, Uint8Array.of(1, 2, 3), writer.seed, native.crc32c);
    writer.append([record()]);
    for (let i = 0; i < turns; i++) await Promise.resolve();
    writer.append([record()]);
    await writer.written();
    const segment = filesIn(disk.image).find(({ path }) => path === writer.path);
    expect(fileOf(disk.image, segment?.inode ?? -1).bytes.byteLength).toBe(writer.bytes);
    await writer.close();
  });
});

/** A sealed segment of camera "door" in an archive. */
async function sealedSegment(): Promise<{ root: string; path: string; index: string }> {
  const root = await temporaryFolder();
  const author = await Author.begin(join(root, 'door'));
  await author.story(10);
  await author.writer.seal(author.ends);
  await author.writer.close();
  return { root, path: author.writer.path, index: indexPathOf(author.writer.path) };
}

describe('a segment that holds what another one left on the disk', () => {
  test.each(['sealed', 'open'])('%s, is set aside, and the other one stays what it is', async (state) => {
    const { root, path, index } = await sealedSegment();
    await rename(index, `${index}.kept`);
    const bytes = await readFile(path);
    const other = join(dirname(path), `120001.000Z-${'f'.repeat(32)}.mp4`);
    await copyFile(path, other);
    if (state === 'open')
      await nodeDisk.open(other, 'r+').then((file) => file.truncate(bytes.byteLength - 4096).then(() => file.close()));
    const catalog = await openCatalog(undefined);
    const reports = await openAndRecover(root, catalog, io, quickFlusher());
    expect(reports.map(({ recovery }) => recovery)).toEqual([{ outcome: 'set-aside', path: `${other}.unreadable` }]);
    expect(catalog.all().map((row) => [join(root, row.path), row.state])).toEqual([[path, 'sealed']]);
    await openAndRecover(root, catalog, io, quickFlusher());
    expect(catalog.all()).toHaveLength(1);
    catalog.close();
  });
});

test('a segment that was sealed when its process died is synced before the catalog calls it sealed', async () => {
  const { root } = await sealedSegment();
  const flushed: number[] = [];
  const groupFlush = async (fds: Int32Array) => {
    flushed.push(...fds);
    return new Int32Array(fds.length);
  };
  const catalog = await openCatalog(undefined);
  const reports = await openAndRecover(root, catalog, io, new GroupFlusher({ ...native, groupFlush }));
  expect(reports.map(({ recovery }) => recovery.outcome)).toEqual(['sealed']);
  expect(flushed).toHaveLength(2);
  expect(catalog.all().map(({ state }) => state)).toEqual(['sealed']);
  catalog.close();
});
