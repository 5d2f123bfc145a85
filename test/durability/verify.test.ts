/**
 * Verify and repair of a whole archive: a stable order, the catalog against the files, cameras' identities, what else
 * lies there, and what is not touched because somebody records it.
 */
import { open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  type Archive,
  openArchive,
  type RepairReport,
  type VerifyOptions,
  type VerifyReport,
} from '../../src/archive.ts';
import { openDatabase } from '../../src/catalog/sqlite.ts';
import { tryLock } from '../../src/catalog/writer-lock.ts';
import { type Disk, nodeDisk } from '../../src/segment/disk.ts';
import { repairSegment } from '../../src/segment/repair.ts';
import { footage } from '../support/command.ts';
import { bytesOf, CLIP } from '../support/handler-fixture.ts';
import { io, quickFlusher } from '../support/segment.ts';
import { run } from '../support/run.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';
import { randomFrom } from './damage.ts';

const START = Date.parse('2026-01-31T12:00:00Z');
const DOOR = { camera: 'door', start: new Date(START), duration: 60 };

let original = '';
beforeAll(async () => {
  original = join(await sharedTemporaryFolder(), 'archive');
  const archive = await openArchive(original);
  for (const camera of ['door', 'yard']) {
    for (const seconds of [0, 16, 40]) await archive.import(camera, CLIP, { start: new Date(START + seconds * 1000) });
  }
  await archive.close();
});

/** A copy of an archive of two cameras with three segments each. */
async function copy(): Promise<string> {
  const root = join(await temporaryFolder(), 'archive');
  await run('cp', ['-a', original, root]);
  return root;
}

async function opened(root: string, options = {}): Promise<Archive> {
  const archive = await openArchive(root, options);
  onTestFinished(() => archive.close());
  return archive;
}

async function all<T>(items: AsyncGenerator<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

async function verified(root: string, options?: VerifyOptions): Promise<VerifyReport[]> {
  return all((await opened(root, { readOnly: true })).verify(options));
}

async function repaired(root: string): Promise<RepairReport[]> {
  const archive = await openArchive(root, { recover: false });
  const reports = await all(archive.repair());
  await archive.close();
  return reports;
}

const codes = (reports: readonly VerifyReport[]) => reports.flatMap(({ problems }) => problems.map(({ code }) => code));
const segments = (reports: readonly VerifyReport[]) => reports.filter(({ state }) => state !== 'other');

/** Path of the second segment of `door`. */
async function second(root: string): Promise<string> {
  const path = segments(await verified(root, { camera: 'door' }))[1]?.path;
  return join(root, path ?? '');
}

async function zero(path: string, at: number, length: number): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(length), 0, length, at);
  await file.close();
}

describe('verify', () => {
  test('reports all segments in the order of their paths, however many are read at once', async () => {
    const one = await verified(original, { jobs: 1 });
    expect(segments(one)).toHaveLength(6);
    expect(codes(one)).toEqual([]);
    expect(one.map(({ path }) => path)).toEqual(one.map(({ path }) => path).toSorted());
    expect(await verified(original, { jobs: 4 })).toEqual(one);
    expect(await verified(original, { camera: 'yard' })).toEqual(one.filter(({ camera }) => camera === 'yard'));
  });

  test('tells its progress by bytes', async () => {
    const told: (readonly [number, number])[] = [];
    const reports = await verified(original, { jobs: 1, onProgress: (done, total) => told.push([done, total]) });
    const total = reports.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(told).toHaveLength(6);
    expect(told.at(-1)).toEqual([total, total]);
    expect(told[0]).toEqual([reports[0]?.bytes, total]);
  });

  test('refuses options that it does not know', async () => {
    const archive = await opened(original, { readOnly: true });
    expect(() => archive.verify({ jobs: 0 })).toThrow(RangeError);
    expect(() => archive.verify({ job: 1 } as VerifyOptions)).toThrow(TypeError);
  });

  test('notes what else lies in the archive, and what lies beside a segment', async () => {
    const root = await copy();
    const path = await second(root);
    await writeFile(`${path}.unreadable`, '');
    await writeFile(path.replace(/mp4$/, 'idx'), 'x');
    await writeFile(join(root, 'door', 'notes.txt'), '');
    const reports = await verified(root);
    expect(codes(reports)).toEqual([]);
    expect(reports.flatMap(({ notes }) => notes)).toEqual([
      'its pseudo-header is still there',
      'set aside, since it could not be understood',
      'not a file of this archive',
    ]);
  });

  test('finds a file that is gone', async () => {
    const root = await copy();
    const path = await second(root);
    await rm(path);
    const reports = await verified(root);
    expect(reports.find(({ problems }) => problems.length > 0)).toMatchObject({
      camera: 'door',
      state: 'other',
      problems: [{ code: 'file-missing' }],
    });
  });

  test('knows from the catalog that a segment was sealed whose beginning and end are lost', async () => {
    const root = await copy();
    const path = await second(root);
    await zero(path, 0, 48);
    await truncate(path, 200_000);
    expect(codes(await verified(root))).toContain('trailer-damaged');
  });
});

