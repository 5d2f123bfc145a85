/**
 * Damages segments at random, many times, and checks that each damage is found or harmless, and that a repair loses no
 * intact frame without saying so, deletes nothing and has nothing to do a second time (test/durability/damage.ts).
 *
 * node scripts/damage.mjs [--count 10000] [--seed N] [--parallel 2]
 *
 * The last line is a summary as JSON; exit status 1 if one failed, with its seed and number above.
 */
import { parseArgs } from 'node:util';
import { runParts, total } from './durability/parts.mjs';

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    parallel: { type: 'string', default: '2' },
  },
});
const [count, seed, parallel] = [Number(values.count), Number(values.seed), Number(values.parallel)];
if (![count, seed, parallel].every((value) => Number.isInteger(value) && value >= 0) || parallel < 1 || count < 1) {
  console.error('damage: --count, --seed and --parallel are whole numbers');
  process.exit(2);
}

const parts = await runParts({
  ...{ file: 'test/durability/damage.test.ts', count, seed, parallel },
  variables: { count: 'FOOTAGE_DAMAGES', seed: 'FOOTAGE_DAMAGE_SEED', report: 'FOOTAGE_DAMAGE_REPORT' },
});
const ok = parts.every((part) => part.ok);
const fields = ['count', 'harmless', 'sound', 'repaired', 'set-aside', 'removed', 'failed'];
const totals = Object.fromEntries(fields.map((field) => [field, total(parts, field)]));
console.log(JSON.stringify({ ...totals, seed, ok }));
process.exitCode = ok ? 0 : 1;
