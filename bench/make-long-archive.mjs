/**
 * An archive to plan long ranges of: one camera, 30 days and an hour without a gap, one run of segments of an hour, 30
 * pictures a second (H.264 with B-frames) and AAC. The payloads are tiny and repeat, but all of them decode.
 *
 * The first hours go through the recorder; the others are copies of its second one with everything that differs made
 * anew (copy-segment.mjs), which takes minutes instead of half an hour. The archive is kept for the next run, under a
 * digest of what today's recorder makes of the same frames: when that changes, it is made again.
 *
 * `node bench/make-long-archive.mjs` makes it beforehand. It needs 14 GB below TMPDIR.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { segmentFiles } from './archive.mjs';
import { checkCopy, copySegment, trailerOf } from './copy-segment.mjs';
import { built, progress, run, withFolder } from './support.mjs';

const { openArchive, openMediaFile } = await built('index.js');
const { native } = await built('native.js');
const { segmentPath } = await built('segment/layout.js');
const { nodeDisk } = await built('segment/disk.js');
const { verifySegment } = await built('segment/verify.js');

export const CAMERA = 'long';
/** A camera of a minute: to have planned something before, without having seen anything of the long one. */
export const SMALL_CAMERA = 'small';
export const START_UTC_MS = Date.parse('2026-01-01T00:00:00Z');
/** One more than 30 days, so that 30 days need not begin with a segment. */
const HOURS = 30 * 24 + 1;
export const HOUR_MS = 3_600_000;

const PICTURES_PER_SECOND = 30;
const PICTURES_PER_GOP = 60;
/** After this long pictures, groups of pictures and AAC frames of 1024 samples begin at one instant again. */
const CYCLE_S = 8;
/** The first is the beginning of the run, the second is copied, the third tells whether copies are right. */
const RECORDED_HOURS = 3;

/** Where finished archives are kept. */
const CACHE = join(tmpdir(), 'footage-bench');
const UNFINISHED = 'long-unfinished';

/** The folder of the archive, made if there is none yet; one of another digest goes. */
export async function longArchive() {
  const cycle = await withFolder(makeCycle);
  const name = `long-${await digestOf(cycle)}`;
  const folder = join(CACHE, name);
  if (existsSync(folder)) return folder;
  await removeOthers();
  const unfinished = join(CACHE, UNFINISHED);
  await makeArchive(unfinished, cycle);
  await rename(unfinished, folder);
  return folder;
}

async function removeOthers() {
  await mkdir(CACHE, { recursive: true });
  const names = (await readdir(CACHE)).filter((name) => name === UNFINISHED || /^long-[0-9a-f]{12}$/.test(name));
  for (const name of names) await rm(join(CACHE, name), { recursive: true, force: true });
}

/** Tracks, and the frames of one cycle by decode time. */
async function makeCycle(folder) {
  const clip = await openMediaFile(await makeClip(folder));
  const all = [];
  for await (const frame of clip.frames()) all.push({ ...frame, data: Uint8Array.from(frame.data) });
  await clip.close();
  return cycleOf(all, clip.tracks);
}

/** Groups of pictures are closed, so those of one cycle decode behind any other. Decode times of pictures begin below 0. */
function cycleOf(all, tracks) {
  const ticks = ({ track }) => CYCLE_S * tracks[track].timescale;
  const isVideo = ({ track }) => tracks[track].kind === 'video';
  const seconds = (frame) => frame.dts / tracks[frame.track].timescale;
  const firstS = seconds(all.find(isVideo));
  const video = all.filter((frame) => isVideo(frame) && seconds(frame) < firstS + CYCLE_S);
  const sound = all.filter((frame) => !isVideo(frame) && frame.dts >= 0 && frame.dts < ticks(frame));
  // What comes when the next cycle has begun belongs to the beginning of this one.
  const moved = sound.map((frame) =>
    seconds(frame) < firstS + CYCLE_S ? frame : { ...frame, dts: frame.dts - ticks(frame) },
  );
  if (video.length !== CYCLE_S * PICTURES_PER_SECOND || sound.length !== (CYCLE_S * 48_000) / 1024) {
    throw new Error(`the clip has ${video.length} pictures and ${sound.length} frames of sound a cycle`);
  }
  return { tracks, frames: [...video, ...moved].toSorted((a, b) => seconds(a) - seconds(b)) };
}

