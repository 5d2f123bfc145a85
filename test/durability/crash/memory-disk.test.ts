/** The disk in memory does what the machine's does, and what it makes of a power cut is what its model says. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { native } from '../../../src/native.ts';
import { nodeDisk, OPEN_OR_MAKE, type SegmentIo, writeAll } from '../../../src/segment/disk.ts';
import { systemCode } from '../../../src/errors.ts';
import { temporaryFolder } from '../../support/tmp.ts';
import { crashPoint, stateOf, systematic } from './crash-states.ts';
import { DISK_IMAGE, EMPTY_IMAGE, fileOf, filesIn, type Image } from './image.ts';
import { MemoryDisk } from './memory-disk.ts';

const failed = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: unknown) => systemCode(error),
  );

/** Everything that recording and recovery ask of a disk, and what comes of it. */
async function behaviour({ disk, native: layer }: SegmentIo, root: string): Promise<unknown[]> {
  const at = (path: string) => join(root, path);
  const seen: unknown[] = [
    await disk.mkdir(at('a/b'), { recursive: true }),
    await disk.mkdir(root, { recursive: true }),
  ];
  const file = await disk.open(at('a/b/one'), 'wx+');
  await writeAll(file, [Uint8Array.of(1, 2, 3), Uint8Array.of(4)], 2);
  const into = new Uint8Array(8);
  seen.push((await file.read(into, 1, 7, 1)).bytesRead, [...into], await file.stat().then(({ size }) => size));
  await file.truncate(3);
  seen.push([...(await layer.groupFlush(Int32Array.of(file.fd)))], (await file.read(into, 0, 8, 3)).bytesRead, [
    ...into,
  ]);
  const scan = { from: 0, to: 100, seed: 1, verify: true, resync: true, limit: 9 };
  seen.push(await layer.scan({ fd: file.fd, ...scan }));
  await file.close();
  await disk.rename(at('a/b/one'), at('a/b/two'));
  await (await disk.open(at('a/c'), OPEN_OR_MAKE)).close();
  const directory = await disk.open(at('a'), 'r');
  await directory.sync();
  await directory.close();
  const names = await disk.readdir(root, { recursive: true });
  seen.push(names.toSorted(), (await disk.readdir(at('a'))).toSorted());
  seen.push((await disk.stat(at('a'))).isDirectory(), (await disk.stat(at('a/c'))).isDirectory());
  const refused = [
    () => disk.open(at('a/c'), 'wx+'),
    () => disk.open(at('none'), 'r'),
    () => disk.open(at('none/one'), 'wx+'),
    () => disk.open(at('a'), 'r+'),
    () => disk.open(at('a/c/d'), 'r'),
    () => disk.readdir(at('a/c')),
    () => disk.mkdir(at('a/c/d'), { recursive: true }),
    () => disk.access(at('none')),
    () => disk.unlink(at('a/c')),
    () => disk.unlink(at('a/c')),
    () => disk.rename(at('a/c'), at('a/d')),
    () => disk.stat(at('a/c')),
  ];
  for (const work of refused) seen.push(await failed(work()));
  return seen;
}

const relative = (seen: unknown[], root: string) =>
  seen.map((one) => (typeof one === 'string' ? one.replace(root, '') : one));

test('the disk in memory behaves as that of the machine', async () => {
  const folder = await temporaryFolder();
  const memory = new MemoryDisk({ base: DISK_IMAGE });
  const [real, made] = [await behaviour({ disk: nodeDisk, native }, folder), await behaviour(memory.io, '/disk')];
  expect(relative(made, '/disk')).toEqual(relative(real, folder));
});

/** What the files hold, a letter for each sector, in each of the systematic states of a log. */
function statesOf(disk: MemoryDisk): Set<string> {
  const point = crashPoint(EMPTY_IMAGE, disk.log, disk.log.length);
  return new Set([...systematic(point)].map((choice) => lettersOf(stateOf(point, choice))));
}

const letter = (bytes: Uint8Array, at: number) => (bytes[at] === 0 ? '0' : String.fromCodePoint(bytes[at] ?? 0));

function lettersOf(image: Image): string {
  return filesIn(image)
    .map(({ path, inode }) => {
      const { bytes } = fileOf(image, inode);
      const sectors = Array.from({ length: Math.ceil(bytes.byteLength / 512) }, (_, i) => letter(bytes, i * 512));
      return `${path} ${sectors.join('')}`;
    })
    .join(', ');
}

const sectors = (letters: string) => Buffer.concat(letters.split('').map((one) => Buffer.alloc(512, one)));

async function written(disk: MemoryDisk, ...syncs: ('file' | 'folder')[]): Promise<MemoryDisk> {
  const file = await disk.open('/f', 'wx+');
  if (syncs.includes('folder')) await (await disk.open('/', 'r')).sync();
  await writeAll(file, [sectors('A')], 0);
  if (syncs.includes('file')) await file.sync();
  await writeAll(file, [sectors('BC')], 512);
  return disk;
}

describe('a power cut', () => {
  test('leaves what was synced, and of the rest each sector or none, within any length', async () => {
    const disk = await written(new MemoryDisk({ base: EMPTY_IMAGE }), 'file', 'folder');
    const states = [...statesOf(disk)].toSorted();
    // Blocks that were never written hold zeros, or what was on the disk: here the only file itself.
    expect(states).toEqual(['/f A', '/f A00', '/f A0C', '/f AB', '/f AB0', '/f ABC']);
  });

  test('takes the name of a file whose folder was not synced, and leaves it if it likes', async () => {
    const disk = await written(new MemoryDisk({ base: EMPTY_IMAGE }), 'file');
    const states = statesOf(disk);
    expect(states).toContain('');
    expect(states).toContain('/f ABC');
    expect(states).toContain('/f A');
  });

  test('undoes a rename as a whole', async () => {
    const disk = await written(new MemoryDisk({ base: EMPTY_IMAGE }), 'folder');
    await disk.rename('/f', '/g');
    const names = new Set([...statesOf(disk)].map((state) => state.slice(0, 2)));
    expect([...names].toSorted()).toEqual(['/f', '/g']);
  });

  test('is not told of a sync that has not returned', async () => {
    const disk = new MemoryDisk({ base: EMPTY_IMAGE, turns: (kind) => (kind === 'sync' ? 2 : 0) });
    const file = await disk.open('/f', 'wx+');
    await writeAll(file, [sectors('A')], 0);
    const syncing = file.sync();
    await writeAll(file, [sectors('B')], 512);
    expect(crashPoint(EMPTY_IMAGE, disk.log, disk.log.length).files[0]?.durable.byteLength).toBe(0);
    await syncing;
    const { files } = crashPoint(EMPTY_IMAGE, disk.log, disk.log.length);
    expect(files[0]?.durable).toEqual(Uint8Array.from(sectors('A')));
  });
});
