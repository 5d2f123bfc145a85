/**
 * Checks as many distinct crash states as asked for (test/durability/crash), each opened, recovered and held against the
 * promise. Prints a line of JSON: states, checks, failures, seed, seconds. Exit status 1 if one failed.
 *
 * npm run test:crashes -- [--states 1000000] [--seed N]
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    states: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});

const folder = mkdtempSync(join(tmpdir(), 'footage-crashes-'));
try {
  const report = join(folder, 'report.json');
  const env = {
    ...process.env,
    FOOTAGE_CRASH_STATES: values.states,
    FOOTAGE_CRASH_SEED: values.seed,
    FOOTAGE_CRASH_REPORT: report,
  };
  const args = ['vitest', 'run', 'test/durability/crash/crash-states.test.ts'];
  const { status } = spawnSync('npx', args, { stdio: ['ignore', 2, 2], env });
  process.exitCode = status === 0 ? 0 : 1;
  if (existsSync(report)) console.log(readFileSync(report, 'utf8'));
  else console.error(`No report was written: the run with seed ${values.seed} did not come to its end.`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
