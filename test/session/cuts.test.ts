/** Sessions that are cut at random moments; scripts/cut-sessions.mjs does it and checks, here a few hundred times. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';

const SCRIPT = join(import.meta.dirname, '..', '..', 'scripts', 'cut-sessions.mjs');

test.each(['addon', 'twin'])('with the %s: no wrong byte, nothing left, no crash', async (native) => {
  const args = [SCRIPT, '--sessions', '300', '--native', native, '--input', await mediaFile('h264-aac')];
  const { stdout, status, stderr } = await run(process.execPath, args, { allowFailure: true });
  expect({ status, stdout: stdout.toString(), stderr }).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^3\d\d sessions, 0 failed$/m),
    stderr: '',
  });
});
