/**
 * The catalog is a cache: whatever happens to it, the files say the same again. Leases and the writer lock live beside it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readdir, readFile, readlink, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type Archive, openArchive } from '../../src/archive.ts';
import { openDatabase } from '../../src/catalog/sqlite.ts';
import { SqliteCatalog } from '../../src/catalog/sqlite-catalog.ts';
import { lock, tryLock } from '../../src/catalog/writer-lock.ts';
import { reconcile } from '../../src/catalog/reconcile.ts';
import { decodeTrailer, TRAILER_BYTES } from '../../src/format/trailer.ts';
import type { Frame } from '../../src/media.ts';
import { native } from '../../src/native.ts';
import { Author, HEAD, noise, openBytes, START_UTC_MS, tellStory, VIDEO, io } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

/** 30000/1001 pictures a second: times that are no whole milliseconds, nor microseconds. */
async function* odd(count: number, from = 0): AsyncGenerator<Frame, void, undefined> {
  for (let i = from; i < from + count; i++) {
    const sync = i % 10 === 0;
    yield { track: 0, data: noise(200, i), dts: i * 3003, compositionOffset: 0, sync };
  }
}

/** Two cameras, one with three segments, one with two recordings. */
async function fill(archive: Archive): Promise<void> {
  const record = async (camera: string, frames: AsyncIterable<Frame>, startUtcMs: number) => {
    const options = { tracks: [VIDEO], frames, startUtcMs, segmentDurationMs: 300 };
    await (
      await archive.record(camera, options)
    ).finished;
  };
  await record('door', odd(30), START_UTC_MS + 1 / 3);
  await record('yard', odd(7), START_UTC_MS);
  await record('yard', odd(7), START_UTC_MS + 60_000);
}

const removeCatalog = async (root: string) => {
  for (const name of await readdir(root)) if (name.startsWith('catalog.db')) await rm(join(root, name));
};

async function listOf(root: string): Promise<unknown> {
  await using archive = await openArchive(root);
  return JSON.stringify(await archive.cameras());
}

async function filled(): Promise<string> {
  const root = await temporaryFolder();
  await using archive = await openArchive(root);
  await fill(archive);
  return root;
}

