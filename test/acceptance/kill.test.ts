/** Recorders are killed at random moments; scripts/kill-test.mjs does it and checks, here a few times. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';

const SCRIPT = join(import.meta.dirname, '..', '..', 'scripts', 'kill-test.mjs');

test('after kill -9, every frame reported as appended is exported, verify is content, and the catalog is a cache', async () => {
  const seed = String(Date.now() % 100_000);
  const args = ['--input', await mediaFile('h264-aac'), '--kills', '5', '--parallel', '3', '--seed', seed];
  const { stdout, status, stderr } = await run(process.execPath, [SCRIPT, ...args, '--max-seconds', '2.5'], {
    allowFailure: true,
  });
  expect({ status, stdout: stdout.toString(), stderr, seed }).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('5 kills, 0 failed'),
  });
});
