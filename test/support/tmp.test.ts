/** Temporary folders exist while they are needed, and not longer. */
import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { temporaryFolder, withTemporaryFolder } from './tmp.ts';

let first = '';

test('a folder of a test exists during the test', async () => {
  first = await temporaryFolder();
  expect(existsSync(first)).toBe(true);
});

test('and is gone after it', () => {
  expect(first).not.toBe('');
  expect(existsSync(first)).toBe(false);
});

test('a folder of a block is gone after it, also when it throws', async () => {
  let folder = '';
  const failing = withTemporaryFolder(async (path) => {
    folder = path;
    throw new Error('on purpose');
  });
  await expect(failing).rejects.toThrow('on purpose');
  expect(existsSync(folder)).toBe(false);
});
