/** What goes wrong with cameras: each time the recording goes on by itself, what was missed is a gap that says why. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Archive, openArchive } from '../../src/archive.ts';
import type { Camera } from '../../src/camera/camera.ts';
import type { ClockStep } from '../../src/ingest/camera-clock.ts';
import type { Track } from '../../src/media.ts';
import {
  AUDIO_DIES_AFTER_FRAMES,
  CAMERA_FPS,
  type CameraStreamKind,
  cameraStream,
  SIZE_CHANGE_S,
  startCamera,
  type TestCamera,
} from '../support/camera.ts';
import { picturesOf } from '../support/acceptance.ts';
import { warnings } from '../support/ffmpeg.ts';
import { appended, expectUnbroken, exportedTrack, healthy } from '../support/live.ts';
import { temporaryFolder } from '../support/tmp.ts';

interface Scene {
  readonly folder: string;
  readonly archive: Archive;
  readonly camera: TestCamera;
  readonly door: Camera;
}

type Options = Omit<Parameters<Archive['camera']>[1], 'source'>;

async function scene(
  kind: CameraStreamKind,
  { camera: cameraOptions = {}, ...options }: Options & { readonly camera?: Parameters<typeof startCamera>[1] } = {},
): Promise<Scene> {
  const folder = await temporaryFolder();
  const camera = await startCamera({ [kind]: await cameraStream(kind) }, cameraOptions);
  onTestFinished(() => camera.close());
  const archive = await openArchive(`${folder}/archive`);
  onTestFinished(() => archive.close());
  const door = archive.camera('door', { source: camera.url(kind), ...options });
  return { folder, archive, camera, door };
}

/** The recording of a connection has ended when another one runs. */
const online = (reconnects: number) => (health: { state: string; recording: boolean; reconnects: number }) =>
  health.state === 'online' && health.recording && health.reconnects === reconnects;