describe('the catalog', () => {
  test('deleted, it is made anew from the files, equal to the last digit', async () => {
    const root = await filled();
    const before = await listOf(root);
    const rows = allRows(root);
    await removeCatalog(root);
    expect(await listOf(root)).toBe(before);
    expect(allRows(root)).toEqual(rows);
    expect(rows.length).toBe(5);
  });

  test.each([
    ['garbage', async (path: string) => writeFile(path, noise(8192, 1))],
    ['damaged in the middle', damageMiddle],
  ])('%s, it is set aside with a warning and made anew', async (_, damage) => {
    const root = await filled();
    const before = await listOf(root);
    const path = join(root, 'catalog.db');
    await rm(`${path}-wal`, { force: true });
    await damage(path);
    const damaged = await readFile(path);
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => {
      warning.mockRestore();
    });
    expect(await listOf(root)).toBe(before);
    expect(warning).toHaveBeenCalledWith(expect.stringContaining('damaged'), { code: 'FOOTAGE_CATALOG_DAMAGED' });
    const aside = (await readdir(root)).filter((name) => name.startsWith('catalog.db.damaged-'));
    expect(aside.length).toBe(1);
    expect((await readFile(join(root, aside[0] ?? ''))).equals(damaged)).toBe(true);
  });

  test('rows of files that were removed, and of cameras that were, vanish; a camera that was renamed keeps its footage', async () => {
    const root = await filled();
    const doors = (await readdir(join(root, 'door'), { recursive: true }))
      .filter((name) => name.endsWith('.mp4'))
      .toSorted();
    await rm(join(root, 'door', doors[1] ?? ''));
    await rename(join(root, 'yard'), join(root, 'garden'));
    await using archive = await openArchive(root);
    expect((await archive.cameras()).map(({ name, segments }) => [name, segments])).toEqual([
      ['door', 2],
      ['garden', 2],
    ]);
    await expect(archive.timeline('yard')).rejects.toMatchObject({ code: 'E_CAMERA_UNKNOWN' });
  });

  test('files that are no segments are none of its business', async () => {
    const root = await filled();
    await writeFile(join(root, 'door', 'notes.txt'), 'hello');
    await writeFile(join(root, 'door', 'holiday.mp4'), 'hello');
    await writeFile(join(root, 'readme'), 'hello');
    const before = await listOf(root);
    await removeCatalog(root);
    expect(await listOf(root)).toBe(before);
    expect(await readFile(join(root, 'door', 'holiday.mp4'), 'utf8')).toBe('hello');
  });

  test('a row that says "open" of a segment that was sealed meanwhile is read again', async () => {
    const root = await filled();
    const rows = allRows(root);
    const catalog = SqliteCatalog.open(join(root, 'catalog.db'));
    for (const row of rows) {
      catalog.remove(row.id);
      catalog.put({ ...row, state: 'open', endUtcMs: undefined, tracks: [] });
    }
    expect(await reconcile(root, catalog, io)).toEqual([]);
    expect(catalog.all()).toEqual(rows);
    catalog.close();
  });

  test('a segment that was sealed is not made open again by somebody who saw it before', async () => {
    const root = await filled();
    const rows = allRows(root);
    const catalog = SqliteCatalog.open(join(root, 'catalog.db'));
    for (const row of rows) catalog.put({ ...row, state: 'open', endUtcMs: undefined, tracks: [] });
    expect(catalog.all()).toEqual(rows);
    const [first] = rows;
    if (first !== undefined) catalog.put({ ...first, camera: 'attic', path: 'attic/copy.mp4', state: 'open' });
    expect(catalog.open()).toMatchObject([{ path: 'attic/copy.mp4' }]);
    catalog.close();
  });

  test('knows its cameras', async () => {
    const catalog = SqliteCatalog.open(':memory:');
    expect([catalog.cameras(), catalog.has('door')]).toEqual([[], false]);
    const [row] = allRows(await filled());
    if (row === undefined) throw new Error('an archive that was filled has rows');
    for (const camera of ['yard', 'attic', 'door', 'door']) {
      catalog.put({ ...row, camera, id: `${camera}${catalog.all().length}` });
    }
    expect(catalog.cameras()).toEqual(['attic', 'door', 'yard']);
    expect([catalog.has('door'), catalog.has('doo')]).toEqual([true, false]);
    catalog.close();
  });

  test('a server that only lists keeps no file open of what was sealed since', async () => {
    const root = await temporaryFolder();
    await using archive = await openArchive(root);
    for (let i = 0; i < 3; i++) {
      const end = new AbortController();
      const frames = untilTold(end.signal);
      const recording = await archive.record('door', {
        tracks: [VIDEO],
        frames,
        startUtcMs: START_UTC_MS + i * 60_000,
      });
      await vi.waitFor(async () => expect((await archive.cameras())[0]?.spans.length).toBe(i + 1), { timeout: 60_000 });
      await archive.timeline('door');
      end.abort();
      await recording.finished;
    }
    await archive.cameras();
    const open = await Promise.all(
      (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    );
    expect(open.filter((path) => path.startsWith(root) && path.endsWith('.mp4'))).toEqual([]);
  });

  test.each([2, 99])('a database of another version, %i, is made anew', async (version) => {
    const root = await filled();
    const before = await listOf(root);
    const database = openDatabase(join(root, 'catalog.db'), 0);
    database.exec(`DROP TABLE segments; CREATE TABLE segments (other TEXT); PRAGMA user_version = ${version}`);
    database.close();
    expect(await listOf(root)).toBe(before);
  });

  test('a row says of a sealed segment all that its trailer does', async () => {
    const root = await temporaryFolder();
    const story = await tellStory(join(root, 'door'));
    await using archive = await openArchive(root);
    expect((await archive.cameras())[0]?.segments).toBe(1);
    const trailer = decodeTrailer(story.sealed.subarray(-TRAILER_BYTES), native.crc32c);
    const { startUtcMs, endUtcMs, payload, discontinuous, recovered } = trailer ?? {};
    const tracks = trailer?.tracks.map((track, i) => ({ ...track, ...HEAD.tracks[i] }));
    const wanted = { startUtcMs, endUtcMs, payload, discontinuous, recovered, tracks };
    expect(allRows(root)).toEqual([expect.objectContaining(wanted)]);
    expect([discontinuous, payload?.offset]).toEqual([true, story.frames[0]?.offset]);
  });
});

