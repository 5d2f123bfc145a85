/**
 * `npm test`: build, type check, lint, then vitest. The last line is always `N passed, N failed`.
 *
 * A failed step counts as one failure, a skipped test as a failure too (a missing tool is no reason to pass), and a
 * run without any test is a failure. Arguments go to vitest: `npm test -- test/checks`.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const STEPS = ['build', 'typecheck', 'lint'];

function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (error) console.error(`${command}: ${error.message}`);
  return status === 0;
}

/** Runs vitest and returns its JSON report, or undefined if it wrote none, and whether it exited with 0. */
function runVitest(args) {
  const folder = mkdtempSync(join(tmpdir(), 'footage-report-'));
  const file = join(folder, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    const ok = run('npx', ['vitest', 'run', ...reporters, ...args]);
    return { ok, report: JSON.parse(readFileSync(file, 'utf8')) };
  } catch (error) {
    console.error(`no report from vitest: ${error.message}`);
    return { ok: false, report: undefined };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Counts of a vitest run; a file that could not be loaded, and an error outside of tests, are failures. */
function count({ ok, report }) {
  if (!report) return { passed: 0, failed: 1 };
  const unloaded = report.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
  const skipped = report.numPendingTests + report.numTodoTests;
  if (skipped > 0) console.error(`${skipped} tests were skipped: that counts as failed.`);
  const failed = report.numFailedTests + skipped + unloaded.length;
  const nothingRan = report.numPassedTests + failed === 0;
  return { passed: report.numPassedTests, failed: failed > 0 ? failed : Number(!ok || nothingRan) };
}

function main() {
  const failedSteps = STEPS.filter((step) => !run('npm', ['run', '--silent', step]));
  if (failedSteps.length > 0) console.error(`failed: npm run ${failedSteps.join(', npm run ')}`);
  // Without a build there is nothing to test; type and lint errors do not keep the tests from running.
  const tests = failedSteps.includes('build') ? { passed: 0, failed: 0 } : count(runVitest(process.argv.slice(2)));
  const failed = tests.failed + failedSteps.length;
  console.log(`${tests.passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

main();
