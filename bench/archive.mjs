/**
 * An archive to measure with: one camera, filled by importing a noisy file of high bitrate again and again, each import
 * where the one before ended.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { footage, progress, run } from './support.mjs';

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

/** Paths of the archive's segments, oldest first. */
export function segmentFiles(archive) {
  return readdirSync(join(archive, CAMERA), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.mp4'))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}
