/** The tracks of segments that are planned from their rows: one sample entry stands for many segments. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sealedRow } from '../../src/catalog/reconcile.ts';
import { decodeTrailer, TRAILER_BYTES } from '../../src/format/trailer.ts';
import { native } from '../../src/native.ts';
import { TrackCache } from '../../src/session/load.ts';
import { tellStory, VIDEO } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

async function storyTrack(folder: string) {
  const { path, sealed } = await tellStory(join(folder, 'door'));
  const trailer = decodeTrailer(sealed.subarray(-TRAILER_BYTES), native.crc32c);
  const [track] = trailer === undefined ? [] : sealedRow('door', path, trailer).tracks;
  if (track === undefined) throw new Error('the story has no track');
  return { path, track };
}

test('a damaged sample entry is E_DAMAGED, and stands for no other segment', async () => {
  const folder = await temporaryFolder();
  const { path, track } = await storyTrack(folder);
  const damaged = join(folder, 'damaged.mp4');
  const bytes = await readFile(path);
  const at = track.tables.stsd.offset + track.tables.stsd.length - 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(damaged, bytes);
  const cache = new TrackCache(native.crc32c);
  await expect(cache.of(track, damaged)).rejects.toMatchObject({ code: 'E_DAMAGED' });
  expect(await cache.of(track, path)).toMatchObject({ codec: VIDEO.codec, config: VIDEO.config });
  // Known by now: no file is read for it.
  expect(await cache.of(track, '/nowhere')).toBe(await cache.of(track, path));
});
