/** A camera that is lost, silent, or never there: what is told of it, when it is tried again, and the gap that it leaves. */
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { Camera, STUBBORN } from '../../src/camera/camera.ts';
import { ConnectGate } from '../../src/camera/connect-gate.ts';
import { type CameraOptions, checkCameraOptions } from '../../src/camera/options.ts';
import { Watch, WATCH_MS } from '../../src/camera/watch.ts';
import { FakeSource } from '../support/fake-source.ts';
import {
  archives,
  connected,
  gapsOf,
  gone,
  hashesOf,
  Latch,
  listen,
  material,
  recorded,
  refusing,
  silent,
  statesOf,
  until,
} from './support.ts';

const open = archives();
const footage = material();

describe.concurrent('a connection that is lost', () => {
  test.each(['E_CAMERA_LOST', 'E_CAMERA_UNREACHABLE'] as const)(
    '%s: made again, with a gap of that cause',
    async (code) => {
      await using archive = await open();
      const { camera, source, told } = await connected(archive, { footage: footage() });
      source.connection.giveUpTo(4);
      await until(() => camera.health().recording);
      if (code === 'E_CAMERA_LOST') source.connection.end();
      else source.connection.fail(gone(code));
      await until(() => camera.health().state === 'waiting');
      expect(camera.health()).toMatchObject({ error: { code }, connectedUtcMs: null, wanted: true });
      await until(() => !camera.health().recording);
      const lastUtcMs = source.connection.utcMs(4);
      source.agoMs = 40_000;
      await until(() => source.connections.length === 2);
      source.connection.giveUpTo(4);
      await until(() => camera.health().recording);
      expect(camera.health()).toMatchObject({ error: null, reconnects: 1, gaps: { count: 1 } });
      const [gap] = gapsOf(told);
      expect(gap?.cause).toBe(code);
      expect(Math.abs((gap?.startUtcMs ?? 0) - lastUtcMs)).toBeLessThan(200);
      expect(Math.abs((gap?.endUtcMs ?? 0) - source.connection.utcMs(0.08))).toBeLessThan(50);
      expect(camera.health().gaps).toEqual({
        count: 1,
        totalMs: (gap?.endUtcMs ?? 0) - (gap?.startUtcMs ?? 0),
        last: gap,
      });
      await camera.close();
      expect((await archive.timeline('door')).gaps).toEqual([expect.objectContaining({ cause: code })]);
      expect(statesOf(told)).toEqual(['online', 'waiting', 'connecting', 'online', 'closed']);
      expect(hashesOf(await recorded(archive), 0)).toHaveLength(200);
    },
  );

  test('while nothing is to be recorded there is no gap', async () => {
    await using archive = await open();
    const { camera, source, told } = await connected(archive, { footage: footage() }, { record: 'on-demand' });
    source.connection.giveUpTo(4);
    source.connection.end();
    await until(() => source.connections.length === 2);
    camera.startRecording();
    source.connection.giveUpTo(4);
    await until(() => camera.health().recording);
    expect(gapsOf(told)).toEqual([]);
  });

  test('started while it is away: missing from the start on, until its time is over', async () => {
    await using archive = await open();
    const { camera, source, told } = await connected(archive, { footage: footage() }, { record: 'on-demand' });
    source.agoMs = 0;
    source.connection.end();
    await until(() => camera.health().state === 'waiting');
    camera.startRecording({ forMs: 100 });
    await until(() => !camera.health().wanted);
    const startUtcMs = Date.now();
    camera.startRecording();
    await until(() => source.connections.length === 2);
    source.connection.giveUpTo(4);
    await until(() => camera.health().recording);
    const [over, back] = gapsOf(told);
    expect(over).toMatchObject({ cause: 'E_CAMERA_LOST' });
    expect((over?.endUtcMs ?? 0) - (over?.startUtcMs ?? 0)).toBeCloseTo(100, -1.4);
    expect(back).toMatchObject({ cause: 'E_CAMERA_LOST' });
    expect(Math.abs((back?.startUtcMs ?? 0) - startUtcMs)).toBeLessThan(50);
    expect(Math.abs((back?.endUtcMs ?? 0) - source.connection.utcMs(0.08))).toBeLessThan(50);
    expect(gapsOf(told)).toHaveLength(2);
  });

  test('one that was never there is missing from the beginning on', async () => {
    await using archive = await open();
    const startUtcMs = Date.now();
    const source = new FakeSource({ footage: footage(), agoMs: 0, answer: refusing('E_CAMERA_UNREACHABLE') });
    const camera = archive.camera('door', { source });
    const told = listen(camera);
    await until(() => camera.health().state === 'waiting');
    source.answer = undefined;
    await until(() => source.connections.length === 1);
    source.connection.giveUpTo(4);
    await until(() => camera.health().recording);
    const [gap] = gapsOf(told);
    expect(gap?.cause).toBe('E_CAMERA_UNREACHABLE');
    expect(Math.abs((gap?.startUtcMs ?? 0) - startUtcMs)).toBeLessThan(200);
    expect(camera.health().reconnects).toBe(0);
  });
});

