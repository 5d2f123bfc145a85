/** A camera that is recorded from the beginning on: what is in the archive, what health and events tell. */
import { describe, expect, test, vi } from 'vitest';
import { type FakeConnection, FakeSource } from '../support/fake-source.ts';
import {
  archives,
  connected,
  hashes,
  hashesOf,
  Latch,
  listen,
  material,
  recorded,
  statesOf,
  until,
} from './support.ts';

const open = archives();
const footage = material();

describe.concurrent('recorded always', () => {
  test('every frame from the first sync sample on is in the archive, once, at its right time', async () => {
    await using archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() });
    const { connection } = source;
    // Pictures that nobody can decode come first.
    const [first] = footage().frames;
    if (first === undefined) throw new Error('there is a first frame');
    connection.give({ ...first, sync: false, dts: first.dts - 7200, data: Uint8Array.of(1, 2, 3) });
    const given = connection.giveUpTo(10);
    await until(() => connection.frames.bytes === 0);
    await camera.close();
    const frames = await recorded(archive);
    expect(hashesOf(frames, 0)).toEqual(hashes(given, 0));
    expect(hashesOf(frames, 1)).toEqual(hashes(given, 1));
    const pictures = frames.filter(({ track }) => track === 0).map(({ utcMs }) => utcMs);
    const pts = given.flatMap(({ track, dts, compositionOffset }) => (track === 0 ? [dts + compositionOffset] : []));
    const { timescale } = footage().tracks[0] ?? { timescale: 1 };
    pictures.forEach((utcMs, i) =>
      expect(Math.abs(utcMs - connection.utcMs((pts[i] ?? Infinity) / timescale))).toBeLessThan(20),
    );
    expect((await archive.timeline('door')).gaps).toEqual([]);
    expect(camera.health()).toMatchObject({ state: 'closed', lostFrames: 0, bytesAtRisk: 0, gaps: { count: 0 } });
  });

  test('health tells how it is, and events tell what becomes of it', async () => {
    await using archive = await open();
    const { camera, source, told } = await connected(archive, { footage: footage() });
    expect(camera.health()).toMatchObject({ recording: false, wanted: true, lastFrameAgeMs: null, bitsPerSecond: 0 });
    const given = source.connection.giveUpTo(4);
    await until(() => camera.health().recording && camera.recording?.stats().appended[0] !== 0);
    const health = camera.health();
    const bytes = given.reduce((sum, { track, data }) => sum + (track === 0 ? data.byteLength : 0), 0);
    expect(health).toMatchObject({
      ...{ camera: 'door', state: 'online', wanted: true, recording: true, error: null, source: 'fake://camera' },
      ...{ reconnects: 0, gaps: { count: 0, totalMs: 0, last: null }, lostFrames: 0, preEvent: null },
      clock: { cameraOffsetMs: null, steps: 0 },
    });
    expect(health.tracks[0]).toMatchObject({ kind: 'video', width: 640, height: 360, frames: 100, bytes });
    expect(health.tracks[1]).toMatchObject({ kind: 'audio', codec: 'mp4a.40.2', sampleRate: 48_000, channels: 1 });
    expect(health.bitsPerSecond).toBeGreaterThan(0);
    expect(health.lastFrameAgeMs).not.toBeNull();
    expect(Math.abs((health.connectedUtcMs ?? 0) - Date.now())).toBeLessThan(30_000);
    expect(JSON.parse(JSON.stringify(health))).toEqual(health);
    await camera.close();
    expect(told).toEqual([
      ['state', 'online', null],
      ['note', 'data track left out'],
      ['recording', true, null],
      ['recording', false, null],
      ['state', 'closed', null],
    ]);
    expect(camera.health()).toMatchObject({ state: 'closed', wanted: false, recording: false, connectedUtcMs: null });
  });

  test('the clock of the camera is told against ours', async () => {
    await using archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() });
    const { connection } = source;
    for (const frame of footage().frames.slice(0, 200)) {
      connection.give(frame.track === 0 ? { ...frame, cameraUtcMs: 1_000_000_000_000 } : frame);
    }
    await until(() => camera.health().clock.cameraOffsetMs !== null);
    expect(camera.health().clock.cameraOffsetMs).toBeLessThan(-1e11);
  });

  test('of a name there is one at a time; a closed one can be connected again', async () => {
    await using archive = await open();
    const { camera } = await connected(archive, { footage: footage() });
    const source = new FakeSource({ footage: footage() });
    expect(() => archive.camera('door', { source })).toThrow(expect.objectContaining({ code: 'E_CAMERA_BUSY' }));
    expect(archive.liveCameras()).toEqual([camera]);
    camera.removeAllListeners();
    await camera.close();
    expect(archive.control('door')).toBeUndefined();
    expect(() => camera.startRecording()).toThrow(expect.objectContaining({ code: 'E_CLOSED' }));
    const again = archive.camera('door', { source });
    await until(() => again.health().state === 'online');
    expect(archive.control('door')).toBe(again);
  });

  test('an archive that is only read refuses cameras, and so does a closed one', async () => {
    const writable = await open();
    const { openArchive } = await import('../../src/archive.ts');
    const source = new FakeSource({ footage: footage() });
    await using readOnly = await openArchive(writable.root, { readOnly: true });
    expect(() => readOnly.camera('door', { source })).toThrow(expect.objectContaining({ code: 'E_READ_ONLY' }));
    await writable.close();
    expect(() => writable.camera('door', { source })).toThrow(expect.objectContaining({ code: 'E_CLOSED' }));
    expect(source.attempts).toBe(0);
  });

  test('options that are none are refused before anything is connected', async () => {
    await using archive = await open();
    const source = new FakeSource({ footage: footage() });
    for (const options of [
      { record: 'sometimes' },
      { preEventMs: -1 },
      { stallTimeoutMs: 10 },
      { flushIntervalMs: 1 },
    ]) {
      expect(() => archive.camera('door', { source, ...options } as never), JSON.stringify(options)).toThrow(
        RangeError,
      );
    }
    expect(() => archive.camera('door', { source, preevent: 1 } as never)).toThrow(TypeError);
    expect(() => archive.camera('door', { source: 7 } as never)).toThrow(TypeError);
    const camera = archive.camera('door', { source });
    for (const forMs of [0, -1, Number.NaN, '60'])
      expect(() => camera.startRecording({ forMs } as never)).toThrow(RangeError);
    expect(() => camera.startRecording({ for: 1 } as never)).toThrow(TypeError);
  });
});

