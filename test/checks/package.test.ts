/** What is published: pinned dependencies, files that exist, and a prebuilt addon that loads on old systems. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ROOT, filesBelow, readText } from './files.ts';

interface Manifest {
  readonly version: string;
  readonly files: readonly string[];
  readonly bin: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

interface LockEntry {
  readonly version?: string;
  readonly integrity?: string;
  readonly link?: boolean;
}

const manifest: Manifest = JSON.parse(readText('package.json'));
const declared = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies };

/** Made by the build or before packing, not tracked. */
const BUILT = ['dist', 'prebuilds'];

/** Newest symbol versions that a Debian 10 / RHEL 8 system has, which is also what Node itself needs. */
const SYMBOL_FLOOR: Readonly<Record<string, readonly number[]>> = { GLIBC: [2, 28], GLIBCXX: [3, 4, 25] };

describe('dependencies', () => {
  const lock: { version: string; packages: Record<string, LockEntry> } = JSON.parse(readText('package-lock.json'));

  test('every one is pinned to an exact version, the same in the lock file', () => {
    for (const [name, version] of Object.entries(declared)) {
      expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
      expect(lock.packages[`node_modules/${name}`]?.version, name).toBe(version);
    }
  });

  test('the lock file is of this version and has a checksum for every package', () => {
    expect(lock.version).toBe(manifest.version);
    const unchecked = Object.entries(lock.packages).filter(([path, entry]) => path !== '' && !entry.integrity);
    expect(unchecked.map(([path]) => path)).toEqual([]);
  });
});

describe('the package', () => {
  test('everything it lists exists', () => {
    const listed = [...manifest.files, ...Object.values(manifest.bin)].filter((path) => !BUILT.includes(path));
    expect(listed.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  test('prebuilt addons need no newer C and C++ library than Node does', () => {
    const addons = existsSync(join(ROOT, 'prebuilds')) ? filesBelow('prebuilds', '.node') : [];
    for (const addon of addons) {
      const symbols = execFileSync('objdump', ['-T', join(ROOT, 'prebuilds', addon)], { encoding: 'utf8' });
      expect(tooNew(symbols), addon).toEqual([]);
    }
  });

  test('the symbol check itself finds a version that is too new', () => {
    expect(tooNew('(GLIBC_2.28) (GLIBC_2.9) (GLIBCXX_3.4.25)')).toEqual([]);
    expect(tooNew('(GLIBC_2.34) (GLIBCXX_3.4.26)')).toEqual(['GLIBC_2.34', 'GLIBCXX_3.4.26']);
  });
});

/** Symbol versions in objdump's output that are above the floor. */
function tooNew(symbols: string): string[] {
  const versions = new Set([...symbols.matchAll(/\b(?:GLIBC|GLIBCXX)_[\d.]+/g)].map((match) => match[0]));
  return [...versions].filter((symbol) => {
    const [library = '', version = ''] = symbol.split('_');
    return isAbove(version.split('.').map(Number), SYMBOL_FLOOR[library] ?? []);
  });
}

function isAbove(version: readonly number[], floor: readonly number[]): boolean {
  for (let i = 0; i < Math.max(version.length, floor.length); i++) {
    const difference = (version[i] ?? 0) - (floor[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}
