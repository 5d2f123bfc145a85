/** The fuzzers of the C++ core (libFuzzer, AddressSanitizer, UndefinedBehaviorSanitizer), for a few seconds each. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { ROOT } from '../checks/files.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';

const SECONDS = 10;
const BUILD = join(ROOT, 'build-cmake', 'fuzz');
/** Each has its inputs in `corpus/NAME` and `regressions/NAME`. */
const TARGETS = ['scan', 'crc32c'] as const;

beforeAll(async () => {
  await run('cmake', ['-S', ROOT, '-B', BUILD, '-DFUZZ=ON', '-DCMAKE_CXX_COMPILER=clang++-14']);
  await run('cmake', ['--build', BUILD, '--parallel', '2']);
});

test.each(TARGETS)('no input breaks %s', async (name) => {
  const found = await temporaryFolder();
  const folders = [found, ...inputsOf(name)];
  const limits = [`-max_total_time=${SECONDS}`, '-max_len=16384', '-timeout=15', '-rss_limit_mb=1024'];
  const fuzzer = join(BUILD, 'test', 'fuzz', 'native', `${name}_fuzzer`);
  const args = [...limits, '-print_final_stats=1', `-artifact_prefix=${found}/`, ...folders];
  const { status, stderr } = await run(fuzzer, args, { allowFailure: true });
  expect(stderr).not.toContain('SUMMARY');
  expect({ status, end: status === 0 ? '' : stderr.slice(-3000) }).toEqual({ status: 0, end: '' });
  expect(Number(/number_of_executed_units: (\d+)/.exec(stderr)?.[1])).toBeGreaterThan(100);
});

/** Folders of inputs that are there; libFuzzer only writes into the one before them. */
function inputsOf(name: string): string[] {
  return ['corpus', 'regressions']
    .map((kind) => join(import.meta.dirname, kind, name))
    .filter((path) => existsSync(path));
}
