import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

const VARIABLES = ['FOOTAGE_NATIVE', 'FOOTAGE_PREBUILD'] as const;
const before = VARIABLES.map((name) => process.env[name]);

beforeEach(() => {
  vi.resetModules();
  delete process.env['FOOTAGE_NATIVE'];
});
afterEach(() => {
  for (const [i, name] of VARIABLES.entries()) {
    if (before[i] === undefined) delete process.env[name];
    else process.env[name] = before[i];
  }
});

async function load(setting?: string) {
  if (setting !== undefined) process.env['FOOTAGE_NATIVE'] = setting;
  return (await import('../../src/native.ts')).native;
}

test.each([
  [undefined, 'addon'],
  ['1', 'addon'],
  ['0', 'twin'],
])('FOOTAGE_NATIVE=%s gives the %s', async (setting, kind) => {
  expect((await load(setting)).kind).toBe(kind);
});

test('any other FOOTAGE_NATIVE is refused', async () => {
  await expect(load('yes')).rejects.toThrow(/FOOTAGE_NATIVE must be 0 .* or 1 .*'yes'/);
});

test('without an addon: one warning and the twin, or an error if it was insisted on', async () => {
  process.env['FOOTAGE_PREBUILD'] = path.join(import.meta.dirname, 'nothing-here');
  const warned = once(process, 'warning');
  expect((await load()).kind).toBe('twin');
  expect(await warned).toMatchObject([{ code: 'FOOTAGE_NO_ADDON', message: expect.stringMatching(/No native build/) }]);
  vi.resetModules();
  await expect(load('1')).rejects.toThrow(/No native build/);
});

test('two loads in one process share nothing', async () => {
  const first = await load('1');
  vi.resetModules();
  const second = await load('1');
  expect(second).not.toBe(first);
  expect(second.crc32c(Buffer.from('123456789'))).toBe(first.crc32c(Buffer.from('123456789')));
});

/** The oldest C and C++ libraries that Node itself runs on; a newer symbol would make the prebuild useless there. */
test.skipIf(process.env['FOOTAGE_PREBUILD'] !== undefined)('needs no newer libraries than Node', () => {
  const root = path.join(import.meta.dirname, '..', '..');
  const addon = (createRequire(import.meta.url)('node-gyp-build') as { path(root: string): string }).path(root);
  const symbols = execFileSync('objdump', ['-T', addon], { encoding: 'utf8' });
  const newest = (library: string): number[] =>
    [...symbols.matchAll(new RegExp(`${library}_([0-9.]+)`, 'g'))]
      .map((match) => (match[1] as string).split('.').map(Number))
      .reduce((a, b) => (compareVersions(a, b) > 0 ? a : b));
  expect(compareVersions(newest('GLIBC'), [2, 28])).toBeLessThanOrEqual(0);
  expect(compareVersions(newest('GLIBCXX'), [3, 4, 25])).toBeLessThanOrEqual(0);
});

function compareVersions(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
