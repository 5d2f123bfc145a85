/**
 * Golden digests: header and body of answers over one segment that is always the same. They break on purpose when the
 * same plan gives other bytes: then RENDERER_VERSION is raised (it is part of every ETag) and they are written anew.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { reconcile } from '../../src/catalog/reconcile.ts';
import { openCatalog } from '../../src/catalog/sqlite-catalog.ts';
import { native } from '../../src/native.ts';
import { SegmentCache } from '../../src/segment/cache.ts';
import { RENDERER_VERSION } from '../../src/session/plan.ts';
import { Planner } from '../../src/session/planner.ts';
import { type AnswerOptions, answerPolicy } from '../../src/session/request.ts';
import type { VirtualFile } from '../../src/session/virtual-file.ts';
import { START_UTC_MS, tellStory } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

async function digestOf(file: VirtualFile): Promise<string> {
  const hash = createHash('sha256');
  for await (const slice of file.slices({ start: 0, end: file.length })) {
    if (slice.kind === 'bytes') hash.update(slice.data);
    else hash.update((await readFile(slice.path)).subarray(slice.offset, slice.offset + slice.length));
  }
  return hash.digest('hex').slice(0, 16);
}

const CASES: readonly (readonly [AnswerOptions, { readonly etag: string; readonly digest: string }])[] = [
  [{}, { etag: '"5a0d306e16e2c40149726222cc54b06e"', digest: '79c6b5ec042422bf' }],
  [{ begin: 'keyframe' }, { etag: '"9feb8ea960483154af4bc17e493eb9a1"', digest: '5022bee4139205f7' }],
  [{ tracks: 'video' }, { etag: '"0207c7a3cfcabe779c17551669d48250"', digest: 'c23258e8df54e679' }],
  [{ tracks: 'audio' }, { etag: '"5488d604d3aeea68176ca9ddee9bb78d"', digest: 'ae688800cf528c61' }],
  [
    { keyframes: true, speed: 4 },
    { etag: '"70a5443805683b9ecc74db4e6bc2bb36"', digest: '5e525ae5b619df61' },
  ],
  [{ format: 'fmp4' }, { etag: '"003b1f1b6c99a8492e03292e9f9206cc"', digest: '9fce4c78f59d3523' }],
];

test('the version is that of the digests', () => {
  expect(RENDERER_VERSION).toBe(2);
});

test.each(CASES)('%j', async (options, golden) => {
  const archive = await temporaryFolder();
  await tellStory(join(archive, 'door'));
  const catalog = await openCatalog(undefined);
  const cache = new SegmentCache(native);
  await reconcile(archive, catalog, native);
  const planner = new Planner({ archive, catalog, cache });
  const span = { startUtcMs: START_UTC_MS + 300, endUtcMs: START_UTC_MS + 1300 };
  const { file } = await planner.plan({ camera: 'door', ...span, ...answerPolicy(options) });
  expect({ etag: file.etag, digest: await digestOf(file) }).toEqual(golden);
  await cache.close();
  catalog.close();
});
