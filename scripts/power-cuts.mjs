/**
 * Cuts the power of recorders: they record made frames onto ext4 and XFS images on loop devices; at random moments an
 * image is copied in one instant, the copy mounted, recovered, and held against what the recorder had said before. The
 * recorders go on, so that one run is cut many times.
 *
 * Checked of each cut: durability/check.mjs, with every frame that was acknowledged as flushed before the copy began; and
 * the loss in time: the age, at the cut, of the oldest lost frame that was appended before it. It is at most
 * max(interval, flush) + flush + lag, where `flush` is the longest group flush of the 10 s before the cut, the one under
 * way included, and `lag` the longest time by which timers of the recorder came late in the same time.
 *
 * node scripts/power-cuts.mjs [--cuts 10] [--intervals 100,1000,5000] [--file-systems ext4,xfs] [--cameras 4]
 *                             [--segment-ms 2500] [--device reflink] [--seed N] [--no-flush] [--json FILE]
 *
 * `--device logged`: a device with a cache, which loses any of what it was not told to flush; each cut is in the moment of
 * a write (durability/images.mjs).
 *
 * Needs the build, root, loop devices, mkfs.ext4 and mkfs.xfs. Prints a line of JSON per cut, a summary, and `N cuts,
 * N failed` at the end; exit status 1 if one failed. With --no-flush the recorders only claim to flush: then cuts fail.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text as read } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openMediaFile } from '../dist/index.js';
import { firstMissing } from './durability/check.mjs';
import { monotonicMs } from './durability/clock.mjs';
import { sampleTracks } from './durability/frames.mjs';
import { FILE_SYSTEMS, Images, obstacle } from './durability/images.mjs';
import { randomFrom } from './durability/random.mjs';
import { RecorderProcess } from './durability/recorder-process.mjs';

/** Recorders begin anew, on empty file systems, after so many cuts or so long: a check takes as long as all that there is. */
const CUTS_PER_RUN = 8;
const RUN_MS = 30_000;
/** Sealing makes durable what it seals: with short segments alone, no cut would meet a whole long interval. */
const LONG_SEGMENT_MS = 3_600_000;
/** Copies that are checked at once: recorders must not wait for processors. */
const CHECKS_AT_ONCE = 2;

const CHECK = join(import.meta.dirname, 'durability', 'check-child.mjs');

