/** The archive as the library's users hold it: what it refuses before anything is made, and what closing it means. */
import { readdir } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type Archive, openArchive } from '../../src/archive.ts';
import { tryLock } from '../../src/catalog/writer-lock.ts';
import type { Frame, Track } from '../../src/media.ts';
import { CLIP, START } from '../support/handler-fixture.ts';
import { AUDIO, noise, START_UTC_MS, VIDEO } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

async function* pictures(count: number): AsyncGenerator<Frame, void, undefined> {
  for (let i = 0; i < count; i++) {
    yield { track: 0, data: noise(2000, i), dts: i * 3600, compositionOffset: 0, sync: i % 10 === 0 };
  }
}

async function archiveOf(options = {}): Promise<Archive> {
  const archive = await openArchive(await temporaryFolder(), options);
  onTestFinished(() => archive.close());
  return archive;
}

describe('before anything is made', () => {
  test.each<readonly [string, Partial<Track>, Track]>([
    ['a codec that cannot be written', { codec: 'vp09.00.10.08' }, VIDEO],
    ['a codec of the other kind', { codec: 'mp4a.40.2' }, VIDEO],
    ['a codec string that is too long', { codec: `avc1.${'0'.repeat(251)}` }, VIDEO],
    ['a timescale of 0', { timescale: 0 }, VIDEO],
    ['a timescale that is no integer', { timescale: 90_000.5 }, VIDEO],
    ['a timescale of 33 bits', { timescale: 2 ** 32 }, VIDEO],
    ['video without a size', { width: 0 }, VIDEO],
    ['video larger than its field', { height: 65_536 }, VIDEO],
    ['audio without a rate', { sampleRate: Number.NaN }, AUDIO],
    ['audio without channels', { channels: 0 }, AUDIO],
    ['audio whose configuration is none', { config: Uint8Array.of(1, 2, 3) }, AUDIO],
  ])('%s is E_TRACK', async (_, change, track) => {
    const archive = await archiveOf();
    const recording = archive.record('door', { tracks: [{ ...track, ...change }], frames: pictures(1) });
    await expect(recording).rejects.toMatchObject({ code: 'E_TRACK', message: expect.stringMatching(/^Track 0 /) });
    expect(await readdir(archive.root)).not.toContain('door');
  });

  test('unknown options are a TypeError, values out of range a RangeError', async () => {
    const archive = await archiveOf();
    const record = (options: object) => archive.record('door', { tracks: [VIDEO], frames: pictures(1), ...options });
    await expect(record({ segmentDuration: 3 })).rejects.toThrow(TypeError);
    await expect(record({ flushIntervalMs: '1000' })).rejects.toThrow(TypeError);
    for (const options of [
      { flushIntervalMs: 99 },
      { segmentDurationMs: 0 },
      { segmentBytes: 1000 },
      { startUtcMs: Infinity },
    ]) {
      await expect(record(options)).rejects.toThrow(RangeError);
    }
    const unknown: object = { pace: 2 };
    await expect(archive.session({ camera: 'door', start: START, duration: 1, ...unknown })).rejects.toThrow(TypeError);
    await expect(archive.import('door', CLIP, { start: START, ...unknown })).rejects.toThrow(TypeError);
    await expect(openArchive(archive.root, unknown)).rejects.toThrow(TypeError);
    await expect(openArchive(archive.root, { lockWaitMs: -1 })).rejects.toThrow(RangeError);
    expect(await readdir(archive.root)).not.toContain('door');
  });
});

