/** Recorders, recoveries and imports are killed at random moments; scripts/kill-test.mjs does it and checks. */
import { expect, test } from 'vitest';
import { mediaFile } from '../support/media.ts';
import { runScript } from './script.ts';

test('after kill -9 in recording, sealing, recovery and import, every appended frame is there and verify is content', async () => {
  const options = ['--kills', '30', '--parallel', '3', '--max-seconds', '2.5'];
  const result = await runScript('kill-test.mjs', '--input', await mediaFile('h264-aac'), ...options);
  expect(result).toMatchObject({ status: 0, output: expect.stringContaining('30 kills, 0 failed') });
});
