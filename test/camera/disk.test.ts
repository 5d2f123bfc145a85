/** A live camera whose disk fails, hangs, or is taken from under it: recording goes on by itself, and the camera is not blamed. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { FrameQueue } from '../../src/ingest/frame-queue.ts';
import type { Frame } from '../../src/media.ts';
import { FaultyDisk, type Judge } from '../support/faulty-disk.ts';
import { noise } from '../support/segment.ts';
import {
  archives,
  connected,
  gapsOf,
  hashes,
  hashesOf,
  Latch,
  material,
  recorded,
  slowToSync,
  statesOf,
  type Told,
  until,
} from './support.ts';

const open = archives();
const footage = material();

const failures = (told: readonly Told[]) =>
  told.flatMap((one) => (one[0] === 'recording' && one[2] !== null ? [one[2].code] : []));

describe.concurrent('the disk of a live camera', () => {
  test.each([
    ['is full', 'ENOSPC', 'E_DISK_FULL'],
    ['has an error', 'EIO', 'E_IO'],
  ] as const)('%s: interrupted, and goes on with a gap of that cause', async (_, verdict, cause) => {
    let isSick = false;
    const judge: Judge = ({ kind }) => (isSick && (kind === 'write' || kind === 'create') ? verdict : undefined);
    await using archive = await open(new FaultyDisk(judge).io);
    const { camera, source, told } = await connected(archive, { footage: footage() });
    source.connection.giveUpTo(4);
    await until(() => camera.recording?.stats().appended[0] === 100);
    isSick = true;
    source.connection.giveUpTo(6);
    await until(() => camera.health().error !== null);
    const { error } = camera.health();
    expect(camera.health()).toMatchObject({ state: 'online', recording: false, wanted: true, error: { code: cause } });
    await until(() => Date.now() > (error?.sinceUtcMs ?? 0) + 20);
    expect(camera.health().error).toEqual(error);
    isSick = false;
    // It is tried again after a second.
    await sleep(1200);
    source.connection.giveUpTo(12);
    await until(() => gapsOf(told).length === 1 && camera.health().recording);
    expect(gapsOf(told)).toEqual([expect.objectContaining({ cause })]);
    expect(camera.health()).toMatchObject({ error: null, gaps: { count: 1, last: { cause } } });
    expect(camera.health().lostFrames).toBeGreaterThan(0);
    const { lostFrames } = camera.health();
    await until(() => source.connection.frames.bytes === 0);
    await camera.close();
    expect(camera.health().lostFrames).toBe(lostFrames);
    expect(statesOf(told)).toEqual(['online', 'closed']);
    expect(failures(told)).toEqual([cause]);
    expect((await archive.timeline('door')).gaps).toEqual([expect.objectContaining({ cause })]);
    const frames = await recorded(archive);
    expect(frames).toHaveLength(footage().frames.filter(isBefore(12)).length - lostFrames);
  });

  test('hangs: frames wait, the camera is not blamed, and nothing is lost', async () => {
    let hang: Latch<undefined> | undefined;
    const disk = new FaultyDisk(({ kind }) => (kind === 'write' || kind === 'flush' ? hang?.opened : undefined));
    await using archive = await open(disk.io);
    const { camera, source, told } = await connected(archive, { footage: footage() }, { stallTimeoutMs: 1000 });
    const big = footage()
      .frames.filter(({ track }) => track === 0)
      .slice(0, 80)
      .map((frame, i): Frame => ({ ...frame, data: noise(2 ** 20, i) }));
    for (const frame of big.slice(0, 30)) source.connection.give(frame);
    await until(() => camera.health().recording);
    const hanging = new Latch<undefined>();
    hang = hanging;
    for (const frame of big.slice(30)) source.connection.give(frame);
    await until(() => camera.health().error !== null);
    const { error } = camera.health();
    expect(camera.health()).toMatchObject({ state: 'online', recording: false, wanted: true, error: { code: 'E_IO' } });
    expect(camera.health().bytesAtRisk).toBeGreaterThan(2 ** 25);
    expect(camera.health().error).toEqual(error);
    expect(source.connection.frames.bytes).toBeGreaterThan(0);
    hang = undefined;
    hanging.open(undefined);
    await until(() => camera.health().recording && source.connection.frames.bytes === 0);
    expect(camera.health()).toMatchObject({ state: 'online', error: null });
    await camera.close();
    expect(statesOf(told)).toEqual(['online', 'closed']);
    expect(hashesOf(await recorded(archive), 0)).toEqual(hashes(big, 0));
    expect(camera.health()).toMatchObject({ lostFrames: 0, gaps: { count: 0 }, bytesAtRisk: 0 });
  });

  test('is slow to seal: the next recording of the camera waits for it, however long', async () => {
    await using archive = await open({ ...new FaultyDisk(slowToSync).io, lockWaitMs: 0 });
    const { camera, source, told } = await connected(
      archive,
      { footage: footage() },
      { record: 'on-demand', preEventMs: 1000 },
    );
    for (const second of [1, 5, 9]) {
      camera.startRecording();
      source.connection.giveUpTo(second + 2);
      await until(() => source.connection.frames.bytes === 0);
      camera.stopRecording();
      source.connection.giveUpTo(second + 4);
      await until(() => source.connection.frames.bytes === 0);
    }
    await camera.close();
    expect(failures(told)).toEqual([]);
    expect(camera.health().lostFrames).toBe(0);
  });
});

const isBefore = (seconds: number) => {
  return ({ track, dts }: Frame) => dts / (footage().tracks[track]?.timescale ?? 1) < seconds;
};

describe.concurrent('a recording that fails for good', () => {
  test.each([0, 1000])(
    'a camera whose folder is removed is recorded anew; frames held before: %i ms',
    async (preEventMs) => {
      await using archive = await open();
      const { camera, source, told } = await connected(
        archive,
        { footage: footage() },
        { segmentDurationMs: 1000, preEventMs },
      );
      source.connection.giveUpTo(4);
      await until(() => camera.recording?.stats().appended[0] === 100);
      await rm(join(archive.root, 'door'), { recursive: true });
      source.connection.giveUpTo(4.2);
      await until(() => camera.health().error !== null);
      expect(camera.health()).toMatchObject({ state: 'online', recording: false, error: { code: 'E_CAMERA_REMOVED' } });
      source.connection.giveUpTo(10);
      await until(() => source.connection.frames.bytes === 0);
      // A failed recording is tried again after 5 s.
      await sleep(5200);
      const rest = source.connection.giveUpTo(14);
      await until(() => camera.health().recording && source.connection.frames.bytes === 0);
      expect(camera.health()).toMatchObject({ error: null, gaps: { count: 1, last: { cause: 'E_CAMERA_REMOVED' } } });
      await camera.close();
      const frames = await recorded(archive);
      const held = hashes(footage().frames.filter(isBefore(10)), 0).slice(200);
      expect(hashesOf(frames, 0)).toEqual([...(preEventMs > 0 ? held : []), ...hashes(rest, 0)]);
      const [gap] = gapsOf(told);
      expect(Math.abs((gap?.startUtcMs ?? 0) - source.connection.utcMs(4.08))).toBeLessThan(200);
      // All that came from the failing sync sample on and is not there.
      const missing = hashes(footage().frames.filter(isBefore(preEventMs > 0 ? 8 : 10)), 0).length - 100;
      expect(camera.health().lostFrames).toBeGreaterThanOrEqual(missing);
      expect(failures(told)).toEqual(['E_CAMERA_REMOVED']);
    },
  );

  test('a camera that somebody else records: told, tried again, and recorded when it is free', async () => {
    await using archive = await open({ lockWaitMs: 100 });
    await using other = await openArchive(archive.root);
    const tracks = footage().tracks;
    const theirs = await other.record('door', { tracks, frames: new FrameQueue() });
    const { camera, source, told } = await connected(archive, { footage: footage() });
    source.connection.giveUpTo(4);
    await until(() => camera.health().error?.code === 'E_CAMERA_BUSY');
    expect(camera.health()).toMatchObject({ state: 'online', recording: false, wanted: true });
    // Tried again after 5 s, in vain.
    await sleep(5200);
    source.connection.giveUpTo(6.2);
    await until(() => failures(told).length === 2);
    await theirs.stop();
    await sleep(5200);
    const rest = source.connection.giveUpTo(12);
    await until(() => camera.health().recording && source.connection.frames.bytes === 0);
    expect(gapsOf(told)).toEqual([expect.objectContaining({ cause: 'E_CAMERA_BUSY' })]);
    expect(Math.abs((gapsOf(told)[0]?.startUtcMs ?? 0) - source.connection.utcMs(0.08))).toBeLessThan(50);
    await camera.close();
    const frames = await recorded(archive);
    const pictures = hashes(rest, 0);
    expect(hashesOf(frames, 0)).toEqual(pictures.slice(45));
    // Each frame is recorded, or counted as lost.
    expect(camera.health().lostFrames).toBe(footage().frames.filter(isBefore(12)).length - frames.length);
  });
});