describe('imports', () => {
  test('of one range at the same time: one is made, the other is E_OVERLAP', async () => {
    const archive = await archiveOf();
    const both = [1, 2].map(() => archive.import('door', CLIP, { start: START }));
    const results = await Promise.allSettled(both);
    const [failed] = results.filter((result) => result.status === 'rejected');
    expect(results.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    expect(failed?.reason).toMatchObject({ code: 'E_OVERLAP' });
    expect((await archive.cameras())[0]?.segments).toBe(1);
  });

  test('that share less than a millisecond follow each other, and keep their microseconds', async () => {
    const archive = await archiveOf();
    const first = await archive.import('door', CLIP, { start: START_UTC_MS / 1000 + 0.000_25 });
    expect(first.startUtcMs).toBe(START_UTC_MS + 0.25);
    const second = await archive.import('door', CLIP, { start: new Date(first.endUtcMs) });
    expect(second.startUtcMs).toBe(START_UTC_MS + 16_000);
  });
});

describe('a camera that somebody else writes', () => {
  test('is waited for, and taken when it is free', async () => {
    const archive = await archiveOf();
    await (
      await archive.record('door', { tracks: [VIDEO], frames: pictures(1) })
    ).finished;
    const held = tryLock(join(archive.root, 'door'));
    setTimeout(() => held?.release(), 60);
    const recording = await archive.record('door', { tracks: [VIDEO], frames: pictures(3) });
    expect((await recording.finished).appended).toEqual([3]);
  });

  test('is E_CAMERA_BUSY after lockWaitMs, in words that fit a recorder and a recovery', async () => {
    const archive = await archiveOf({ lockWaitMs: 0 });
    const hold = new AbortController();
    const recording = await archive.record('door', { tracks: [VIDEO], frames: held(hold.signal) });
    await expect(archive.record('door', { tracks: [VIDEO], frames: pictures(1) })).rejects.toMatchObject({
      code: 'E_CAMERA_BUSY',
      message: expect.stringMatching(/recorded or imported.*recovered/),
    });
    hold.abort();
    await recording.finished;
  });

  test('is no longer waited for when the signal aborts', async () => {
    const archive = await archiveOf();
    const recording = await archive.record('door', { tracks: [VIDEO], frames: held(new AbortController().signal) });
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('enough')), 20);
    const second = archive.record('door', { tracks: [VIDEO], frames: pictures(1), signal: stop.signal });
    await expect(second).rejects.toThrow('enough');
    await recording.stop();
  });
});

/** A few pictures, then nothing until `signal` aborts. */
async function* held(signal: AbortSignal): AsyncGenerator<Frame, void, undefined> {
  yield* pictures(3);
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

describe('closing', () => {
  test('ends an import under way, of which nothing is left', async () => {
    const archive = await archiveOf();
    let closed: Promise<void> | undefined;
    const onProgress = () => (closed ??= archive.close());
    await expect(archive.import('door', CLIP, { start: START, onProgress })).rejects.toMatchObject({
      code: 'E_CLOSED',
    });
    await closed;
    const left = await readdir(archive.root, { recursive: true });
    expect(left.filter((name) => /\.(mp4|idx)$/.test(name))).toEqual([]);
  });

  test('ends a record() that has not resolved, whether it waits for the camera or not', async () => {
    const archive = await archiveOf();
    const first = await archive.record('door', { tracks: [VIDEO], frames: held(new AbortController().signal) });
    const waiting = archive.record('door', { tracks: [VIDEO], frames: pictures(1) });
    await vi.waitFor(() => expect(first.stats().appended).toEqual([3]), { interval: 1, timeout: 60_000 });
    const beginning = archive.record('yard', { tracks: [VIDEO], frames: held(new AbortController().signal) });
    const outcomes = Promise.allSettled([waiting, beginning]);
    await archive.close();
    expect((await first.finished).appended).toEqual([3]);
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'E_CLOSED' } });
    }
  });

  test('waits for listings and plans; later calls are E_CLOSED', async () => {
    const archive = await archiveOf();
    await archive.import('door', CLIP, { start: START });
    const calls = [archive.cameras(), archive.timeline('door'), archive.recover()];
    const session = await archive.session({ camera: 'door', start: START, duration: 5 });
    await archive.close();
    expect((await Promise.allSettled(calls)).map(({ status }) => status)).toEqual(calls.map(() => 'fulfilled'));
    await expect(archive.cameras()).rejects.toMatchObject({ code: 'E_CLOSED' });
    await expect(session.send(new Writable())).rejects.toMatchObject({ code: 'E_CLOSED' });
  });
});

test('many answers at the same time are no leak of listeners', async () => {
  const archive = await archiveOf();
  await archive.import('door', CLIP, { start: START });
  const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  onTestFinished(() => warning.mockRestore());
  const session = await archive.session({ camera: 'door', start: START, duration: 5 });
  await Promise.all(Array.from({ length: 20 }, () => session.send(slowTarget())));
  expect(warning).not.toHaveBeenCalled();
});

function slowTarget(): Writable {
  return new Writable({ highWaterMark: 1, write: (_chunk, _encoding, done) => void setTimeout(done, 5) });
}
