/**
 * Real cameras, as far as a machine without any has them: RTSP servers over TCP whose streams are recorded for a while and
 * exported. Every frame from the first sync sample on is there, as it was sent, and at its time.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Archive, openArchive } from '../../src/archive.ts';
import type { CameraHealth } from '../../src/camera-health.ts';
import {
  CAMERA_FPS,
  type CameraStreamKind,
  cameraStream,
  startCamera,
  type Stream,
  type TestCamera,
} from '../support/camera.ts';
import { exportTo } from '../support/acceptance.ts';
import { packets, probe, warnings } from '../support/ffmpeg.ts';
import { appended, expectSameTimes, expectUnbroken, exportedTrack } from '../support/live.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

const KINDS = ['h264-aac', 'h264-bframes-aac', 'h265-opus', 'h264-alaw', 'h264-ulaw', 'h264-only'] as const;
const SECONDS = 6;
/** Of four of them. */
const LONG_SECONDS = 30;
/** RTP times sound in samples; before the first sender report each track counts from a beginning of its own. */
const SOUND_TOLERANCE_S = 0.03;
/** Of pictures: far less than one of 40 ms. */
const PICTURE_TOLERANCE_S = 0.002;

const streams = new Map<CameraStreamKind, Stream>();
const health = new Map<string, CameraHealth>();
let camera: TestCamera;
let archive: Archive;

function streamOf(kind: CameraStreamKind): Stream & Required<Pick<Stream, 'video'>> {
  const { video, ...others } = streams.get(kind) ?? {};
  if (video === undefined) throw new RangeError(`${kind} has no pictures`);
  return { ...others, video };
}

const FOUR = ['one', 'two', 'three', 'four'];

beforeAll(async () => {
  for (const kind of KINDS) streams.set(kind, await cameraStream(kind));
  camera = await startCamera(Object.fromEntries(streams));
  archive = await openArchive(`${await sharedTemporaryFolder()}/archive`);
  await Promise.all(KINDS.map((kind) => record(kind, kind, SECONDS)));
  await Promise.all(FOUR.map((name) => record(name, 'h264-bframes-aac', LONG_SECONDS)));
}, 240_000);

afterAll(async () => {
  await archive.close();
  await camera.close();
});

async function record(name: string, kind: CameraStreamKind, seconds: number): Promise<void> {
  const live = archive.camera(name, { source: camera.url(kind) });
  await appended(live, seconds * CAMERA_FPS);
  health.set(name, live.health());
  await live.close();
}

describe('a camera is recorded for a while and exported: all frames, each at its time', () => {
  test.each(KINDS)('%s', async (kind) => {
    const folder = await temporaryFolder();
    const { video: source, audio: sound } = streamOf(kind);
    expect(health.get(kind)).toMatchObject({
      state: 'online',
      recording: true,
      error: null,
      reconnects: 0,
      lostFrames: 0,
    });
    expect(health.get(kind)?.source).toBe(camera.publicUrl(kind));
    const video = await exportedTrack(archive, kind, source, folder);
    expectUnbroken(video);
    expect(video.places.length).toBeGreaterThanOrEqual(SECONDS * CAMERA_FPS);
    expectSameTimes(video, PICTURE_TOLERANCE_S);
    expect((await warnings(video.file)).trim()).toBe('');
    if (sound === undefined) return;
    const audio = await exportedTrack(archive, kind, sound, folder);
    expectUnbroken(audio);
    expectSameTimes(audio, SOUND_TOLERANCE_S);
  });
});

describe('four cameras side by side for 30 s', () => {
  test.each(FOUR)('camera %s has no gap and no lost frame', async (name) => {
    expect(health.get(name)).toMatchObject({ reconnects: 0, lostFrames: 0, gaps: { count: 0 }, error: null });
    const { spans, gaps } = await archive.timeline(name);
    expect({ spans: spans.length, gaps }).toEqual({ spans: 1, gaps: [] });
    const video = await exportedTrack(archive, name, streamOf('h264-bframes-aac').video, await temporaryFolder());
    expectUnbroken(video);
    expect(video.places.length).toBeGreaterThanOrEqual(LONG_SECONDS * CAMERA_FPS);
  });
});

test('sound begins with the pictures: what came before the first one is not left out', async () => {
  const { spans } = await archive.timeline('h264-aac');
  const start = new Date((spans[0]?.startUtcMs ?? 0) - 1000);
  const session = await archive.session({ camera: 'h264-aac', start, duration: 5 });
  const file = `${await temporaryFolder()}/door.mp4`;
  await exportTo(file, archive, { camera: 'h264-aac', start, duration: 5 });
  const firstOf = async (streams: string, timescale: number) =>
    Math.min(...(await packets(file, { streams })).map(({ pts }) => pts)) / timescale;
  const { streams } = await probe(file);
  const scales = streams.map(({ time_base: base }) => Number(base.split('/')[1]));
  expect(session.manifest.segments).toHaveLength(1);
  expect(await firstOf('a', scales[1] ?? 1)).toBeLessThanOrEqual((await firstOf('v', scales[0] ?? 1)) + 1 / CAMERA_FPS);
});
