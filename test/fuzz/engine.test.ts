/** The engine itself: it finds mistakes that were planted. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';
import { fuzz } from './engine.ts';
import { believing, forget, nested } from './planted/parser.ts';

const seeds = () => [Buffer.alloc(8)];
/** It ends with the first finding; this long only where there is none. */
const limits = { seconds: 120, seed: 1, maxFindings: 1 };

test('reaches a mistake behind three comparisons, step by step, and makes its input small', async () => {
  const target = { name: 'planted-nested', corpora: [], seeds, run: nested };
  const { findings } = await fuzz(target, limits);
  expect(findings).toEqual([{ what: expect.stringMatching(/^RangeError: .*nested/), path: expect.any(String) }]);
  const [{ path } = { path: '' }] = findings;
  expect([...readFileSync(path)]).toEqual([0xf5, 0x46, 0x54]);
  rmSync(path);
});

test('notices memory that is taken on the word of an input', async () => {
  const target = { name: 'planted-memory', corpora: [], seeds, run: believing };
  const { findings } = await fuzz(target, limits);
  forget();
  expect(findings.map(({ what }) => what)).toEqual(['takes more memory than any input may']);
  for (const { path } of findings) rmSync(path);
});

test('an input that hangs is saved, and the process ended', async () => {
  const folder = await temporaryFolder();
  const child = join(import.meta.dirname, 'planted', 'hang-child.mjs');
  const { status, stderr } = await run(process.execPath, [child, folder], { allowFailure: true });
  expect({ status, stderr }).toEqual({ status: 128, stderr: expect.stringContaining('planted: hang') });
  expect(readdirSync(folder).map((name) => [...readFileSync(join(folder, name))])).toEqual([[1, 2, 3]]);
});
