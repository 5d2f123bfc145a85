/**
 * Recovers an archive of made frames after a kill or a power cut, and holds it against what its recorder had said.
 *
 * Checked: what recovery reports; that `verify` is content; that a second recovery changes no byte; that the archive
 * lists the same without its catalog; that every frame found is one that was given to the recorder, byte for byte, in
 * order and once; and that none is missing of those that must be there. Found are those that the segments, as ordinary
 * MP4 files, give, and the pictures are also exported over the whole range.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { once } from 'node:events';
import { open, readdir, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { openArchive, openMediaFile } from '../../dist/index.js';
import { frameData, indexOf } from './frames.mjs';

const CATALOG = /^(catalog\.db|\.writer)/;

async function filesBelow(root) {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && !CATALOG.test(entry.name));
  return files.map(({ parentPath, name }) => join(parentPath, name)).toSorted();
}

/** Names and contents of all files that are no cache and no lock. */
async function fingerprint(root) {
  const lines = [];
  for (const file of await filesBelow(root)) {
    const hash = createHash('sha256');
    await pipeline(createReadStream(file), hash);
    lines.push(`${relative(root, file)} ${hash.digest('hex')}`);
  }
  return lines;
}

async function withArchive(root, body) {
  const archive = await openArchive(root, { create: false });
  try {
    return await body(archive);
  } finally {
    await archive.close();
  }
}

const listOf = async (archive) => JSON.stringify(await archive.cameras());

/** What a start recovers, and the list afterwards. */
const start = (root) =>
  withArchive(root, async (archive) => ({ recovered: archive.recovered, list: await listOf(archive) }));

function checkRecovered(recovered) {
  for (const { path, recovery } of recovered) {
    if (recovery.outcome === 'failed') throw new Error(`${path} could not be recovered: ${recovery.error.message}`);
  }
  return recovered.map(({ recovery }) => recovery.outcome);
}

async function checkVerified(archive) {
  let unexplainedBytes = 0;
  for await (const report of archive.verify()) {
    if (report.problems.length > 0 || !['sealed', 'other'].includes(report.state))
      throw new Error(`verify: ${report.path} is ${report.state}: ${JSON.stringify(report.problems)}`);
    unexplainedBytes += report.unexplainedBytes;
  }
  return unexplainedBytes;
}

/** The pseudo-header of a sealed segment, back after a power cut, is removed by who does not know that it is sealed. */
const lasting = (lines) => lines.filter((line) => !/\.idx [0-9a-f]+$/.test(line));

async function checkSecondStart(root, first) {
  const before = await fingerprint(root);
  const second = await start(root);
  if (second.recovered.length > 0) throw new Error('a second start recovers again');
  if (second.list !== first.list) throw new Error('the list differs after a second start');
  checkSame(before, await fingerprint(root), 'starting again');
  const names = (await readdir(root)).filter((name) => name.startsWith('catalog.db'));
  for (const name of names) await rm(join(root, name));
  const third = await start(root);
  if (third.list !== first.list) throw new Error('the list differs without the catalog');
  checkSame(lasting(before), lasting(await fingerprint(root)), 'starting without the catalog');
}

function checkSame(before, after, what) {
  const changed = [
    ...before.filter((line) => !after.includes(line)),
    ...after.filter((line) => !before.includes(line)),
  ];
  if (changed.length > 0) throw new Error(`${what} changed files: ${changed.join(', ')}`);
}

/** Numbers of the frames of a media file, per track; each is compared with the one that it says it is. */
async function readFrames(path, source, tracks) {
  const file = await openMediaFile(path);
  try {
    const found = tracks.map(() => []);
    const numbers = file.tracks.map(({ kind }) => tracks.findIndex((track) => track.kind === kind));
    for await (const { track, data } of file.frames()) {
      const number = numbers[track];
      const index = indexOf(data);
      const made = index < 0 ? undefined : frameData(source, { track: number, kind: tracks[number].kind }, index);
      if (made === undefined || made.compare(data) !== 0)
        throw new Error(`${path} holds ${data.byteLength} bytes that are no frame of it (${index})`);
      found[number].push(index);
    }
    return found;
  } finally {
    await file.close();
  }
}

/** Numbers of all frames of a camera, per track, segment by segment. */
async function framesOfCamera(root, source, tracks) {
  const found = tracks.map(() => []);
  const files = (await filesBelow(join(root, source.name)).catch(() => [])).filter((name) => name.endsWith('.mp4'));
  for (const file of files) {
    const inFile = await readFrames(file, source, tracks);
    inFile.forEach((numbers, track) => found[track].push(...numbers));
  }
  return found;
}

async function exportedPictures(archive, source, tracks, span, path) {
  const session = await archive.session({
    camera: source.name,
    start: span.startUtcMs / 1000,
    end: span.endUtcMs / 1000 + 1,
  });
  const file = await open(path, 'w');
  const stream = file.createWriteStream();
  await session.send(stream);
  stream.end();
  await once(stream, 'close');
  const found = await readFrames(path, source, tracks);
  await rm(path);
  return found[tracks.findIndex(({ kind }) => kind === 'video')];
}

async function checkExport(archive, source, tracks, found, output) {
  const camera = (await archive.cameras()).find(({ name }) => name === source.name);
  const exported = camera === undefined ? [] : await exportedPictures(archive, source, tracks, camera, output);
  const inFiles = found[tracks.findIndex(({ kind }) => kind === 'video')];
  if (exported.join() !== inFiles.join())
    throw new Error(`${source.name}: ${exported.length} pictures are exported, ${inFiles.length} are in the segments`);
}

function checkOrder(numbers, what, given) {
  numbers.forEach((number, i) => {
    if (i > 0 && number <= numbers[i - 1]) throw new Error(`${what}: frame ${number} comes behind ${numbers[i - 1]}`);
    if (number >= given) throw new Error(`${what}: frame ${number} was never given, only ${given} were`);
  });
}

/** The first of the numbers 0 … count-1 that is not among `numbers`, which increase; undefined if none is missing. */
export function firstMissing(numbers, count) {
  const i = numbers.findIndex((number, at) => number !== at);
  const first = i === -1 ? numbers.length : i;
  return first < count ? first : undefined;
}

/**
 * @param expected `seed`; `tracks`; per camera and track: `durable` frames must be there, `given` have been made at most
 * @param output a path for a temporary file
 * @returns per camera and track the numbers of the frames found, and what the recovery did
 */
export async function checkArchive(root, expected, output) {
  const first = await start(root);
  const outcomes = checkRecovered(first.recovered);
  const found = await withArchive(root, async (archive) => {
    const unexplainedBytes = await checkVerified(archive);
    return { unexplainedBytes, cameras: await checkCameras(archive, root, expected, output) };
  });
  await checkSecondStart(root, first);
  return { outcomes, ...found };
}

async function checkCameras(archive, root, { seed, tracks, durable, given }, output) {
  const cameras = [];
  for (let camera = 0; camera < durable.length; camera++) {
    const source = { seed, camera, name: `camera${camera}` };
    const found = await framesOfCamera(root, source, tracks);
    found.forEach((numbers, track) => {
      const what = `${source.name} track ${track}`;
      checkOrder(numbers, what, given[camera][track]);
      const missing = firstMissing(numbers, durable[camera][track]);
      if (missing !== undefined)
        throw new Error(`${what}: frame ${missing} is missing, of ${durable[camera][track]} that were safe`);
    });
    await checkExport(archive, source, tracks, found, output);
    cameras.push(found);
  }
  return cameras;
}
