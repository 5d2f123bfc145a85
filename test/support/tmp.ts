/** Temporary folders for tests, removed when the test (or the file, outside of a test) has ended. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, onTestFinished } from 'vitest';

/** A folder of this test's own; call it inside a test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await makeFolder();
  onTestFinished(() => remove(folder));
  return folder;
}

/** A folder for all tests of the file; call it in a `beforeAll`. */
export async function sharedTemporaryFolder(): Promise<string> {
  const folder = await makeFolder();
  shared.push(folder);
  return folder;
}

/** Hooks cannot be registered inside of hooks, so one for all is registered when this module is loaded. */
const shared: string[] = [];
afterAll(async () => {
  for (const folder of shared.splice(0)) await remove(folder);
});

/** Runs `body` with a folder that is gone afterwards, outside of vitest too. */
export async function withTemporaryFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await makeFolder();
  try {
    return await body(folder);
  } finally {
    await remove(folder);
  }
}

function makeFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'footage-test-'));
}

async function remove(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
}
