/** Closing a camera, or its archive, in every state: what came is kept, and nothing runs on. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { FrameQueue } from '../../src/ingest/frame-queue.ts';
import { FakeSource } from '../support/fake-source.ts';
import { FaultyDisk, type Judge } from '../support/faulty-disk.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';
import {
  archives,
  connected,
  gapsOf,
  hashes,
  hashesOf,
  Latch,
  listen,
  material,
  recorded,
  refusing,
  silent,
  slowToSync,
  statesOf,
  until,
} from './support.ts';

const open = archives();
const footage = material();
/** What closing must not wait for lasts for minutes. */
const SOON = { timeout: 30_000 };

describe.concurrent('closing a camera', () => {
  test('that is connecting, or waits for its turn', SOON, async () => {
    await using archive = await open();
    const sources = Array.from({ length: 6 }, () => new FakeSource({ footage: footage(), answer: silent }));
    const cameras = sources.map((source, i) => archive.camera(`camera-${i}`, { source, connectTimeoutMs: 3_600_000 }));
    await until(() => sources[3]?.attempts === 1);
    expect(sources[4]?.attempts).toBe(0);
    await cameras[5]?.close();
    expect(cameras[5]?.health().state).toBe('closed');
    await cameras[0]?.close();
    // Its place is free again.
    await until(() => sources[4]?.attempts === 1);
    expect(archive.liveCameras()).toHaveLength(4);
  });

  test('that waits for its next attempt', SOON, async () => {
    await using archive = await open();
    const source = new FakeSource({ footage: footage(), answer: refusing('E_CAMERA_AUTH') });
    const camera = archive.camera('door', { source });
    const told = listen(camera);
    await until(() => camera.health().state === 'waiting');
    await Promise.all([camera.close(), camera.close()]);
    await camera.close();
    expect(statesOf(told)).toEqual(['waiting', 'closed']);
    expect(camera.health()).toMatchObject({ state: 'closed', error: null });
  });

  test('within the first second of a connection, and from one of its own listeners', async () => {
    await using archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() });
    const given = source.connection.giveUpTo(0.8);
    await until(() => source.connection.frames.bytes === 0);
    let closing: Promise<void> | undefined;
    camera.once('recording', () => (closing = camera.close()));
    await camera.close();
    await closing;
    expect(hashesOf(await recorded(archive), 0)).toEqual(hashes(given, 0));
  });

  test.each(['camera', 'archive'] as const)(
    'the %s, while a recording is being begun: all is recorded',
    async (what) => {
      const made = new Latch<undefined>();
      const judge: Judge = ({ kind, path }) => (kind === 'mkdir' && path.endsWith('door') ? made.opened : undefined);
      const archive = await open(new FaultyDisk(judge).io);
      const { camera, source } = await connected(archive, { footage: footage() });
      const given = source.connection.giveUpTo(4);
      await until(() => source.connection.frames.bytes === 0);
      expect(camera.health()).toMatchObject({ wanted: true, recording: false });
      const closing = what === 'camera' ? camera.close() : archive.close();
      await sleep(50);
      expect(camera.health().state).toBe('online');
      made.open(undefined);
      await closing;
      await archive.close();
      expect(camera.health()).toMatchObject({ state: 'closed', lostFrames: 0 });
      expect(hashesOf(await recorded(archive), 0)).toEqual(hashes(given, 0));
    },
  );

  test('the archive, with frames that the clock of a connection still holds', async () => {
    const archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() });
    const given = source.connection.giveUpTo(0.8);
    await until(() => source.connection.frames.bytes === 0);
    await archive.close();
    expect(camera.health().state).toBe('closed');
    expect(hashesOf(await recorded(archive), 0)).toEqual(hashes(given, 0));
  });

  test('while one recording is being sealed and the next waits for it', async () => {
    const archive = await open(new FaultyDisk(slowToSync).io);
    const options = { record: 'on-demand', preEventMs: 1000 } as const;
    const { camera, source, told } = await connected(archive, { footage: footage() }, options);
    camera.startRecording();
    source.connection.giveUpTo(3);
    await until(() => camera.health().recording);
    camera.stopRecording();
    source.connection.giveUpTo(5);
    await until(() => source.connection.frames.bytes === 0);
    camera.startRecording();
    await archive.close();
    expect(hashesOf(await recorded(archive), 0)).toHaveLength(125);
    expect(gapsOf(told)).toEqual([]);
  });

  test('while somebody else has it: it is not waited for', SOON, async () => {
    const archive = await open({ lockWaitMs: 3_600_000 });
    await using other = await openArchive(archive.root);
    await other.record('door', { tracks: footage().tracks, frames: new FrameQueue() });
    const { camera, source } = await connected(archive, { footage: footage() });
    source.connection.giveUpTo(4);
    await until(() => existsSync(join(archive.root, 'door', '.writer')) && source.connection.frames.bytes === 0);
    await archive.close();
    expect(camera.health().state).toBe('closed');
    expect(camera.health().lostFrames).toBeGreaterThanOrEqual(100);
  });

  test('whose recording somebody has stopped: that is to stop recording', async () => {
    await using archive = await open();
    const { camera, source, told } = await connected(archive, { footage: footage() });
    source.connection.giveUpTo(4);
    await until(() => camera.health().recording);
    await camera.recording?.stop();
    await until(() => !camera.health().wanted);
    expect(camera.health()).toMatchObject({ recording: false, error: null });
    source.connection.giveUpTo(6);
    await until(() => source.connection.frames.bytes === 0);
    camera.startRecording();
    source.connection.giveUpTo(10);
    await until(() => camera.health().recording);
    await camera.close();
    expect(hashesOf(await recorded(archive), 0).slice(-100)).toEqual(hashes(footage().frames, 0).slice(150, 250));
    expect(gapsOf(told)).toEqual([]);
  });
});

test('a process ends by itself when its cameras are closed', SOON, async () => {
  const child = join(import.meta.dirname, 'exit-child.mjs');
  const { stdout, stderr } = await run(process.execPath, [child, await temporaryFolder()]);
  expect(stderr).toBe('');
  expect(stdout.toString('utf8')).toBe('closed closed closed');
});
