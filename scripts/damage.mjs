/**
 * Damages segments at random, many times, and checks that each damage is found or harmless, and that a repair loses no
 * intact frame without saying so, deletes nothing and has nothing to do a second time (test/durability/damage.ts).
 *
 * node scripts/damage.mjs [--count 10000] [--seed N] [--parallel 2]
 *
 * The last line is a summary as JSON; exit status 1 if one failed, with its seed and number above.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

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

/** One part of the damages, in a process of its own; its summary, or null if it came to no end. */
async function part(folder, index) {
  const report = join(folder, `${index}.json`);
  const env = {
    ...process.env,
    FOOTAGE_DAMAGES: String(Math.ceil(count / parallel)),
    FOOTAGE_DAMAGE_SEED: String(seed + index),
    FOOTAGE_DAMAGE_REPORT: report,
  };
  const child = spawn('npx', ['vitest', 'run', 'test/durability/damage.test.ts'], { stdio: 'inherit', env });
  const [status] = await once(child, 'close');
  const summary = await readFile(report, 'utf8').then(JSON.parse, () => null);
  return { status, summary };
}

const folder = await mkdtemp(join(tmpdir(), 'footage-damage-'));
try {
  const parts = await Promise.all(Array.from({ length: parallel }, (_, index) => part(folder, index)));
  const total = { count: 0, harmless: 0, sound: 0, repaired: 0, 'set-aside': 0, removed: 0, failed: 0 };
  for (const { summary } of parts) for (const key of Object.keys(total)) total[key] += summary?.[key] ?? 0;
  const ok = parts.every(({ status, summary }) => status === 0 && summary !== null);
  console.log(JSON.stringify({ ...total, seed, ok }));
  process.exitCode = ok ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
