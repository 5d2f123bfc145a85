/**
 * Ways to kill a process of an archive at a random moment (SIGKILL), each with the check of what it promises. They take a
 * folder of their own, a source of random numbers, and the media file; they return what they counted, and throw for a
 * promise that does not hold.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { openMediaFile } from '../../dist/index.js';
import { checkArchive } from './check.mjs';
import { PICTURES_PER_SECOND, sampleTracks } from './frames.mjs';
import { checkPrefix, packetsOf } from './packets.mjs';
import { RecorderProcess } from './recorder-process.mjs';

const FOOTAGE = join(import.meta.dirname, '..', '..', 'bin', 'footage.cjs');
const child = (name) => join(import.meta.dirname, name);
const exec = promisify(execFile);
const footage = (...args) => exec(process.execPath, [FOOTAGE, ...args], { maxBuffer: 2 ** 28 });

/** Starts a program and kills it `afterMs` after it has said `count` lines; gives the last one. */
async function killAfter(args, count, afterMs, mayEnd) {
  const program = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(program, 'close');
  let [last, seen] = ['', 0];
  const lines = createInterface({ input: program.stdout });
  const enough = new Promise((resolve) => {
    lines.on('line', (line) => {
      last = line;
      if (++seen === count) resolve();
    });
  });
  await Promise.race([enough, ended]);
  await sleep(afterMs);
  program.kill('SIGKILL');
  const [code, signal] = await ended;
  if (signal !== 'SIGKILL' && !(mayEnd && code === 0)) throw new Error(`it ended by itself (${code ?? signal})`);
  return { last, killed: signal === 'SIGKILL' };
}

const sum = (counts) => counts.flat().reduce((total, count) => total + count, 0);

// ---- Recordings of made frames

async function checkRecorder(recorder, folder) {
  const { root, seed } = recorder.options;
  const { appended, given } = recorder.lastLook;
  const tracks = await sampleTracks(openMediaFile);
  // Between the last look and its end it may have been given some more.
  const most = given.map((counts) => counts.map((count) => count + 2 * PICTURES_PER_SECOND));
  const expected = { seed, tracks, durable: appended, given: most };
  const { cameras, outcomes } = await checkArchive(root, expected, join(folder, 'export.mp4'));
  const found = cameras.map((numbers) => numbers.map(({ length }) => length));
  return { framesAppended: sum(appended), framesFound: sum(found), segmentsRecovered: outcomes.length };
}

async function recordMade({ folder, random }, options, moment) {
  const seed = Math.floor(random() * 2 ** 16);
  const recorder = new RecorderProcess({ root: join(folder, 'archive'), seed, cameras: 4, ...options });
  try {
    await moment(recorder);
    await recorder.kill();
    return recorder;
  } finally {
    await recorder.end();
  }
}

const shortSegments = { flushIntervalMs: 100, indexIntervalMs: 300, segmentDurationMs: 1000 };

/** Four cameras in one process, at any moment. */
async function cameras(context) {
  const options = { flushIntervalMs: 1000, segmentDurationMs: 2000 };
  const recorder = await recordMade(context, options, async (recording) => {
    await recording.appended(1);
    await sleep(context.random() * 3000);
  });
  return checkRecorder(recorder, context.folder);
}

/** While segments are cut and sealed, of all cameras at once. */
async function sealing(context) {
  const recorder = await recordMade(context, shortSegments, async (recording) => {
    await recording.appended(PICTURES_PER_SECOND * (1 + Math.floor(context.random() * 2)));
    await sleep(20 + context.random() * 80);
  });
  return checkRecorder(recorder, context.folder);
}

/** While start-up recovers: those processes are killed too, several times, before one may finish. */
async function recovery(context) {
  const recorder = await recordMade(context, shortSegments, async (recording) => {
    await recording.appended(PICTURES_PER_SECOND + 1);
    await sleep(context.random() * 900);
  });
  let recoveriesKilled = 0;
  for (let i = 0; i < 3; i++) {
    const args = [child('recover-child.mjs'), recorder.options.root];
    const { killed } = await killAfter(args, 1, context.random() * 100, true);
    recoveriesKilled += Number(killed);
  }
  return { ...(await checkRecorder(recorder, context.folder)), recoveriesKilled };
}

// ---- Real media

async function removeCatalog(archive) {
  const names = await readdir(archive);
  await Promise.all(names.filter((name) => name.startsWith('catalog.db')).map((name) => rm(join(archive, name))));
}

async function checkList(archive) {
  await footage('verify', '--archive', archive);
  const before = await footage('list', '--archive', archive, '--json');
  await removeCatalog(archive);
  const after = await footage('list', '--archive', archive, '--json');
  if (before.stdout !== after.stdout) throw new Error('the list differs without the catalog');
}

