/** scripts/mutation.mjs: without its re-check a session sends on stale hints, and the test of that fails, on both senders. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run } from '../support/run.ts';

test('the test of the stale hint fails without the re-check', async () => {
  const script = join(import.meta.dirname, '..', '..', 'scripts', 'mutation.mjs');
  const { status, stdout, stderr } = await run(process.execPath, [script], { allowFailure: true });
  const lines = stdout.toString().trim().split('\n');
  const failed = lines.filter((line) => line.startsWith('without the re-check: failed: '));
  expect({ status, stderr, failed }).toMatchObject({ status: 0, failed: { length: 3 } });
  for (const kind of ['native', 'stream']) expect(failed.join('\n')).toContain(`the ${kind} sender`);
});
