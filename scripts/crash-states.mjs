/**
 * Checks as many distinct crash states as asked for (test/durability/crash), each opened, recovered and held against the
 * promise. Prints a line of JSON: states, checks, failures, seed, seconds. Exit status 1 if one failed.
 *
 * npm run test:crashes -- [--states 1000000] [--seed N] [--parallel 2]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    states: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    parallel: { type: 'string', default: '2' },
  },
});
const [states, seed, parallel] = [Number(values.states), Number(values.seed), Number(values.parallel)];
if (![states, seed, parallel].every(Number.isInteger) || parallel < 1 || states < 1) {
  console.error('crash-states: --states, --seed and --parallel are whole numbers');
  process.exit(2);
}

/** One part of the states, in a process of its own: UUIDs are random, so no two parts have a state in common. */
async function part(folder, index) {
  const report = join(folder, `${index}.json`);
  const env = {
    ...process.env,
    FOOTAGE_CRASH_STATES: String(Math.ceil(states / parallel)),
    FOOTAGE_CRASH_SEED: String(seed + index),
    FOOTAGE_CRASH_REPORT: report,
  };
  const args = ['vitest', 'run', 'test/durability/crash/crash-states.test.ts'];
  const child = spawn('npx', args, { stdio: ['ignore', 2, 2], env });
  const [status] = await once(child, 'close');
  const summary = await readFile(report, 'utf8').then(JSON.parse, () => undefined);
  if (summary === undefined) console.error(`The part with seed ${seed + index} did not come to its end.`);
  return { ok: status === 0 && summary !== undefined, ...summary };
}

const folder = await mkdtemp(join(tmpdir(), 'footage-crashes-'));
try {
  const parts = await Promise.all(Array.from({ length: parallel }, (_, index) => part(folder, index)));
  const sum = (field) => parts.reduce((total, one) => total + (one[field] ?? 0), 0);
  const seconds = Math.max(...parts.map((one) => one.seconds ?? 0));
  const ok = parts.every((one) => one.ok);
  const failures = Math.max(sum('failures'), ok ? 0 : 1);
  console.log(JSON.stringify({ states: sum('states'), checks: sum('checks'), failures, seed, seconds }));
  process.exitCode = ok ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