describe.concurrent('a camera that does not do what it should', () => {
  test('is stalled without frames of the leading track, whatever else comes', async () => {
    await using archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() }, { stallTimeoutMs: 1000 });
    const { connection } = source;
    const sounds = footage().frames.filter(({ track }) => track === 1);
    for (const sound of sounds) {
      if (camera.health().state !== 'online') break;
      connection.give(sound);
      await sleep(20);
    }
    expect(camera.health()).toMatchObject({ state: 'waiting', error: { code: 'E_CAMERA_STALLED' } });
    expect(connection.closed).toBe(1);
  });

  test('has no keyframe when pictures come, but no sync sample', async () => {
    await using archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() }, { keyframeTimeoutMs: 1000 });
    const { connection } = source;
    for (const picture of footage().frames.filter(({ track, sync }) => track === 0 && !sync)) {
      if (camera.health().state !== 'online') break;
      connection.give(picture);
      await sleep(20);
    }
    expect(camera.health()).toMatchObject({ state: 'waiting', error: { code: 'E_CAMERA_NO_KEYFRAME' } });
    expect(connection.closed).toBe(1);
  });

  test('is unreachable when it takes too long to connect', async () => {
    await using archive = await open();
    const source = new FakeSource({ footage: footage(), answer: silent });
    const camera = archive.camera('door', { source, connectTimeoutMs: 1000 });
    await until(() => camera.health().state === 'waiting');
    expect(camera.health().error).toMatchObject({ code: 'E_CAMERA_UNREACHABLE' });
  });

  test('time in which this process did not run does not count', () => {
    const source = new FakeSource({ footage: footage() });
    const options = { source, stallTimeoutMs: 1000, keyframeTimeoutMs: 2000 };
    const watch = new Watch(footage().tracks, options, 0);
    expect(watch.check(WATCH_MS)).toBeUndefined();
    expect(watch.check(60_000)).toBeUndefined();
    for (let ms = 60_250; ms < 60_500; ms += WATCH_MS) expect(watch.check(ms)).toBeUndefined();
    expect(watch.check(60_500)?.code).toBe('E_CAMERA_STALLED');
    watch.pause();
    expect(watch.check(60_750)).toBeUndefined();
    watch.resume(60_750);
    expect(watch.check(61_000)).toBeUndefined();
  });
});

/** A camera whose waits take no time, and are noted. */
function impatient(options: CameraOptions, waits: number[] = []): Camera {
  return new Camera('door', checkCameraOptions(options), {
    begin: refusing('E_IO'),
    gate: new ConnectGate(4, 5000),
    maxWaitingBytes: () => Infinity,
    noteGaps: () => Promise.resolve(),
    wallMs: Date.now,
    wait: async (ms) => {
      waits.push(ms);
      await sleep(1);
    },
    onClosed: () => undefined,
  });
}

