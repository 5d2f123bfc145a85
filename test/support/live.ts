/** Live cameras in tests: waiting for what they do, and comparing what was recorded with what was sent. */
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import type { Archive } from '../../src/archive.ts';
import type { Camera } from '../../src/camera/camera.ts';
import type { CameraHealth } from '../../src/camera-health.ts';
import { exportTo } from './acceptance.ts';
import { packets } from './ffmpeg.ts';
import { type AudioSource, framesOf, framesOfSource, placesOf, type VideoSource } from './camera.ts';

/** Far longer than anything takes that does not hang. */
const LIMIT_MS = 60_000;

/** Waits until a camera's health is as wanted. */
export async function healthy(camera: Camera, wanted: (health: CameraHealth) => boolean): Promise<CameraHealth> {
  const limit = performance.now() + LIMIT_MS;
  for (;;) {
    const health = camera.health();
    if (wanted(health)) return health;
    if (performance.now() > limit)
      throw new Error(`the camera does not get there: ${JSON.stringify(health.error ?? health)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits until the recording under way has so many pictures in its file. */
export async function appended(camera: Camera, pictures: number): Promise<void> {
  await healthy(camera, () => (camera.recording?.stats().appended[0] ?? 0) >= pictures);
}

export function cameraOf(
  archive: Archive,
  url: string,
  options: Omit<Parameters<Archive['camera']>[1], 'source'> = {},
): Camera {
  const camera = archive.camera('door', { source: url, ...options });
  onTestFinished(() => camera.close());
  return camera;
}

export interface Exported {
  readonly file: string;
  /** Place in the source of each frame of the file. */
  readonly places: readonly number[];
  /** When each is presented, in the file and in the source, s. */
  readonly timesS: readonly number[];
  readonly sourceTimesS: readonly number[];
}

/** One track of a whole camera, exported into `folder` and found again in its source. */
export async function exportedTrack(
  archive: Archive,
  camera: string,
  source: VideoSource | AudioSource,
  folder: string,
): Promise<Exported> {
  const tracks = source.codec.startsWith('h26') ? 'video' : 'audio';
  const { spans } = await archive.timeline(camera);
  const start = new Date((spans[0]?.startUtcMs ?? 0) - 1000);
  const end = new Date((spans.at(-1)?.endUtcMs ?? 0) + 1000);
  const file = join(folder, `${camera}-${tracks}.mp4`);
  await exportTo(file, archive, { camera, start, end, begin: 'keyframe', tracks });
  const [here, there] = await Promise.all([framesOf(file, source.codec), framesOfSource(source)]);
  const places = placesOf(here.hashes, there.hashes);
  const sourceTimesS = source.codec.endsWith('law')
    ? await playedBefore(file)
    : places.map((place) => there.timesS[place] ?? Number.NaN);
  return { file, places, timesS: here.timesS, sourceTimesS };
}

/** How much sound of G.711 lies in front of each packet of a file, s: a byte is a sample of 8 kHz. */
async function playedBefore(file: string): Promise<number[]> {
  let bytes = 0;
  return (await packets(file)).map(({ size }) => {
    const beforeS = bytes / 8000;
    bytes += size;
    return beforeS;
  });
}

/** Every frame from one place of the source on, once, in order. */
export function expectUnbroken({ places }: Pick<Exported, 'places'>): void {
  expect(places.length).toBeGreaterThan(0);
  const [first = -1] = places;
  expect(first).toBeGreaterThanOrEqual(0);
  expect(places).toEqual(places.map((_, i) => first + i));
}

/** Times of the file are those of the source, moved, to within `toleranceS`. */
export function expectSameTimes({ timesS, sourceTimesS }: Exported, toleranceS: number): void {
  const shifts = timesS.map((timeS, i) => timeS - (sourceTimesS[i] ?? Number.NaN));
  expect(Math.max(...shifts) - Math.min(...shifts)).toBeLessThanOrEqual(toleranceS);
}
