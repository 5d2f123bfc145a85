/** This machine's clock is set while a camera is recorded: that is told, and what was recorded is served, all of it, once. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { exportTo } from '../support/acceptance.ts';
import { packets } from '../support/ffmpeg.ts';
import { temporaryFolder } from '../support/tmp.ts';
import { archives, connected, hashes, hashesOf, material, recorded, until } from './support.ts';

const open = archives();
const footage = material();
const HOUR_MS = 3_600_000;

describe('a system clock that is set', () => {
  test.each([
    ['back an hour', -HOUR_MS],
    ['back two seconds, over what was just recorded', -2000],
    ['forward an hour', HOUR_MS],
  ])('%s', async (_, byMs) => {
    let setMs = 0;
    await using archive = await open({ now: () => Date.now() + setMs });
    const { camera, source, told } = await connected(archive, { footage: footage() });
    const { connection } = source;
    const before = connection.giveUpTo(9);
    await until(() => connection.frames.bytes === 0 && camera.recording !== undefined);
    setMs = byMs;
    const given = [...before, ...connection.giveUpTo(20)];
    await until(() => connection.frames.bytes === 0);
    await camera.close();

    const steps = told.flatMap(([event, value]) => (event === 'clock' ? [value] : []));
    expect(steps).toHaveLength(1);
    expect(steps[0]).toMatchObject({ clock: 'system' });
    expect(Math.abs((steps[0]?.byMs ?? 0) - byMs)).toBeLessThan(500);
    // Nothing was missed: no gap is told, though wall time has one.
    expect(camera.health().gaps.count).toBe(0);
    const frames = await recorded(archive);
    for (const track of [0, 1]) expect(hashesOf(frames, track).toSorted()).toEqual(hashes(given, track).toSorted());

    const { spans, gaps } = await archive.timeline('door');
    expect(gaps).toHaveLength(byMs > 0 ? 1 : Number(byMs < -20_000));
    const file = join(await temporaryFolder(), 'door.mp4');
    const start = new Date((spans[0]?.startUtcMs ?? 0) - 1000);
    const end = new Date((spans.at(-1)?.endUtcMs ?? 0) + 1000);
    await exportTo(file, archive, { camera: 'door', start, end });
    const exported = (await packets(file, { hash: true, streams: 'v' })).map(({ hash }) => hash);
    expect(exported).toHaveLength(given.filter(({ track }) => track === 0).length);
    expect(new Set(exported).size).toBe(exported.length);
  });
});
