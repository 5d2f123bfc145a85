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
import { SegmentCache } from '../../src/segment/cache.ts';
import { RENDERER_VERSION } from '../../src/session/plan.ts';
import { Planner } from '../../src/session/planner.ts';
import { type AnswerOptions, answerPolicy } from '../../src/session/request.ts';
import type { VirtualFile } from '../../src/session/virtual-file.ts';
import { START_UTC_MS, tellStory, io } from '../support/segment.ts';
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
  [{}, { etag: '"5edac856d62e88475e45bceca5103188"', digest: '79c6b5ec042422bf' }],
  [{ begin: 'keyframe' }, { etag: '"e7680c2cf5674a616c3e31e29a1ad123"', digest: '5022bee4139205f7' }],
  [{ tracks: 'video' }, { etag: '"e959f79dcacfff2df61ba54d8c37d37a"', digest: 'c23258e8df54e679' }],
  [{ tracks: 'audio' }, { etag: '"20ca34e5270c43f8b3a62630d6f66fdc"', digest: 'ae688800cf528c61' }],
  [
    { keyframes: true, speed: 4 },
    { etag: '"89f6492ef0daf9d0bcbf50111bab5d3a"', digest: '5e525ae5b619df61' },
  ],
  [{ format: 'fmp4' }, { etag: '"605d4d5f54351ac51b1e50d9932d7f82"', digest: '9fce4c78f59d3523' }],
];

test('the version is that of the digests', () => {
  expect(RENDERER_VERSION).toBe(2);
});

test.each(CASES)('%j', async (options, golden) => {
  const archive = await temporaryFolder();
  await tellStory(join(archive, 'door'));
  const catalog = await openCatalog(undefined);
  const cache = new SegmentCache(io);
  await reconcile(archive, catalog, io);
  const planner = new Planner({ archive, catalog, cache });
  const span = { startUtcMs: START_UTC_MS + 300, endUtcMs: START_UTC_MS + 1300 };
  const { file } = await planner.plan({ camera: 'door', ...span, ...answerPolicy(options) });
  expect({ etag: file.etag, digest: await digestOf(file) }).toEqual(golden);
  await cache.close();
  catalog.close();
});