describe('repair', () => {
  test('makes another answer of what lost frames, under another ETag, with all that is intact', async () => {
    const root = await copy();
    const path = await second(root);
    const before = await opened(root);
    const etag = (await before.session(DOOR)).etag;
    await before.close();
    await zero(path, 120_000, 2000);
    const reports = await repaired(root);
    const done = reports.find(({ repair }) => repair !== null);
    expect(done).toMatchObject({ repair: { outcome: 'repaired', repairGeneration: 1 }, remaining: [] });
    expect(codes(await verified(root))).toEqual([]);
    const after = await opened(root);
    expect((await after.session(DOOR)).etag).not.toBe(etag);
    const file = join(root, 'out.mp4');
    await writeFile(file, await bytesOf(after, DOOR));
    const decoded = await run('ffmpeg', ['-v', 'warning', '-xerror', '-i', file, '-f', 'null', '-']);
    expect(decoded.stderr).toBe('');
    const played = await run('ffmpeg', ['-v', 'warning', '-xerror', '-i', path, '-f', 'null', '-']);
    expect(played.stderr).toBe('');
    expect((await repaired(root)).filter(({ repair }) => repair !== null)).toEqual([]);
  });

  test('an export that a damaged moov keeps from being made is as before once it is repaired', async () => {
    const root = await copy();
    const path = await second(root);
    const wanted = await bytesOf(await opened(root), DOOR);
    await zero(path, (await readFile(path)).length - 4096 - 3000, 2000);
    const archive = await opened(root);
    await expect(
      archive.session({ camera: 'door', start: new Date(START + 20_000), duration: 5 }),
    ).rejects.toMatchObject({
      code: 'E_DAMAGED',
      message: expect.stringContaining('footage verify --repair'),
    });
    await archive.close();
    await repaired(root);
    expect((await bytesOf(await opened(root), DOOR)).equals(wanted)).toBe(true);
  });

  test('leaves alone what somebody records, and says so', async () => {
    const root = await copy();
    const path = await second(root);
    await zero(path, 120_000, 2000);
    const before = await readFile(path);
    const lock = tryLock(join(root, 'door'));
    const outcome = await footage('verify', '--archive', root, '--repair');
    lock?.release();
    expect(outcome.status).toBe(1);
    expect(outcome.stdout).toContain('not repaired: the camera is being recorded');
    expect(outcome.stderr).toContain('E_DAMAGED');
    expect((await readFile(path)).equals(before)).toBe(true);
  });

  test('sets aside what cannot be understood, and the timeline has a gap there', async () => {
    const root = await copy();
    const path = await second(root);
    await zero(path, 48, 200_000);
    await truncate(path, 300_000);
    expect((await repaired(root)).map(({ repair }) => repair?.outcome).filter(Boolean)).toEqual(['set-aside']);
    expect((await readFile(`${path}.unreadable`)).length).toBe(300_000);
    const { spans } = await (await opened(root)).timeline('door');
    expect(spans).toHaveLength(2);
    expect(codes(await verified(root))).toEqual([]);
  });

  test('gives a camera its identity back', async () => {
    const root = await copy();
    const file = join(root, 'door', '.camera');
    const uuid = await readFile(file, 'utf8');
    await writeFile(file, `${uuid.slice(0, 12)}?${uuid.slice(13)}`);
    expect(codes(await verified(root))).toEqual(['camera-damaged']);
    await repaired(root);
    expect(await readFile(file, 'utf8')).toBe(uuid);
    expect(codes(await verified(root))).toEqual([]);
  });

  test('that was interrupted is finished when the archive is opened', async () => {
    const root = await copy();
    const path = await second(root);
    const archive = await opened(root);
    const wanted = await bytesOf(archive, DOOR);
    await archive.close();
    const { length } = await readFile(path);
    await zero(path, length - 4096 - 3000, 2000);
    await repairUntil(path, length + 100);
    expect((await readFile(path)).length).toBe(length + 100);
    const again = await opened(root);
    expect(again.recovered).toMatchObject([{ camera: 'door', recovery: { outcome: 'sealed' } }]);
    expect((await bytesOf(again, DOOR)).equals(wanted)).toBe(true);
    expect(codes(await verified(root))).toEqual([]);
  });
});

