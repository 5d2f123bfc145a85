/**
 * A sector that the disk cannot read: as damage it costs the records it lies in, and no more; addon and twin agree. The
 * failing reads are provoked in a process of their own (unreadable.c).
 */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run } from '../support/run.ts';
import { seedOf } from '../../src/format/records.ts';
import { native } from '../../src/native.ts';
import { HEAD, tellStory } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const SOURCE = join(import.meta.dirname, 'unreadable.c');

async function builtLibrary(): Promise<string> {
  const library = join(await temporaryFolder(), 'unreadable.so');
  await run('gcc', ['-shared', '-fPIC', '-Wall', '-Werror', '-o', library, SOURCE, '-ldl']);
  return library;
}

interface Scanned {
  readonly offsets: number[];
  readonly damaged: number[];
  readonly next: number;
  readonly stop: string;
}

/** Scans in a process whose reads of [from, to) fail. */
async function scanWithout(path: string, [from, to]: readonly [number, number], resync: boolean): Promise<Scanned[]> {
  const code = `
    import { openSync } from 'node:fs';
    const { loadAddon, twin } = await import(${JSON.stringify(join(ROOT, 'dist', 'native.js'))});
    const fd = openSync(${JSON.stringify(path)}, 'r');
    const request = { fd, from: 48, to: 2 ** 40, seed: ${seedOf(HEAD.segment, native.crc32c)}, verify: true, resync: ${resync}, limit: 1e6 };
    const scan = ({ scan }) => scan(request).then(
      ({ offsets, damaged, next, stop }) => ({ offsets: [...offsets], damaged: [...damaged], next, stop }),
      (error) => ({ stop: error.code }),
    );
    console.log(JSON.stringify([await scan(loadAddon()), await scan(twin)]));`;
  const env = { LD_PRELOAD: await builtLibrary(), BAD_FILE: path, BAD_FROM: String(from), BAD_TO: String(to) };
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], { env });
  return JSON.parse(stdout.toString()) as Scanned[];
}

test('costs the records that lie in it', async () => {
  const { path, frames, endAt, dataEnd } = await tellStory(await temporaryFolder(), 200);
  const bad = [8192, 12_288] as const;
  const [whole, wholeTwin] = await scanWithout(path, [0, 0], true);
  expect(whole?.offsets.length).toBeGreaterThan(200);
  expect(wholeTwin).toEqual(whole);
  const [addon, twin] = await scanWithout(path, bad, true);
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

test('fails a scan that is not to go on behind damage', async () => {
  const { path } = await tellStory(await temporaryFolder(), 200);
  const scanned = await scanWithout(path, [8192, 12_288], false);
  expect(scanned).toEqual([{ stop: 'EIO' }, { stop: 'EIO' }]);
});
