/** An archive that is served by worker threads, and by the processes of a cluster, which end in mid-transfer. */
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { BIG, fillArchive, START } from '../support/handler-fixture.ts';
import { run } from '../support/run.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';

let folder = '';
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  await fillArchive(folder);
});

const REQUEST = JSON.stringify({ camera: 'big', start: START, duration: 300 });

test.each([
  ['worker-child.mjs', 'addon', 'workers ended, nothing left\n'],
  ['worker-child.mjs', 'twin', 'workers ended, nothing left\n'],
  ['cluster-child.mjs', 'addon', 'one was killed, the other served on\n'],
  ['cluster-child.mjs', 'twin', 'one was killed, the other served on\n'],
])('%s with the %s', async (child, native, output) => {
  const args = [join(import.meta.dirname, child), folder, native, BIG, REQUEST];
  const { status, stdout, stderr } = await run(process.execPath, args, { allowFailure: true });
  expect({ status, stderr, stdout: stdout.toString() }).toEqual({ status: 0, stderr: '', stdout: output });
});
