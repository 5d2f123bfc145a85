/** What tests of live cameras share: an archive for each, waiting, and what is in the archive at the end. */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, vi } from 'vitest';
import { type Archive, type ArchiveOptions, type CameraOptions, openArchive } from '../../src/archive.ts';
import type { Camera, CameraEvents } from '../../src/camera/camera.ts';
import { type ErrorCode, FootageError } from '../../src/errors.ts';
import type { Frame, Track } from '../../src/media.ts';
import { native } from '../../src/native.ts';
import { clocksOf, type SegmentContents } from '../../src/segment/contents.ts';
import { nodeDisk, openIfThere } from '../../src/segment/disk.ts';
import { readSealed, readTrailer } from '../../src/segment/reader.ts';
import { FakeSource, type FakeSourceOptions, type Footage, footage } from '../support/fake-source.ts';
import type { Judge } from '../support/faulty-disk.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';

/** For tests that run at the same time: each has a folder of its own below the file's. */
export function archives(): (options?: ArchiveOptions) => Promise<Archive> {
  let root = '';
  beforeAll(async () => {
    root = await sharedTemporaryFolder();
  });
  return async (options = {}) => openArchive(await mkdtemp(join(root, 'archive-')), options);
}

/** The first 20 s of pictures and sound, loaded once for the tests of a file. */
export function material(): () => Footage {
  let loaded: Footage | undefined;
  beforeAll(async () => {
    loaded = await footage();
  });
  return () => {
    if (loaded === undefined) throw new Error('the footage is loaded before the tests');
    return loaded;
  };
}

export function until(condition: () => unknown): Promise<void> {
  return vi.waitFor(
    () => {
      if (!condition()) throw new Error(`never: ${condition.toString()}`);
    },
    { timeout: 30_000, interval: 5 },
  );
}

/** Something that happens when the test says so. */
export class Latch<T> {
  readonly opened: Promise<T>;
  open!: (value: T) => void;

  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }
}

export const gone = (code: ErrorCode) => new FootageError(code, `it is ${code}: do something`);

/** An attempt that fails so. */
export const refusing = (code: ErrorCode) => () => Promise.reject(gone(code));

/** An attempt that waits until it is told to end, as that of a source that is well made. */
export const silent = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });

/** A disk on which sealing takes a while. */
export const slowToSync: Judge = async ({ kind }) => {
  if (kind === 'sync') await sleep(300);
  return undefined;
};

export type Told = { [E in keyof CameraEvents]: readonly [event: E, ...values: CameraEvents[E]] }[keyof CameraEvents];

/** Every event of a camera, in order. */
export function listen(camera: Camera): Told[] {
  const told: Told[] = [];
  for (const event of ['state', 'recording', 'gap', 'configuration', 'clock', 'note'] as const) {
    camera.on(event, (...values: unknown[]) => told.push([event, ...values] as unknown as Told));
  }
  return told;
}

export const statesOf = (told: readonly Told[]) => told.flatMap(([event, value]) => (event === 'state' ? [value] : []));
export const gapsOf = (told: readonly Told[]) => told.flatMap(([event, value]) => (event === 'gap' ? [value] : []));

export interface Connected {
  readonly source: FakeSource;
  readonly camera: Camera;
  readonly told: Told[];
}

/** A camera that is online. */
export async function connected(
  archive: Archive,
  source: FakeSourceOptions,
  options: Omit<CameraOptions, 'source'> = {},
): Promise<Connected> {
  const fake = new FakeSource(source);
  const camera = archive.camera('door', { ...options, source: fake });
  const told = listen(camera);
  await until(() => camera.health().state === 'online');
  return { source: fake, camera, told };
}

export interface Recorded {
  readonly track: number;
  readonly utcMs: number;
  readonly hash: string;
}

const hashOf = (bytes: Uint8Array) => createHash('sha1').update(bytes).digest('hex');

/** What was given of each track, as `recorded` tells it. */
export function hashes(frames: readonly Frame[], track: number): string[] {
  return frames.filter((frame) => frame.track === track).map(({ data }) => hashOf(data));
}

export const from = (frames: readonly Frame[], tracks: readonly Track[], seconds: number) =>
  frames.filter(({ dts, track }) => dts / (tracks[track]?.timescale ?? 1) >= seconds);

/** All frames of a camera whose segments are sealed, by wall time of their segments. */
export async function recorded(archive: Archive, camera = 'door'): Promise<Recorded[]> {
  const directory = join(archive.root, camera);
  const names = await readdir(directory, { recursive: true });
  const segments: { startUtcMs: number; frames: Recorded[] }[] = [];
  for (const name of names.filter((one) => one.endsWith('.mp4'))) {
    const file = await openIfThere(nodeDisk, join(directory, name));
    if (file === undefined) throw new Error(`${name} is gone`);
    const trailer = await readTrailer(file, native);
    if (trailer === undefined) throw new Error(`${name} is not sealed`);
    const contents = await readSealed(file, trailer, native);
    const frames = await framesIn(contents, (into, at) => file.read(into, 0, into.byteLength, at));
    segments.push({ startUtcMs: Math.min(...frames.map(({ utcMs }) => utcMs)), frames });
    await file.close();
  }
  return segments.toSorted((a, b) => a.startUtcMs - b.startUtcMs).flatMap(({ frames }) => frames);
}

async function framesIn(
  contents: SegmentContents,
  read: (into: Uint8Array, at: number) => Promise<unknown>,
): Promise<Recorded[]> {
  const clocks = clocksOf(contents);
  const frames: Recorded[] = [];
  for (const [track, { samples }] of contents.tracks.entries()) {
    for (let i = 0; i < samples.count; i++) {
      const bytes = new Uint8Array(samples.size[i] ?? 0);
      await read(bytes, samples.offset[i] ?? 0);
      const dts = samples.dts[i] ?? Number.NaN;
      const utcMs = clocks[track]?.utcMs(dts + (samples.compositionOffset[i] ?? 0), dts) ?? Number.NaN;
      frames.push({ track, utcMs, hash: hashOf(bytes) });
    }
  }
  return frames;
}

export const hashesOf = (frames: readonly Recorded[], track: number) =>
  frames.flatMap((frame) => (frame.track === track ? [frame.hash] : []));