/** `footage record` of real media: what was reported is exported, packet by packet as ffprobe sees it. */
async function record({ folder, random, input, source, mostSeconds }) {
  const archive = join(folder, 'archive');
  const startUtcS = Date.now() / 1000 - 60;
  const args = [FOOTAGE, 'record', '--archive', archive, '--camera', 'door', '--input', input, '--json'];
  const { last } = await killAfter(args, 1, random() * (mostSeconds - 1) * 1000, false);
  const { appendedVideoFrames, appendedAudioFrames } = JSON.parse(last);
  await footage('recover', '--archive', archive);
  const output = join(folder, 'export.mp4');
  const range = ['--start', String(startUtcS), '--duration', '3600'];
  await footage('export', '--archive', archive, '--camera', 'door', ...range, '-o', output);
  const { video, audio } = await packetsOf(output);
  checkPrefix('video', video, source.video, appendedVideoFrames);
  checkPrefix('audio', audio, source.audio, appendedAudioFrames);
  await checkList(archive);
  return { framesAppended: appendedVideoFrames + appendedAudioFrames, framesFound: video.length + audio.length };
}

const IMPORTS = 2;
/** What an edit list hides (sound from before the first picture) is imported all the same. */
const WITH_HIDDEN = ['-ignore_editlist', '1'];
/** Delimiter, group table and entry: what a frame takes in the file beside its bytes, at most. */
const FRAME_OVERHEAD_BYTES = 44;
/** Head and configurations; and what a group of audio may lose with its last frame. */
const SLACK_BYTES = 8192;

async function segmentsOf(archive) {
  const entries = await readdir(archive, { recursive: true, withFileTypes: true });
  return entries
    .filter(({ name }) => name.endsWith('.mp4'))
    .map(({ parentPath, name }) => join(parentPath, name))
    .toSorted();
}

/** Bytes of the segments that are open, by path. */
async function openBytes(archive) {
  const open = new Map();
  for (const path of await segmentsOf(archive)) {
    const index = await stat(path.replace(/mp4$/, 'idx')).catch(() => undefined);
    if (index !== undefined) open.set(path, (await stat(path)).size);
  }
  return open;
}

/** Every byte in the file belongs to a frame that is found, but for one record that was being written. */
function checkBytes(path, sizeBytes, packets) {
  const largest = Math.max(0, ...packets.map(({ bytes }) => bytes));
  const explained = packets.reduce((total, { bytes }) => total + bytes + FRAME_OVERHEAD_BYTES, SLACK_BYTES + largest);
  if (sizeBytes > explained) throw new Error(`${path} had ${sizeBytes} bytes, frames of it explain ${explained}`);
}

/** An import of real media: what had been imported is kept, and importing it again is refused. */
async function imported({ folder, random, input }) {
  const archive = join(folder, 'archive');
  const args = [child('import-child.mjs'), archive, input, String(IMPORTS)];
  const { killed } = await killAfter(args, 1 + Math.floor(random() * 100 * IMPORTS), random() * 30, true);
  const open = await openBytes(archive);
  await footage('recover', '--archive', archive);
  const found = { video: [], audio: [] };
  for (const path of await segmentsOf(archive)) {
    const { video, audio } = await packetsOf(path, WITH_HIDDEN);
    found.video.push(...video);
    found.audio.push(...audio);
    if (open.has(path)) checkBytes(path, open.get(path), [...video, ...audio]);
  }
  if (found.video.length === 0) return { framesFound: 0 };
  const source = await packetsOf(input, WITH_HIDDEN);
  const all = Array.from({ length: IMPORTS }, () => source);
  for (const kind of ['video', 'audio'])
    checkPrefix(
      kind,
      found[kind],
      all.flatMap((one) => one[kind]),
      0,
    );
  await checkList(archive);
  await checkRefused(archive, input);
  return { framesFound: found.video.length + found.audio.length, importsKilled: Number(killed) };
}

async function checkRefused(archive, input) {
  const args = ['import', '--archive', archive, '--camera', 'door', '--start', '2026-01-31T12:00:00Z', input];
  const refused = await footage(...args).then(
    () => undefined,
    (error) => error,
  );
  if (!refused?.stderr.includes('E_OVERLAP')) throw new Error('importing the file again is not refused');
}

/** Every way to kill, and how many of twelve kills go that way. */
export const KILLS = {
  record: { run: record, share: 2 },
  cameras: { run: cameras, share: 3 },
  sealing: { run: sealing, share: 3 },
  recovery: { run: recovery, share: 3 },
  import: { run: imported, share: 1 },
};
