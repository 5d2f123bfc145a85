/**
 * Recorders on ext4 and XFS lose their power at random moments; scripts/power-cuts.mjs does it and checks. Skipped only
 * where file systems cannot be mounted; a tool that is missing is a failure.
 */
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { runScript } from './script.ts';

const canMount = process.getuid?.() === 0 && existsSync('/dev/loop-control');

describe.skipIf(!canMount)('a power cut', () => {
  test('takes nothing that was flushed and at most the flush interval and a flush, and invents nothing', async () => {
    const result = await runScript('power-cuts.mjs', '--cuts', '10');
    expect(result).toMatchObject({ status: 0, output: expect.stringContaining('10 cuts, 0 failed') });
  });

  test('is found to take what was acknowledged when the flushes are left out', async () => {
    const { status, output } = await runScript('power-cuts.mjs', '--cuts', '4', '--intervals', '100', '--no-flush');
    expect({ status, output }).toMatchObject({
      status: 1,
      output: expect.stringMatching(/frame \d+ is missing, of \d+ that were safe/),
    });
  });
});
