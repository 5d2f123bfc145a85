/**
 * What many cameras have sent, given back by Footage: a clip of one of them, and exports that are compared with what they
 * sent, frame by frame, and decoded.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PICTURES_PER_SECOND, openClip, pictureOf, soundOf } from './many-cameras-source.mjs';
import { built, progress, run } from './support.mjs';

export const START_UTC_MS = Date.parse('2026-01-01T00:00:00Z');
/** As long as the clip that all cameras send: it can be played again and again. */
const CLIP_SECONDS = 16;
const EXPORTED_CAMERAS = 5;
/** In the middle of a group of pictures: what leads there is in the export, too. */
const RANGE_START_S = 2.6;
const RANGE_SECONDS = 10;
/** How far behind the end of a range an export may reach, for pictures that others refer to. */
const BEHIND_S = 1;

export const cameraName = (camera) => `camera${camera}`;

/** A file with what one of the cameras sends, for those who read files. Returns its path. */
export async function writeClip(folder) {
  progress('making a clip');
  const { openArchive } = await built('index.js');
  const clip = await openClip();
  const root = join(folder, 'clip');
  const path = join(folder, 'clip.mp4');
  const archive = await openArchive(root);
  const options = { tracks: clip.tracks, frames: framesOf(clip, CLIP_SECONDS), startUtcMs: START_UTC_MS };
  await (
    await archive.record(cameraName(0), options)
  ).finished;
  await exportRange(archive, cameraName(0), { startUtcMs: START_UTC_MS, seconds: CLIP_SECONDS, path });
  await archive.close();
  await rm(root, { recursive: true });
  return path;
}

async function* framesOf(clip, seconds) {
  for (let i = 0; i < seconds * PICTURES_PER_SECOND; i++) {
    yield pictureOf(clip, 0, i, (bytes) => Buffer.alloc(bytes));
    yield* soundOf(clip, 0, i);
  }
}

async function exportRange(archive, camera, { startUtcMs, seconds, path }) {
  const session = await archive.session({ camera, start: startUtcMs / 1000, duration: seconds });
  const file = createWriteStream(path);
  await session.send(file);
  file.end();
  await once(file, 'finish');
}

/**
 * Exports some of the cameras. `recordedS`: how much of each there is at least. Throws if a frame is missing or is not as it
 * was sent; answers how many were compared.
 */
export async function checkExports(root, { cameras, recordedS, folder }) {
  const { openArchive } = await built('index.js');
  const [clip, archive] = [await openClip(), await openArchive(root, { readOnly: true })];
  const seconds = Math.min(RANGE_SECONDS, Math.floor(recordedS - RANGE_START_S - BEHIND_S));
  const path = join(folder, 'export.mp4');
  const startUtcMs = START_UTC_MS + RANGE_START_S * 1000;
  const checked = { cameras: 0, seconds, pictures: 0, sounds: 0 };
  const step = Math.max(1, cameras / EXPORTED_CAMERAS);
  for (let at = 0; at < cameras; at += step) {
    const camera = Math.floor(at);
    await exportRange(archive, cameraName(camera), { startUtcMs, seconds, path });
    const sent = hashesOfSent(clip, camera, RANGE_START_S + seconds + BEHIND_S);
    checked.pictures += checkSamples(await hashesOf(path, 'v'), sent.pictures, `pictures of camera ${camera}`);
    checked.sounds += checkSamples(await hashesOf(path, 'a'), sent.sounds, `sound of camera ${camera}`);
    await checkDecodes(path, seconds * PICTURES_PER_SECOND);
    checked.cameras++;
  }
  await archive.close();
  return checked;
}

function hashesOfSent(clip, camera, seconds) {
  const pictures = [];
  const sounds = [];
  for (let i = 0; i < seconds * PICTURES_PER_SECOND; i++) {
    pictures.push(hash(pictureOf(clip, camera, i, (bytes) => Buffer.alloc(bytes)).data));
    sounds.push(...soundOf(clip, camera, i).map(({ data }) => hash(data)));
  }
  return { pictures, sounds };
}

const hash = (data) => createHash('sha256').update(data).digest('hex');

/** Hashes of the samples of a track, in the order of the file. */
async function hashesOf(path, track) {
  const shown = ['-show_data_hash', 'sha256', '-show_entries', 'packet=data_hash', '-of', 'csv=p=0'];
  const text = await run('ffprobe', ['-v', 'error', '-select_streams', track, '-show_packets', ...shown, path]);
  return Array.from(text.matchAll(/SHA256:([0-9a-f]{64})/gi), ([, digest]) => digest.toLowerCase());
}

/** The samples must be frames that were sent, one behind the other, none missing. Answers how many there are. */
function checkSamples(samples, sent, what) {
  const first = sent.indexOf(samples[0]);
  if (first < 0 || samples.some((sample, i) => sample !== sent[first + i])) {
    throw new Error(`the ${what} are not what was sent`);
  }
  return samples.length;
}

/** Without an error, and as many pictures are shown as there are in the range. */
async function checkDecodes(path, pictures) {
  const strict = ['-v', 'error', '-nostdin', '-xerror', '-err_detect', 'explode'];
  const all = ['-map', '0', '-fps_mode', 'passthrough', '-f', 'framehash', '-hash', 'adler32', '-'];
  const lines = (await run('ffmpeg', [...strict, '-i', path, ...all])).split('\n');
  const shown = lines.filter((line) => line.startsWith('0,')).length;
  if (shown !== pictures) throw new Error(`${shown} pictures are shown, not ${pictures}`);
}
