/**
 * An archive to measure with: one camera, filled by importing a noisy file of high bitrate again and again, each import
 * where the one before ended.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, footage, progress, run } from './support.mjs';

export const CAMERA = 'bench';
const START_UTC_MS = Date.parse('2026-01-01T00:00:00Z');
const CLIP_SECONDS = 16;

/** Noise cannot be compressed: about 230 Mbit/s, with B-frames and sound as a camera's. Returns the path. */
async function makeClip(folder) {
  const clip = join(folder, 'noise.mp4');
  const picture = `color=gray:size=1280x720:rate=25,noise=alls=100:allf=t`;
  const inputs = ['-f', 'lavfi', '-i', picture, '-f', 'lavfi', '-i', 'sine=sample_rate=48000'];
  const video = ['-c:v', 'libx264', '-preset', 'ultrafast', '-bf', '2', '-g', '25', '-qp', '18', '-pix_fmt', 'yuv420p'];
  const sound = ['-c:a', 'aac', '-b:a', '64k'];
  await run('ffmpeg', ['-v', 'error', '-nostdin', ...inputs, '-t', CLIP_SECONDS, ...video, ...sound, clip].map(String));
  return clip;
}

/** Imports until about `bytes` are recorded. Answers { archive, startUtcMs, endUtcMs } of what there is. */
export async function makeArchive(folder, bytes) {
  const archive = join(folder, 'archive');
  progress('making the archive');
  const clip = await makeClip(folder);
  const imports = Math.max(1, Math.round(bytes / statSync(clip).size));
  for (let i = 0; i < imports; i++) {
    const start = new Date(START_UTC_MS + i * CLIP_SECONDS * 1000).toISOString();
    await footage(['import', '--archive', archive, '--camera', CAMERA, '--start', start, clip]);
  }
  return { archive, startUtcMs: START_UTC_MS, endUtcMs: START_UTC_MS + imports * CLIP_SECONDS * 1000 };
}

/** Address of the export of a whole archive of `makeArchive`. */
export function exportPath({ startUtcMs, endUtcMs }) {
  return `/api/cameras/${CAMERA}/export.mp4?start=${startUtcMs / 1000}&end=${endUtcMs / 1000}`;
}

/** Paths of the segments of a camera, oldest first. */
export function segmentFiles(archive, camera = CAMERA) {
  return readdirSync(join(archive, camera), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.mp4'))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

/** A segment as a camera of 4 Mbit/s gives it: 25 pictures a second of about 20 kB, and AAC. Returns its path. */
export async function makeCameraSegment(folder, bytes) {
  progress('making a segment');
  const { openArchive } = await import(pathToFileURL(join(ROOT, 'dist', 'index.js')).href);
  const archive = await openArchive(join(folder, 'camera'));
  const tracks = [VIDEO, AUDIO];
  const recording = await archive.record(CAMERA, { tracks, frames: cameraFrames(bytes), startUtcMs: START_UTC_MS });
  await recording.finished;
  await archive.close();
  const [file] = segmentFiles(archive.root);
  return file;
}

const VIDEO = {
  ...{ kind: 'video', codec: 'avc1.640028', timescale: 90_000, width: 1920, height: 1080 },
  config: Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0),
};
/** AAC-LC, 48 kHz, mono. */
const AUDIO = {
  ...{ kind: 'audio', codec: 'mp4a.40.2', timescale: 48_000, sampleRate: 48_000, channels: 1 },
  config: Uint8Array.from([
    ...[0, 0, 0, 0, 3, 0x19, 0, 1, 0, 4, 0x11, 0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...[5, 2, 0x11, 0x88, 6, 1, 2],
  ]),
};

async function* cameraFrames(bytes) {
  const noise = randomBytes(1 << 20);
  let sound = 0;
  for (let picture = 0, sent = 0; sent < bytes; picture++) {
    const size = picture % 50 === 0 ? 120_000 : 18_000 + ((picture * 7919) % 2000);
    sent += size;
    const at = (picture * 4099) % (noise.length - size);
    const data = noise.subarray(at, at + size);
    yield { track: 0, data, dts: picture * 3600, compositionOffset: 0, sync: picture % 50 === 0 };
    for (; sound * 1024 * 25 < (picture + 1) * 48_000; sound++) {
      const dts = sound * 1024;
      yield {
        track: 1,
        data: noise.subarray(sound % 1000, (sound % 1000) + 170),
        dts,
        compositionOffset: 0,
        sync: true,
        durationTicks: 1024,
      };
    }
  }
}
