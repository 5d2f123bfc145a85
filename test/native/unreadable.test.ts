/**
 * A sector that the disk cannot read: as damage it costs the records it lies in, and no more; addon and twin agree. The
 * failing reads are provoked in a process of their own (unreadable.c).
 */
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { seedOf } from '../../src/format/records.ts';
import { native } from '../../src/native.ts';
import { HEAD, tellStory } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

const PROGRAM = join(import.meta.dirname, '..', '..', 'bin', 'footage.cjs');
const ROOT = join(import.meta.dirname, '..', '..');
const SOURCE = join(import.meta.dirname, 'unreadable.c');

async function builtLibrary(): Promise<string> {
  const library = join(await temporaryFolder(), 'unreadable.so');
  await run('gcc', ['-shared', '-fPIC', '-Wall', '-Werror', '-o', library, SOURCE, '-ldl']);
  return library;
}

async function badSector(path: string, [from, to]: readonly [number, number]): Promise<NodeJS.ProcessEnv> {
  return { LD_PRELOAD: await builtLibrary(), BAD_FILE: path, BAD_FROM: String(from), BAD_TO: String(to) };
}

interface How {
  readonly verify: boolean;
  readonly resync: boolean;
}

const CHECK: How = { verify: true, resync: true };
const BAD = { stop: 'EIO' };

interface Scanned {
  readonly offsets: number[];
  readonly damaged: number[];
  readonly next: number;
  readonly stop: string;
}

/** Scans in a process whose reads of [from, to) fail. */
async function scanWithout(path: string, bad: readonly [number, number], how: How): Promise<Scanned[]> {
  const code = `
    import { openSync } from 'node:fs';
    const { loadAddon, twin } = await import(${JSON.stringify(join(ROOT, 'dist', 'native.js'))});
    const fd = openSync(${JSON.stringify(path)}, 'r');
    const request = { fd, from: 48, to: 2 ** 40, seed: ${seedOf(HEAD.segment, native.crc32c)}, ...${JSON.stringify(how)}, limit: 1e6 };
    const scan = ({ scan }) => scan(request).then(
      ({ offsets, damaged, next, stop }) => ({ offsets: [...offsets], damaged: [...damaged], next, stop }),
      (error) => ({ stop: error.code }),
    );
    console.log(JSON.stringify([await scan(loadAddon()), await scan(twin)]));`;
  const env = await badSector(path, bad);
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], { env });
  return JSON.parse(stdout.toString()) as Scanned[];
}

test('costs the records that lie in it', async () => {
  const { path, frames, endAt, dataEnd } = await tellStory(await temporaryFolder(), 200);
  const bad = [8192, 12_288] as const;
  const [whole, wholeTwin] = await scanWithout(path, [0, 0], CHECK);
  expect(whole?.offsets.length).toBeGreaterThan(200);
  expect(wholeTwin).toEqual(whole);
  const [addon, twin] = await scanWithout(path, bad, CHECK);
  expect(twin).toEqual(addon);
  const [firstBad = 0, lastBad = 0] = addon?.damaged ?? [];
  // Frames that lie beside it are all found.
  const lost = new Set(whole?.offsets.filter((offset) => !addon?.offsets.includes(offset)));
  expect(lost.size).toBeGreaterThan(10);
  for (const offset of lost) expect(offset >= firstBad && offset < lastBad).toBe(true);
  expect(firstBad).toBeLessThanOrEqual(bad[0]);
  expect(firstBad).toBeGreaterThan(bad[0] - 500);
  expect(lastBad).toBeLessThan(bad[1] + 500);
  expect(frames.length).toBeGreaterThan(200);
  expect(addon?.offsets).toContain(endAt);
  expect(dataEnd).toBeGreaterThan(bad[1]);
});

test('fails a scan that only hops, and one of a disk that is gone', async () => {
  const { path } = await tellStory(await temporaryFolder(), 200);
  expect(await scanWithout(path, [8192, 12_288], { verify: false, resync: false })).toEqual([BAD, BAD]);
  const large = join(await temporaryFolder(), 'large');
  await writeFile(large, new Uint8Array(2 ** 21));
  expect(await scanWithout(large, [4096, 2 ** 21], CHECK)).toEqual([BAD, BAD]);
});

/** What `footage` says of an archive on a disk that cannot read these bytes of a file. */
async function footageWithout(path: string, [from, to]: readonly [number, number], ...args: readonly string[]) {
  const env = { ...process.env, ...(await badSector(path, [from, to])) };
  const { status, stdout } = await run(process.execPath, [PROGRAM, ...args], { env, allowFailure: true });
  return { status, text: stdout.toString() };
}

test('in moov is found, and repaired with all frames; in the head nothing is set aside', async () => {
  const root = await temporaryFolder();
  {
    await using archive = await openArchive(root);
    await archive.import('door', await mediaFile('h264-aac'), { start: '2026-01-31T12:00:00Z' });
  }
  const [name = ''] = (await readdir(root, { recursive: true })).filter((one) => one.endsWith('.mp4'));
  const path = join(root, name);
  const { size } = await stat(path);
  const inMoov = [size - 4096 - 5000, size - 4096 - 4000] as const;
  const verified = await footageWithout(path, inMoov, 'verify', '--archive', root);
  expect(verified).toEqual({ status: 1, text: expect.stringContaining('moov-damaged') });
  const repaired = await footageWithout(path, inMoov, 'verify', '--archive', root, '--repair');
  expect(repaired).toEqual({ status: 0, text: expect.stringMatching(/repaired: \d+ frames/) });
  expect(await footageWithout(path, inMoov, 'verify', '--archive', root)).toMatchObject({ status: 0 });
  const headless = await footageWithout(path, [0, 4096], 'verify', '--archive', root, '--repair');
  expect(headless.status).toBe(1);
  expect((await readdir(root, { recursive: true })).filter((one) => one.includes('unreadable'))).toEqual([]);
  // A disk that can be read again gives everything back.
  expect(await footageWithout(path, [0, 0], 'verify', '--archive', root, '--repair')).toMatchObject({ status: 0 });
  const again = await footageWithout(path, [0, 0], 'verify', '--archive', root);
  expect(again).toEqual({ status: 0, text: expect.stringContaining(/\d+ frames/.exec(verified.text)?.[0] ?? 'none') });
});