describe('a camera that', () => {
  test('stands still is connected anew, and the gap says so', async () => {
    const { archive, camera, door, folder } = await scene('h264-aac', { stallTimeoutMs: 2000 });
    await appended(door, 2 * CAMERA_FPS);
    camera.stall();
    const stalled = await healthy(door, ({ state }) => state !== 'online');
    expect(stalled.error).toMatchObject({ code: 'E_CAMERA_STALLED' });
    camera.resume();
    await healthy(door, online(1));
    await appended(door, CAMERA_FPS);
    expect(door.health().gaps).toMatchObject({ count: 1, last: { cause: 'E_CAMERA_STALLED' } });
    await door.close();
    const { spans, gaps } = await archive.timeline('door');
    expect(spans).toHaveLength(2);
    expect(gaps).toMatchObject([{ cause: 'E_CAMERA_STALLED' }]);
    const { video } = await cameraStream('h264-aac');
    if (video === undefined) throw new RangeError('no pictures');
    // Every frame that came is there: both connections began at the beginning of the stream.
    const { places } = await exportedTrack(archive, 'door', video, folder);
    const second = places.lastIndexOf(0);
    expect(second).toBeGreaterThan(CAMERA_FPS);
    expectUnbroken({ places: places.slice(0, second) });
    expectUnbroken({ places: places.slice(second) });
  });

  test('dies and returns goes on', async () => {
    const { archive, camera, door } = await scene('h264-bframes-aac');
    await appended(door, 2 * CAMERA_FPS);
    await camera.kill();
    const lost = await healthy(door, ({ state }) => state !== 'online');
    expect(['E_CAMERA_LOST', 'E_CAMERA_UNREACHABLE']).toContain(lost.error?.code);
    await camera.restart();
    await healthy(door, online(1));
    await appended(door, CAMERA_FPS);
    await door.close();
    expect((await archive.timeline('door')).gaps).toHaveLength(1);
  });

  test('changes its parameter sets goes on in the same run, and every picture of the export can be decoded', async () => {
    const { archive, door, folder } = await scene('size-change');
    const changes: Track[] = [];
    door.on('configuration', (track) => changes.push(track));
    await appended(door, (SIZE_CHANGE_S + 2) * CAMERA_FPS);
    const { tracks } = door.health();
    await door.close();
    expect(changes.map(({ width, height }) => [width, height])).toEqual([[640, 360]]);
    expect(tracks[0]).toMatchObject({ width: 640, height: 360 });
    const { spans } = await archive.timeline('door');
    expect(spans).toHaveLength(1);
    const { video } = await cameraStream('size-change');
    if (video === undefined) throw new RangeError('no pictures');
    const { file, places } = await exportedTrack(archive, 'door', video, folder);
    expect(places.length).toBeGreaterThanOrEqual((SIZE_CHANGE_S + 2) * CAMERA_FPS);
    expect(await picturesOf(file)).toHaveLength(places.length);
    expect((await warnings(file)).trim()).toBe('');
  });

  test('loses its sound goes on with pictures', async () => {
    const { archive, door, folder } = await scene('audio-dies');
    await appended(door, 6 * CAMERA_FPS);
    const { tracks, reconnects } = door.health();
    await door.close();
    expect(reconnects).toBe(0);
    // FFmpeg keeps the last 100 ms back, to fill a fragment, until another frame comes.
    expect(tracks[1]?.frames).toBeGreaterThanOrEqual(AUDIO_DIES_AFTER_FRAMES - 6);
    expect(tracks[1]?.frames).toBeLessThanOrEqual(AUDIO_DIES_AFTER_FRAMES);
    expect(tracks[1]?.lastFrameAgeMs).toBeGreaterThan(1000);
    const { video } = await cameraStream('audio-dies');
    if (video === undefined) throw new RangeError('no pictures');
    expectUnbroken(await exportedTrack(archive, 'door', video, folder));
  });

  test('thinks that it is another hour is recorded at the time of this machine, and its own is kept beside it', async () => {
    const steps: ClockStep[] = [];
    const { archive, door } = await scene('h264-aac', { camera: { wrongClockOffsetS: 3600 } });
    door.on('clock', (step) => steps.push(step));
    const begun = Date.now();
    await appended(door, 3 * CAMERA_FPS);
    const { clock } = await healthy(door, (health) => Math.abs(health.clock.cameraOffsetMs ?? 0) > 3_500_000);
    await door.close();
    expect(clock.cameraOffsetMs).toBeGreaterThan(3_595_000);
    expect(clock.cameraOffsetMs).toBeLessThan(3_605_000);
    expect(steps).toEqual([]);
    const { spans } = await archive.timeline('door');
    expect(spans).toHaveLength(1);
    expect(spans[0]?.startUtcMs).toBeGreaterThan(begun - 5000);
    expect(spans[0]?.endUtcMs).toBeLessThan(Date.now() + 1000);
  });
});

/** Command lines of all processes of this machine. */
const commandLines = () =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    });

describe('a password', () => {
  const PASSWORD = 'p@ss:w/rd %?#';

  test('is on no command line, and in nothing that is told', async () => {
    const { door, camera } = await scene('h264-only', { camera: { user: 'admin', password: PASSWORD } });
    const told: unknown[] = [];
    for (const event of ['state', 'recording', 'gap', 'note'] as const) {
      door.on(event, (...args: unknown[]) => void told.push(args));
    }
    await appended(door, CAMERA_FPS);
    const lines = commandLines();
    expect(lines.filter((line) => line.includes('pipe:4')).length).toBeGreaterThan(0);
    const secrets = [PASSWORD, encodeURIComponent(PASSWORD)];
    for (const secret of secrets) expect(lines.filter((line) => line.includes(secret))).toEqual([]);
    await camera.kill();
    await healthy(door, ({ state }) => state !== 'online');
    const everything = JSON.stringify([told, door.health()]);
    for (const secret of [...secrets, 'admin']) expect(everything).not.toContain(secret);
  });

  test('that is wrong is said so, without it', async () => {
    const { camera, archive } = await scene('h264-only', { camera: { user: 'admin', password: PASSWORD } });
    const url = camera.url('h264-only').replace(encodeURIComponent(PASSWORD), 'guessed-secret');
    const yard = archive.camera('yard', { source: url });
    const { error, source } = await healthy(yard, ({ state }) => state === 'waiting');
    expect(error?.code).toBe('E_CAMERA_AUTH');
    expect(error?.message).not.toContain('guessed-secret');
    expect(source).toBe(camera.publicUrl('h264-only'));
  });
});