describe('attempts', () => {
  test.each([...(['E_CAMERA_UNREACHABLE', 'E_CAMERA_LOST', 'E_INPUT_MISSING', 'E_CAMERA_BUSY'] as const), ...STUBBORN])(
    '%s: told as it is, and tried again later and later',
    async (code) => {
      const waits: number[] = [];
      const source = new FakeSource({ footage: footage(), answer: refusing(code) });
      const camera = impatient({ source }, waits);
      await until(() => waits.length >= 12);
      await camera.close();
      expect(camera.health().error).toBeNull();
      const rests = STUBBORN.has(code)
        ? waits.map(() => 60_000)
        : [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30].map((s) => s * 1000);
      for (const [i, rest] of rests.slice(0, 12).entries()) {
        expect(waits[i]).toBeGreaterThanOrEqual(rest * 0.75);
        expect(waits[i]).toBeLessThanOrEqual(rest * 1.25);
      }
      // Cameras that were lost together do not come back together.
      expect(new Set(waits.slice(5, 12)).size).toBeGreaterThan(1);
    },
  );

  test('the same trouble has lasted since it began', async () => {
    const waits: number[] = [];
    const source = new FakeSource({ footage: footage(), answer: refusing('E_CAMERA_LOST') });
    const camera = impatient({ source }, waits);
    await until(() => waits.length >= 1);
    const since = camera.health().error?.sinceUtcMs;
    await until(() => Date.now() > (since ?? 0) + 20 && waits.length >= 4);
    expect(camera.health().error?.sinceUtcMs).toBe(since);
    await camera.close();
  });

  test('hundreds of connections leave nothing behind', async () => {
    const warnings: unknown[] = [];
    const note = (warning: unknown) => warnings.push(warning);
    process.on('warning', note);
    const source = new FakeSource({ footage: footage() });
    const accept = source.accept.bind(source);
    source.answer = async () => {
      const connection = accept();
      source.connections.splice(0);
      connection.giveUpTo(0.4);
      connection.end();
      return connection;
    };
    const camera = impatient({ source, record: 'on-demand', preEventMs: 1000 });
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const heapAfter = async (attempts: number) => {
      await until(() => source.attempts >= attempts);
      collect();
      return process.memoryUsage().heapUsed;
    };
    const early = await heapAfter(100);
    const late = await heapAfter(700);
    expect(late - early).toBeLessThan(600 * 1024);
    await camera.close();
    process.off('warning', note);
    expect(warnings).toEqual([]);
    expect(camera.health().reconnects).toBeGreaterThan(600);
  });
});

describe('many cameras', () => {
  test('four are connected at once, in the order in which they came', async () => {
    await using archive = await open();
    let now = 0;
    let most = 0;
    const order: number[] = [];
    const cameras = Array.from({ length: 200 }, (_, i) => {
      const source: FakeSource = new FakeSource({
        footage: footage(),
        answer: async () => {
          order.push(i);
          most = Math.max(most, ++now);
          await sleep(2);
          now--;
          return source.accept();
        },
      });
      return archive.camera(`camera-${i}`, { source, record: 'on-demand' });
    });
    await until(() => cameras.every((camera) => camera.health().state === 'online'));
    expect(most).toBe(4);
    expect(order).toEqual(cameras.map((_, i) => i));
  });

  test('one that takes long goes on without its place, and one that is closed gives up its turn', async () => {
    const gate = new ConnectGate(1, 20);
    const { signal } = new AbortController();
    const done: string[] = [];
    const answer = new Latch<void>();
    const slow = gate.run(() => answer.opened, signal);
    const closed = new AbortController();
    const left = gate.run(async () => done.push('closed'), closed.signal);
    closed.abort(new Error('closed'));
    await expect(left).rejects.toThrow('closed');
    await gate.run(async () => done.push('next'), signal);
    answer.open();
    await slow;
    await gate.run(async () => done.push('last'), signal);
    expect(done).toEqual(['next', 'last']);
  });
});