async function* untilTold(signal: AbortSignal): AsyncGenerator<Frame, void, undefined> {
  yield* odd(12);
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

function allRows(root: string) {
  const catalog = SqliteCatalog.open(join(root, 'catalog.db'));
  const rows = catalog.all();
  catalog.close();
  return rows;
}

/** A database whose first page is sound and whose others are not. */
async function damageMiddle(path: string): Promise<void> {
  const { size } = await stat(path);
  const file = await open(path, 'r+');
  await file.write(noise(size - 4096, 2), 0, size - 4096, 4096);
  await file.close();
}

describe('leases', () => {
  test('hold until they expire, are renewed, and are forgotten then', () => {
    const catalog = SqliteCatalog.open(':memory:');
    catalog.lease('a', ['s1', 's2'], 0, 1000);
    catalog.lease('b', ['s2'], 0, 2000);
    expect(catalog.leased(999)).toEqual(new Set(['s1', 's2']));
    expect(catalog.leased(1000)).toEqual(new Set(['s2']));
    catalog.lease('b', ['s2'], 1000, 3000);
    expect(catalog.leased(2500)).toEqual(new Set(['s2']));
    expect(catalog.leased(3000)).toEqual(new Set());
    // Expired means gone, even for a clock that steps back.
    expect(catalog.leased(0)).toEqual(new Set());
    catalog.close();
  });

  test('a session leases what it was planned from, for ten minutes and one more', async () => {
    let nowMs = START_UTC_MS;
    await using archive = await openArchive(await temporaryFolder(), { now: () => nowMs });
    await fill(archive);
    const session = await archive.session({ camera: 'door', start: START_UTC_MS / 1000, duration: 0.2 });
    expect(archive.leased()).toEqual(new Set(session.manifest.segments));
    expect(session.manifest.segments.length).toBe(1);
    nowMs += 11 * 60_000 - 1;
    expect(archive.leased().size).toBe(1);
    nowMs += 1;
    expect(archive.leased().size).toBe(0);
  });
});

test('one answer planned again and again has one lease; taking one forgets those that have expired', async () => {
  let nowMs = START_UTC_MS;
  const root = await temporaryFolder();
  await using archive = await openArchive(root, { now: () => nowMs });
  await fill(archive);
  const database = openDatabase(join(root, 'catalog.db'), 0);
  const leases = () => database.prepare('SELECT * FROM leases').all().length;
  const plan = (duration: number) => archive.session({ camera: 'door', start: START_UTC_MS / 1000, duration });
  for (let i = 0; i < 5; i++) await plan(0.2);
  expect(leases()).toBe(1);
  await plan(0.1);
  expect(leases()).toBe(2);
  nowMs += 11 * 60_000;
  await plan(0.2);
  expect(leases()).toBe(1);
  database.close();
});

describe('an archive that is read only', () => {
  test('is listed and exported, what a crash left open included, and not a byte of it changes', async () => {
    const root = await filled();
    const story = await tellStory(join(root, 'torn'));
    await writeFile(story.path, openBytes(story, story.endAt + 9));
    await removeCatalog(root);
    const before = await snapshot(root);
    {
      await using archive = await openArchive(root, { readOnly: true });
      expect((await archive.cameras()).map(({ name }) => name)).toEqual(['door', 'torn', 'yard']);
      const session = await archive.session({ camera: 'torn', start: START_UTC_MS / 1000, duration: 1 });
      expect(session.length).toBeGreaterThan(1000);
      await expect(archive.record('door', { tracks: [VIDEO], frames: odd(1) })).rejects.toMatchObject({
        code: 'E_READ_ONLY',
      });
      await expect(archive.recover()).rejects.toMatchObject({ code: 'E_READ_ONLY' });
    }
    expect(await snapshot(root)).toEqual(before);
  });

  test('sees what another archive records meanwhile', async () => {
    const root = await filled();
    await using reader = await openArchive(root, { readOnly: true });
    await using writer = await openArchive(root);
    await (
      await writer.record('attic', { tracks: [VIDEO], frames: odd(12) })
    ).finished;
    expect((await reader.cameras()).map(({ name }) => name)).toContain('attic');
  });

  test('looks at the files at most once a second', async () => {
    const root = await filled();
    // A whole number: with a fraction, nowMs + 1000 - nowMs may fall short of 1000.
    const nowMs = Math.ceil(performance.now());
    const clock = vi.spyOn(performance, 'now').mockReturnValue(nowMs);
    onTestFinished(() => clock.mockRestore());
    await using reader = await openArchive(root, { readOnly: true });
    const names = async () => (await reader.cameras()).map(({ name }) => name);
    expect(await names()).toEqual(['door', 'yard']);
    await rename(join(root, 'yard'), join(root, 'garden'));
    expect(await names()).toEqual(['door', 'yard']);
    clock.mockReturnValue(nowMs + 1000);
    expect(await names()).toEqual(['door', 'garden']);
  });
});

async function snapshot(root: string): Promise<string[]> {
  const names = (await readdir(root, { recursive: true })).toSorted();
  return Promise.all(
    names.map(async (name) => {
      const { size, mtimeMs } = await stat(join(root, name));
      return `${name} ${size} ${mtimeMs}`;
    }),
  );
}

describe('one writer per camera', () => {
  test('in one process', async () => {
    const folder = await temporaryFolder();
    const held = tryLock(folder);
    expect(held).toBeDefined();
    expect(tryLock(folder)).toBeUndefined();
    await expect(lock(folder, 'door', { waitMs: 60 })).rejects.toMatchObject({ code: 'E_CAMERA_BUSY' });
    held?.release();
    held?.release();
    const again = await lock(folder, 'door', { waitMs: 60 });
    again.release();
  });

  test('across processes, and the lock dies with its process', async () => {
    const folder = await temporaryFolder();
    const holder = spawn(
      process.execPath,
      [
        '-e',
        `const D = require('better-sqlite3'); const d = new D(process.argv[1]); d.exec('BEGIN EXCLUSIVE'); console.log('held'); setInterval(() => d, 1000)`,
        join(folder, '.writer'),
      ],
      { stdio: ['ignore', 'pipe', 'inherit'], cwd: join(import.meta.dirname, '..', '..') },
    );
    const ended = once(holder, 'exit');
    try {
      await once(holder.stdout, 'data');
      expect(tryLock(folder)).toBeUndefined();
    } finally {
      holder.kill('SIGKILL');
    }
    await ended;
    const held = tryLock(folder);
    expect(held).toBeDefined();
    held?.release();
  });

  test('a recovery leaves a camera alone that somebody records', async () => {
    const root = await temporaryFolder();
    const author = await Author.begin(join(root, 'door'));
    await author.story(12);
    const held = tryLock(join(root, 'door'));
    {
      await using archive = await openArchive(root);
      expect(archive.recovered).toEqual([]);
      expect((await archive.cameras())[0]?.recording).toBe(true);
    }
    held?.release();
    await author.writer.close();
    await using archive = await openArchive(root);
    expect(archive.recovered).toMatchObject([{ camera: 'door', recovery: { outcome: 'sealed', frames: 12 + 21 } }]);
  });

  test('a camera that cannot be locked keeps the archive from nothing but its own recovery', async () => {
    const root = await temporaryFolder();
    for (const [i, camera] of ['bad', 'good'].entries()) {
      const author = await Author.begin(join(root, camera), { head: { ...HEAD, segment: String(i).repeat(32) } });
      await author.story(12);
      await author.writer.close();
    }
    await mkdir(join(root, 'bad', '.writer'));
    await using archive = await openArchive(root);
    expect(archive.recovered).toMatchObject([
      { camera: 'bad', path: 'bad/.writer', recovery: { outcome: 'failed' } },
      { camera: 'good', recovery: { outcome: 'sealed' } },
    ]);
  });

  test('a lock that cannot be made is an error, not "somebody records"', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, '.writer'));
    expect(() => tryLock(folder)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^E_(READ_ONLY|IO)$/) }),
    );
  });
});
