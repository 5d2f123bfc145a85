/** A camera whose every frame is known again, and what of it an archive holds. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, vi } from 'vitest';
import type { Archive } from '../../src/archive.ts';
import type { Frame } from '../../src/media.ts';
import { nodeDisk, openIfThere } from '../../src/segment/disk.ts';
import { readSealed, readTrailer } from '../../src/segment/reader.ts';
import { AUDIO, AUDIO_TICKS, io, noise, PICTURE_TICKS, VIDEO } from '../support/segment.ts';

const PICTURE_MS = 40;
/** Of recordings whose segments, flushes and sub-blocks come often. */
export const OPTIONS = { tracks: [VIDEO, AUDIO], flushIntervalMs: 100, indexIntervalMs: 150, segmentDurationMs: 3000 };

const numbered = (i: number, bytes: number): Uint8Array => {
  const data = noise(bytes, i);
  new DataView(data.buffer).setUint32(0, i);
  return data;
};

const bytesOf = (track: number, i: number) => (track === 0 ? 400 + ((i * 37) % 90) : 40);

export interface Given {
  /** Frames that were taken from the source, per track. */
  readonly counts: [number, number];
  readonly frames: AsyncIterable<Frame>;
}

/**
 * A camera: a picture of media each 4 ms, and sound (with its durations, or without), until `stop` says so. Frames are told
 * apart by their first bytes.
 */
export function camera(stop: () => boolean, { durations = true } = {}): Given {
  const counts: [number, number] = [0, 0];
  async function* frames(): AsyncGenerator<Frame, void, undefined> {
    for (let i = 0; !stop(); i++) {
      counts[0]++;
      const timing = { dts: i * PICTURE_TICKS, compositionOffset: 0, sync: i % 10 === 0 };
      yield { ...{ track: 0, ...timing }, data: numbered(i, bytesOf(0, i)) };
      while (counts[1] * AUDIO_TICKS * 1000 < (i + 1) * PICTURE_MS * 48_000) {
        const n = counts[1]++;
        const sound = { track: 1, dts: n * AUDIO_TICKS, compositionOffset: 0, sync: true };
        const data = numbered(n, bytesOf(1, n));
        yield durations ? { ...sound, data, durationTicks: AUDIO_TICKS } : { ...sound, data };
      }
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  }
  return { counts, frames: frames() };
}

/** The numbers of the frames that a segment holds; what is held must be what was given. */
async function framesIn(path: string): Promise<number[][]> {
  const file = await openIfThere(nodeDisk, path);
  if (file === undefined) throw new Error(`${path} is gone`);
  try {
    const whole = await readFile(path);
    const trailer = await readTrailer(file, io.native);
    if (trailer === undefined) throw new Error(`${path} has no trailer`);
    const { tracks } = await readSealed(file, trailer, io.native);
    return tracks.map(({ samples }, track) =>
      Array.from({ length: samples.count }, (_, s) => {
        const at = samples.offset[s] ?? 0;
        const i = whole.readUInt32BE(at);
        expect(whole.subarray(at, at + (samples.size[s] ?? 0)).equals(numbered(i, bytesOf(track, i)))).toBe(true);
        expect(samples.dts[s]).toBe(i * (track === 0 ? PICTURE_TICKS : AUDIO_TICKS));
        return i;
      }),
    );
  } finally {
    await file.close();
  }
}

/** Per camera: the numbers of the frames that its segments hold, in order. All segments are sealed, and sound. */
export async function stored(archive: Archive): Promise<Map<string, number[][]>> {
  const cameras = new Map<string, number[][]>();
  for await (const { path, camera: name, state, problems } of archive.verify()) {
    if (state === 'other') continue;
    expect({ path, state, problems }).toEqual({ path, state: 'sealed', problems: [] });
    const numbers = cameras.get(name) ?? [[], []];
    for (const [track, list] of (await framesIn(join(archive.root, path))).entries()) numbers[track]?.push(...list);
    cameras.set(name, numbers);
  }
  for (const numbers of cameras.values()) for (const list of numbers) list.sort((a, b) => a - b);
  return cameras;
}

export const lengths = (numbers: readonly number[][] | undefined) => numbers?.map(({ length }) => length);

export const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);

/** Silences the warnings of interruptions, which are wanted here, and gives them. */
export function warnings(): string[] {
  const seen: string[] = [];
  const spy = vi.spyOn(process, 'emitWarning').mockImplementation((warning) => {
    seen.push(String(warning));
  });
  onTestFinished(() => spy.mockRestore());
  return seen;
}