const { values } = parseArgs({
  options: {
    cuts: { type: 'string', default: '10' },
    intervals: { type: 'string', default: '100,1000,5000' },
    'file-systems': { type: 'string', default: FILE_SYSTEMS.join() },
    cameras: { type: 'string', default: '4' },
    'segment-ms': { type: 'string', default: '2500' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    device: { type: 'string', default: 'reflink' },
    'no-flush': { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});

const random = randomFrom(Number(values.seed));

/** Lets `limit` of its callers run at once. */
function limiter(limit) {
  const waiting = [];
  let running = 0;
  return async (body) => {
    if (running >= limit) await new Promise((resolve) => waiting.push(resolve));
    running++;
    try {
      return await body();
    } finally {
      running--;
      waiting.shift()?.();
    }
  };
}

const oneByOne = limiter(CHECKS_AT_ONCE);

// ---- One cut

const countsOf = (look, name, cameras, tracks) =>
  look?.[name] ?? Array.from({ length: cameras }, () => tracks.map(() => 0));

/** Age at the cut of the oldest frame that was appended before and is not found; and how many are not. */
function lossOf(recorder, found, appended, cutMs) {
  let [lossMs, lostFrames] = [0, 0];
  found.forEach((tracks, camera) =>
    tracks.forEach((numbers, track) => {
      const missing = firstMissing(numbers, appended[camera][track]);
      if (missing === undefined) return;
      lossMs = Math.max(lossMs, cutMs - recorder.appendedAtMs(camera, track, missing));
      lostFrames += appended[camera][track] - numbers.filter((number) => number < appended[camera][track]).length;
    }),
  );
  return { lossMs, lostFrames };
}

const total = (counts) => counts.flat().reduce((sum, count) => sum + count, 0);

/** `checkArchive`, in another process. Before the first flush even the folder of the archive may be lost. */
async function checkApart(...args) {
  const child = spawn(process.execPath, [CHECK], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify(args));
  const [text] = await Promise.all([read(child.stdout), once(child, 'close')]);
  const { result, failed, code } = JSON.parse(text);
  if (result !== undefined) return result;
  const { durable } = args[1];
  if (code !== 'E_ARCHIVE_MISSING' || total(durable) > 0) throw new Error(failed);
  return { outcomes: [], unexplainedBytes: 0, cameras: durable.map((tracks) => tracks.map(() => [])) };
}

async function checkCut(rig, folder, output, { beforeMs, afterMs, ...device }) {
  const { recorder, tracks, intervalMs } = rig;
  await recorder.past(afterMs);
  const { cameras, seed } = recorder.options;
  const [before, after] = [recorder.lookBy(beforeMs), recorder.lookFrom(afterMs)];
  const durable = countsOf(before, 'flushed', cameras, tracks);
  const expected = { seed, tracks, durable, given: countsOf(after, 'given', cameras, tracks) };
  const found = await checkApart(join(folder, 'archive'), expected, output);
  const appended = countsOf(before, 'appended', cameras, tracks);
  const { lossMs, lostFrames } = lossOf(recorder, found.cameras, appended, beforeMs);
  const [flushMs, lagMs] = [recorder.flushMsAround(beforeMs), recorder.lagMsAround(beforeMs)];
  const boundMs = Math.max(intervalMs, flushMs) + flushMs + lagMs;
  const measured = { lossMs, flushMs, lagMs, boundMs, cutMs: afterMs - beforeMs, lostFrames };
  const counted = { appended: total(appended), flushed: total(durable), recovered: found.outcomes.length };
  if (lossMs > boundMs) throw Object.assign(new Error(`${lossMs} ms are lost`), { measured });
  return { ...measured, ...counted, ...device };
}

const rounded = (result) =>
  Object.fromEntries(
    Object.entries(result).map(([key, value]) => [key, typeof value === 'number' ? Math.round(value) : value]),
  );

async function cut(images, rig) {
  const what = { fileSystem: rig.image.fileSystem, intervalMs: rig.intervalMs };
  try {
    const output = join(images.folder, `${what.fileSystem}-${what.intervalMs}.mp4`);
    const result = await images.withCut(rig.image, random, (folder, times) => checkCut(rig, folder, output, times));
    return { ...what, ...rounded(result) };
  } catch (error) {
    return { ...what, ...rounded(error.measured ?? {}), failed: `${error.message}` };
  }
}

// ---- A run of recorders

/** A file system and the recorder on it. */
async function makeRig(images, { fileSystem, intervalMs }, tracks) {
  const image = await images.make(fileSystem);
  const recorder = new RecorderProcess({
    root: join(image.path, 'archive'),
    seed: Math.floor(random() * 2 ** 16),
    cameras: Number(values.cameras),
    flushIntervalMs: intervalMs,
    segmentDurationMs: random() < 0.5 ? Number(values['segment-ms']) : LONG_SEGMENT_MS,
    flush: !values['no-flush'],
  });
  return { image, intervalMs, tracks, recorder };
}

/** The first cut may hit the beginning of everything; all of them any moment between two flushes. */
async function cutAtRandom(images, { rig, kind }, report) {
  const mostMs = 1500 + 1.3 * rig.intervalMs;
  const beganMs = monotonicMs();
  for (let i = 0; i < CUTS_PER_RUN && kind.left > 0 && (i === 0 || monotonicMs() - beganMs < RUN_MS); i++) {
    kind.left--;
    await sleep(random() * mostMs * (i === 0 ? 2 : 1));
    report(await oneByOne(() => cut(images, rig)));
  }
}

async function runOnce(images, kinds, recorders, report) {
  const tracks = await sampleTracks(openMediaFile);
  const rigs = [];
  try {
    for (const kind of kinds.filter(({ left }) => left > 0)) {
      const rig = await makeRig(images, kind, tracks);
      recorders.add(rig.recorder);
      rigs.push({ rig, kind });
    }
    await Promise.all(rigs.map((one) => cutAtRandom(images, one, report)));
    return rigs.map(({ rig }) => ({ intervalMs: rig.intervalMs, ms: rig.recorder.longestUnflushedMs() }));
  } finally {
    for (const { rig } of rigs) {
      await rig.recorder.end();
      recorders.delete(rig.recorder);
      await rig.image.close();
    }
  }
}

/** Every kind of recorder, and how many cuts are left for it: they are spread evenly. */
function kindsFor(cuts) {
  const kinds = values.intervals
    .split(',')
    .flatMap((interval) =>
      values['file-systems'].split(',').map((fileSystem) => ({ fileSystem, intervalMs: Number(interval) })),
    );
  return kinds.map((kind, i) => ({ ...kind, left: Math.ceil((cuts - i) / kinds.length) }));
}

// ---- The whole

const kindOf = ({ fileSystem, intervalMs }) => `${fileSystem} ${intervalMs}`;

/** Per file system and interval: cuts, failures, and the largest loss with its flush. */
function summaryOf(cuts) {
  return [...new Set(cuts.map(kindOf))].map((kind) => {
    const group = cuts.filter((one) => kindOf(one) === kind);
    const [{ fileSystem, intervalMs }] = group;
    const largest = (name) => Math.max(0, ...group.map((one) => one[name] ?? 0));
    return {
      fileSystem,
      intervalMs,
      cuts: group.length,
      failed: group.filter(({ failed }) => failed !== undefined).length,
      largestLossMs: largest('lossMs'),
      largestFlushMs: largest('flushMs'),
      framesChecked: group.reduce((sum, { appended = 0, lostFrames = 0 }) => sum + appended - lostFrames, 0),
    };
  });
}

async function cutAll(images, recorders) {
  const cuts = [];
  const unflushed = new Map();
  const report = (result) => {
    cuts.push(result);
    console.log(JSON.stringify(result));
  };
  const kinds = kindsFor(Number(values.cuts));
  while (kinds.some(({ left }) => left > 0)) {
    for (const { intervalMs, ms } of await runOnce(images, kinds, recorders, report))
      unflushed.set(intervalMs, Math.round(Math.max(unflushed.get(intervalMs) ?? 0, ms)));
  }
  return {
    seed: Number(values.seed),
    summary: summaryOf(cuts),
    longestUnflushedMs: Object.fromEntries(unflushed),
    failures: cuts.filter(({ failed }) => failed !== undefined),
    cuts,
  };
}

/** Ends recorders and mounts, also when a signal ends this process. */
async function withImages(body) {
  const images = new Images(values.device);
  const recorders = new Set();
  const end = async () => {
    for (const recorder of recorders) await recorder.end();
    images.close();
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void end().then(() => process.exit(1)));
  try {
    return await body(images, recorders);
  } finally {
    await end();
  }
}

async function main() {
  const why = obstacle();
  if (why !== undefined) {
    console.error(`power-cuts: file systems cannot be mounted: ${why}. Run it as root where loop devices are.`);
    process.exit(2);
  }
  const { cuts, ...result } = await withImages(cutAll);
  const failed = result.failures.length;
  console.log(JSON.stringify(result));
  if (values.json !== undefined) await writeFile(values.json, JSON.stringify({ ...result, cuts }, undefined, 1));
  console.log(`${cuts.length} cuts, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

await main();