function died(): never {
  throw new Error('the process died');
}

/** A repair whose process dies when the file has this length. */
async function repairUntil(path: string, length: number): Promise<void> {
  const disk: Disk = {
    ...nodeDisk,
    open: async (name, flags) => {
      const file = await nodeDisk.open(name, flags);
      if (name !== path) return file;
      const write = file.writev.bind(file);
      const writev = async (buffers: readonly Uint8Array[], position: number) => {
        await write([Buffer.concat(buffers).subarray(0, length - position)], position);
        return died();
      };
      return Object.assign(file, { writev, truncate: async () => died() });
    },
  };
  const repair = await repairSegment(path, { ...io, disk, flusher: quickFlusher() });
  expect(repair.outcome).toBe('failed');
}

describe('the catalog', () => {
  test('a row that is not as its file is found and written anew', async () => {
    const root = await copy();
    const database = openDatabase(join(root, 'catalog.db'), 0);
    database.exec("UPDATE segments SET payload_end = payload_end + 1 WHERE camera = 'yard' AND sequence = 0");
    database.close();
    const found = await footage('verify', '--archive', root);
    expect(found.status).toBe(1);
    expect(found.stdout).toMatch(/row-differs: the catalog has otherwise than the file: payload\n/);
    expect((await footage('verify', '--archive', root, '--repair')).status).toBe(0);
    expect((await footage('verify', '--archive', root)).status).toBe(0);
  });

  test('random damage to it is found or harmless, and gone after a repair', async () => {
    const wanted = await bytesOf(await opened(original, { readOnly: true }), DOOR);
    let found = 0;
    for (let i = 0; i < 16; i++) {
      const root = await copy();
      const random = randomFrom(900 + i);
      const path = join(root, 'catalog.db');
      const bytes = await readFile(path);
      const at = Math.floor(random() * bytes.length);
      if (i % 4 === 0) await truncate(path, at);
      else if (i % 4 === 1) await zero(path, at, 512);
      else await writeFile(path, bytes.fill((bytes[at] ?? 0) ^ (1 << (i % 8)), at, at + 1));
      const problems = codes(await verified(root));
      if (problems.length > 0) found++;
      else expect((await bytesOf(await opened(root), DOOR)).equals(wanted), `at ${at}`).toBe(true);
      expect((await footage('verify', '--archive', root, '--repair')).status, `at ${at}`).toBe(0);
      expect(codes(await verified(root)), `at ${at}`).toEqual([]);
      expect((await bytesOf(await opened(root), DOOR)).equals(wanted), `at ${at}`).toBe(true);
    }
    expect(found).toBeGreaterThanOrEqual(3);
  });
});
