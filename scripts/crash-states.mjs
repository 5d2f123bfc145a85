/**
 * Checks as many distinct crash states as asked for (test/durability/crash), each opened, recovered and held against the
 * promise. Prints a line of JSON: states, checks, failures, seed, seconds. Exit status 1 if one failed.
 *
 * npm run test:crashes -- [--states 1000000] [--seed N] [--parallel 2]
 */
import { parseArgs } from 'node:util';
import { runParts, total } from './durability/parts.mjs';

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

// UUIDs are random, so no two parts have a state in common.
const parts = await runParts({
  ...{ file: 'test/durability/crash/crash-states.test.ts', count: states, seed, parallel },
  variables: { count: 'FOOTAGE_CRASH_STATES', seed: 'FOOTAGE_CRASH_SEED', report: 'FOOTAGE_CRASH_REPORT' },
});
const ok = parts.every((part) => part.ok);
const seconds = Math.max(...parts.map(({ summary }) => summary?.seconds ?? 0));
const failures = Math.max(total(parts, 'failures'), ok ? 0 : 1);
console.log(
  JSON.stringify({ states: total(parts, 'states'), checks: total(parts, 'checks'), failures, seed, seconds }),
);
process.exitCode = ok ? 0 : 1;
