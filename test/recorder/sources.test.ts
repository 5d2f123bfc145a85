/** A source is closed whatever ends its recording, a silent one learns of a failure, and what statistics say of the disk. */
import { rm } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import type { Frame } from '../../src/media.ts';
import { native } from '../../src/native.ts';
import { Recorder } from '../../src/recorder/recorder.ts';
import { nodeDisk } from '../../src/segment/disk.ts';
import { GroupFlusher } from '../../src/segment/flusher.ts';
import { AUDIO, AUDIO_TICKS, HEAD, noise, PICTURE_TICKS, START_UTC_MS, VIDEO } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

const BYTES = 300;

const picture = (i: number, more: Partial<Frame> = {}): Frame => ({
  ...{ track: 0, data: noise(BYTES, i), dts: i * PICTURE_TICKS, compositionOffset: 0, sync: i % 10 === 0 },
  ...more,
});

const sound = (i: number): Frame => ({
  ...{ track: 1, data: noise(50, i), dts: i * AUDIO_TICKS, compositionOffset: 0, sync: true },
  durationTicks: AUDIO_TICKS,
});

const pictures = (count: number) => Array.from({ length: count }, (_, i) => picture(i));

const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause();
}

/** Gives the frames, then, after `before`, endless pictures; notes when it is closed. */
function watched(frames: readonly Frame[], before: () => Promise<unknown> = async () => undefined) {
  let closed = false;
  async function* give(): AsyncGenerator<Frame, void, undefined> {
    try {
      yield* frames;
      await before();
      for (let i = frames.length; ; i++) {
        yield picture(i);
        await pause();
      }
    } finally {
      closed = true;
    }
  }
  return { frames: give(), isClosed: () => closed };
}

/** Gives the frames, and then nothing: `next` never answers. */
function silent(frames: readonly Frame[]) {
  const rest = [...frames];
  let closed = false;
  const next = async (): Promise<IteratorResult<Frame>> => {
    const value = rest.shift();
    return value === undefined ? new Promise(() => undefined) : { done: false, value };
  };
  const end = async (): Promise<IteratorResult<Frame>> => {
    closed = true;
    return { done: true, value: undefined };
  };
  return { frames: { [Symbol.asyncIterator]: () => ({ next, return: end }) }, isClosed: () => closed };
}

const failingFlush = async (fds: Int32Array) => fds.map(() => constants.errno.EIO);

const ignore = () => undefined;

describe('the source is closed', () => {
  test('when the recording is stopped, though it is silent', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const source = silent(pictures(5));
    const recording = await archive.record('door', { tracks: [VIDEO], frames: source.frames });
    await until(() => recording.stats().appended[0] === 5);
    expect(source.isClosed()).toBe(false);
    await recording.stop();
    expect(source.isClosed()).toBe(true);
  });

  test('when one of its frames is refused', async () => {
    await using archive = await openArchive(await temporaryFolder());
    const source = watched([...pictures(5), picture(5, { data: new Uint8Array(0) })]);
    const recording = await archive.record('door', { tracks: [VIDEO], frames: source.frames });
    await expect(recording.finished).rejects.toMatchObject({ code: 'E_FRAME' });
    expect(source.isClosed()).toBe(true);
  });

  test("when the camera's folder is gone", async () => {
    await using archive = await openArchive(await temporaryFolder());
    const source = watched(pictures(15), () => rm(join(archive.root, 'door'), { recursive: true }));
    const options = { tracks: [VIDEO], frames: source.frames, segmentDurationMs: 400 };
    const recording = await archive.record('door', options);
    await expect(recording.finished).rejects.toMatchObject({ code: 'E_CAMERA_REMOVED' });
    expect(source.isClosed()).toBe(true);
  });

  test('when a flush fails that ends the recording, though it is silent', async () => {
    const directory = await temporaryFolder();
    const layer = { ...native, groupFlush: failingFlush };
    const sink = {
      ...{ opened: ignore, sealed: ignore, removed: ignore },
      interrupted: ignore,
      left: ignore,
      resumed: ignore,
    };
    const recorder = new Recorder(
      [VIDEO],
      {
        ...{ directory, camera: HEAD.camera, disk: nodeDisk, native: layer, flusher: new GroupFlusher(layer), sink },
        ...{ endOnDiskFault: true, checkLock: async () => undefined, now: () => START_UTC_MS },
      },
      { flushIntervalMs: 100 },
    );
    const source = silent(pictures(5));
    const recording = recorder.record(source.frames, new AbortController().signal);
    await expect(recording).rejects.toMatchObject({ code: 'E_FLUSH' });
    expect(source.isClosed()).toBe(true);
  });
});