async function makeClip(folder) {
  const clip = join(folder, 'clip.mp4');
  const picture = `testsrc2=size=64x64:rate=${PICTURES_PER_SECOND}`;
  const inputs = ['-f', 'lavfi', '-i', picture, '-f', 'lavfi', '-i', 'sine=sample_rate=48000'];
  const gop = ['-g', PICTURES_PER_GOP, '-keyint_min', PICTURES_PER_GOP, '-sc_threshold', 0, '-bf', 2];
  const video = ['-c:v', 'libx264', ...gop, '-crf', 51, '-pix_fmt', 'yuv420p', '-video_track_timescale', 90_000];
  const sound = ['-c:a', 'aac', '-b:a', '8k', '-ac', 1];
  const length = ['-t', CYCLE_S + 2];
  await run('ffmpeg', ['-v', 'error', '-nostdin', ...inputs, ...length, ...video, ...sound, clip].map(String));
  return clip;
}

/** The cycle again and again: what a camera sends in `seconds`. */
async function* framesOf({ tracks, frames }, seconds) {
  for (let cycleS = 0; cycleS < seconds; cycleS += CYCLE_S) {
    for (const frame of frames) yield { ...frame, dts: frame.dts + cycleS * tracks[frame.track].timescale };
  }
}

async function record(archive, camera, cycle, seconds, segmentDurationMs) {
  const frames = framesOf(cycle, seconds);
  const options = { tracks: cycle.tracks, frames, startUtcMs: START_UTC_MS, segmentDurationMs };
  const recording = await archive.record(camera, options);
  await recording.finished;
}

async function makeArchive(root, cycle) {
  const archive = await openArchive(root);
  await record(archive, SMALL_CAMERA, cycle, 60, HOUR_MS);
  await record(archive, CAMERA, cycle, (RECORDED_HOURS * HOUR_MS) / 1000, HOUR_MS);
  await archive.close();
  const [, second, third] = await Promise.all(longSegments(root).map((path) => readFile(path)));
  checkCopy(second, third, HOUR_MS / 1000);
  for (let hour = RECORDED_HOURS; hour < HOURS; hour++) {
    await writeCopy(root, second, hour);
    progress(`making the long archive: hour ${hour + 1} of ${HOURS}`);
  }
  await checkArchive(root);
}

/** Paths of the segments of the long camera, oldest first. */
export function longSegments(root) {
  return segmentFiles(root, CAMERA);
}

/** `second` is the segment of hour 1. */
async function writeCopy(root, second, hour) {
  const segment = digest(`segment ${hour}`).slice(0, 32);
  const copy = copySegment(second, { segment, sequence: hour }, ((hour - 1) * HOUR_MS) / 1000);
  const path = join(root, CAMERA, segmentPath(START_UTC_MS + hour * HOUR_MS, segment));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, copy);
}

/** Enters the copies into the catalog and lets the product verify the last one. */
async function checkArchive(root) {
  const archive = await openArchive(root);
  const { unreadable } = archive;
  await archive.close();
  const { problems } = await verifySegment(longSegments(root).at(-1), { disk: nodeDisk, native });
  const faults = [...unreadable.map(({ reason }) => reason), ...problems.map(({ message }) => message)];
  if (faults.length > 0) throw new Error(`the long archive is not right: ${faults.join('; ')}`);
}

/** Digest of a small segment as the recorder makes it now, with names that are always the same. */
async function digestOf(cycle) {
  return withFolder(async (folder) => {
    const archive = await openArchive(folder);
    await record(archive, CAMERA, cycle, 60, 24_000);
    await archive.close();
    const bytes = await readFile(longSegments(folder)[1]);
    const { sequence } = trailerOf(bytes).head;
    const same = '0'.repeat(32);
    return digest(copySegment(bytes, { segment: same, camera: same, run: same, sequence }, 0)).slice(0, 12);
  });
}

function digest(data) {
  return createHash('sha256').update(data).digest('hex');
}

if (resolve(process.argv[1] ?? '') === fileURLToPath(import.meta.url)) console.log(await longArchive());
