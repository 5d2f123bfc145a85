/** The end of a camera that is in trouble: it comes soon, and what was missed is noted. */
import { describe, expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { archives, connected, gapsOf, gone, material, refusing, until } from './support.ts';

const open = archives();
const footage = material();

describe('closing a camera', () => {
  test('that waits for room, since somebody else records it, does not wait any longer', async () => {
    const archive = await open({ lockWaitMs: 600_000 });
    await using other = await openArchive(archive.root);
    const blocked = new Promise<never>(() => undefined);
    const frames = { [Symbol.asyncIterator]: () => ({ next: () => blocked }) };
    const { tracks } = footage();
    const holder = await other.record('door', { tracks, frames });
    const { source, camera } = await connected(archive, { footage: footage() });
    const { connection } = source;
    // More than may wait: 32 MiB.
    const large = new Uint8Array(3 * 2 ** 20);
    connection.giveUpTo(2);
    for (const frame of footage()
      .frames.filter(({ track, dts }) => track === 0 && dts > 0)
      .slice(60, 80)) {
      connection.give({ ...frame, data: large });
    }
    await until(() => camera.health().bytesAtRisk > 32 * 2 ** 20);
    await archive.close();
    expect(camera.health().state).toBe('closed');
    await holder.stop();
  });

  test('that is away notes since when nothing was recorded, and why', async () => {
    const archive = await open();
    const { camera, source, told } = await connected(archive, { footage: footage() });
    source.connection.giveUpTo(6);
    await until(() => (camera.recording?.stats().appended[0] ?? 0) > 0 && source.connection.frames.bytes === 0);
    source.answer = refusing('E_CAMERA_UNREACHABLE');
    source.connection.fail(gone('E_CAMERA_LOST'));
    await until(() => camera.health().state === 'waiting');
    await new Promise((resolve) => setTimeout(resolve, 300));
    await archive.close();
    expect(gapsOf(told)).toMatchObject([{ cause: 'E_CAMERA_LOST' }]);
    // The next one that records it goes on behind the gap, which then shows.
    await using again = await openArchive(archive.root);
    const later = await connected(again, { footage: footage(), agoMs: 20_000 });
    later.source.connection.giveUpTo(6);
    await until(() => (later.camera.recording?.stats().appended[0] ?? 0) > 0);
    await later.camera.close();
    expect((await again.timeline('door')).gaps).toMatchObject([{ cause: 'E_CAMERA_LOST' }]);
  });
});