/** A native layer whose flushes wait until they are let go, and then say `errno` of every file. */
function heldFlushes() {
  const waiting: ((errno: number) => void)[] = [];
  const groupFlush = async (fds: Int32Array) => {
    const errno = await new Promise<number>((resolve) => waiting.push(resolve));
    return fds.map(() => errno);
  };
  let free = false;
  return {
    layer: { ...native, groupFlush: (fds: Int32Array) => (free ? native.groupFlush(fds) : groupFlush(fds)) },
    isWaiting: () => waiting.length > 0,
    /** Answers those that wait; later ones go to the disk. */
    release: (errno = 0) => {
      free = true;
      for (const answer of waiting.splice(0)) answer(errno);
    },
  };
}

describe('statistics', () => {
  test('bytes are at risk from when they are handed over until a flush has returned; its latency is told', async () => {
    const flushes = heldFlushes();
    await using archive = await openArchive(await temporaryFolder(), { native: flushes.layer });
    const source = silent([...pictures(15), sound(0), sound(1)]);
    const recording = await archive.record('door', {
      tracks: [VIDEO, AUDIO],
      frames: source.frames,
      flushIntervalMs: 100,
    });
    expect(recording.stats()).toMatchObject({ bytesAtRisk: 0, lastFlushMs: 0, longestFlushMs: 0 });
    await until(() => flushes.isWaiting());
    // The sound waits for its group.
    expect(recording.stats()).toMatchObject({ appended: [15, 0], flushed: [0, 0], lastFlushMs: 0 });
    const { bytesAtRisk } = recording.stats();
    expect(bytesAtRisk).toBeGreaterThan(15 * BYTES + 100);
    flushes.release();
    await until(() => recording.stats().flushed[0] === 15);
    const after = recording.stats();
    expect(after.bytesAtRisk).toBe(100);
    expect(after.lastFlushMs).toBeGreaterThan(0);
    expect(after.longestFlushMs).toBeGreaterThanOrEqual(after.lastFlushMs);
    expect(await recording.stop()).toMatchObject({ appended: [15, 2], flushed: [15, 2], bytesAtRisk: 0 });
  });

  test('a segment that is being sealed is at risk, too; one whose flush has failed is lost and no risk any more', async () => {
    const flushes = heldFlushes();
    await using archive = await openArchive(await temporaryFolder(), { native: flushes.layer });
    const source = silent(pictures(11));
    const options = { tracks: [VIDEO], frames: source.frames, segmentDurationMs: 400, flushIntervalMs: 60_000 };
    const recording = await archive.record('door', options);
    await until(() => recording.stats().appended[0] === 11 && flushes.isWaiting());
    expect(recording.stats()).toMatchObject({ segments: 2, lost: [0] });
    expect(recording.stats().bytesAtRisk).toBeGreaterThan(11 * BYTES);
    flushes.release(constants.errno.EIO);
    await until(() => (recording.stats().lost[0] ?? 0) > 0);
    const { lost, bytesAtRisk } = recording.stats();
    expect(lost).toEqual([10]);
    expect(bytesAtRisk).toBeGreaterThan(BYTES);
    expect(bytesAtRisk).toBeLessThan(10 * BYTES);
    expect((await recording.stop()).bytesAtRisk).toBe(0);
  });
});