describe('listeners', () => {
  test('one that fails is told, and keeps neither the camera nor other listeners from anything', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    await using archive = await open();
    const source = new FakeSource({ footage: footage() });
    const camera = archive.camera('door', { source });
    for (const event of ['state', 'recording', 'note'] as const) {
      camera.on(event, () => {
        throw new Error('thrown by a listener');
      });
    }
    camera.once('state', () => Promise.reject(new Error('rejected by a listener')));
    const told = listen(camera);
    await until(() => camera.health().state === 'online');
    source.connection.giveUpTo(4);
    await until(() => camera.health().recording);
    source.connection.end();
    await until(() => camera.health().state === 'waiting');
    await camera.close();
    expect(statesOf(told)).toEqual(['online', 'waiting', 'closed']);
    expect(hashesOf(await recorded(archive), 0)).toHaveLength(100);
    const warnings = warned.mock.calls.map(([, options]) => options as { code: string; detail: string });
    warned.mockRestore();
    expect(warnings.map(({ code }) => code)).toEqual(warnings.map(() => 'FOOTAGE_LISTENER'));
    // Three states, one of them with a rejection, a note, and two changes of recording.
    expect(warnings).toHaveLength(7);
    expect(warnings[0]?.detail).toContain('always.test.ts');
  });
});

describe.concurrent('sources of a program that misbehave', () => {
  test.each([
    ['an unknown track', { track: 7 }],
    ['data that is none', { data: 'text' }],
    ['a DTS that is none', { dts: Number.NaN }],
  ])('a frame with %s: the connection ends, what came before is recorded', async (_, wrong) => {
    await using archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() });
    const given = source.connection.giveUpTo(4);
    source.connection.frames.push({ ...footage().frames[0], ...wrong } as never);
    await until(() => camera.health().state === 'waiting');
    expect(camera.health().error).toMatchObject({ code: 'E_FRAME' });
    expect(source.connection.closed).toBe(1);
    await camera.close();
    expect(hashesOf(await recorded(archive), 0)).toEqual(hashes(given, 0));
  });

  test('a plain error is told with what it says, and kept apart from one of the disk', async () => {
    await using archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() });
    source.answer = () => {
      throw new TypeError('thrown at once');
    };
    source.connection.fail(new Error('boom'));
    await until(() => camera.health().state === 'waiting');
    expect(camera.health().error).toMatchObject({ code: 'E_CAMERA_LOST' });
    expect(camera.health().error?.message).toContain('boom');
    await until(() => camera.health().error?.code === 'E_CAMERA_UNREACHABLE');
    expect(camera.health().error?.message).toContain('thrown at once');
  });

  test('a connection that does not close is left behind, and said', async () => {
    await using archive = await open();
    const { camera, source, told } = await connected(archive, { footage: footage() });
    source.connection.close = () => new Promise(() => undefined);
    source.connection.end();
    await until(() => source.connections.length === 2);
    expect(told).toContainEqual(['note', expect.stringContaining('left behind')]);
    source.connection.close = () => Promise.reject(new Error('no'));
    await camera.close();
    expect(told).toContainEqual(['note', expect.stringContaining('could not be closed well: no')]);
  });

  test('frames that never end do not keep a camera from being closed', async () => {
    await using archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() });
    source.connection.close = async () => undefined;
    source.connection.giveUpTo(4);
    await until(() => camera.health().recording);
    await camera.close();
    expect(hashesOf(await recorded(archive), 0)).toHaveLength(100);
  });

  test('one that ignores that it is told to end is left, and what it connects later is closed', async () => {
    await using archive = await open();
    const arrival = new Latch<FakeConnection>();
    const source = new FakeSource({ footage: footage(), answer: () => arrival.opened });
    const camera = archive.camera('door', { source });
    await until(() => source.attempts === 1);
    await camera.close();
    const late = source.accept();
    arrival.open(late);
    await until(() => late.closed === 1);
  });

  test('its frames are not changed', async () => {
    await using archive = await open();
    const before = hashes(footage().frames, 0);
    const { camera, source } = await connected(
      archive,
      { footage: footage() },
      { record: 'on-demand', preEventMs: 1000 },
    );
    // Each is frozen: whoever wrote to one would throw.
    source.connection.giveUpTo(6);
    camera.startRecording();
    await until(() => camera.health().recording);
    await camera.close();
    expect(camera.health().error).toBeNull();
    expect(hashes(footage().frames, 0)).toEqual(before);
  });
});
