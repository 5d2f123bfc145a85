/**
 * One process that takes what many cameras send; forked, with JSON { sink, folder, cameras } as its argument. Sends
 * 'recording' when all cameras are; at 'begin' it starts to look, at 'end' it tells what it saw since; at 'stop' the cameras
 * end, and it tells what became of all that they had sent.
 */
import { appendFile, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import process from 'node:process';
import { openArchive } from '../dist/index.js';
import { native } from '../dist/native.js';
import { START_UTC_MS, cameraName } from './many-cameras-export.mjs';
import { ALL_BEGUN_MS, Cameras, Line, openClip } from './many-cameras-source.mjs';

const LOOK_MS = 100;
const FLUSH_INTERVAL_MS = 1000;
const DELAY_RESOLUTION_MS = 10;

/** Counts what was taken; `take` is done with a frame when it resolves. */
class Taker {
  /** Frames, per track. */
  taken = [0, 0];
  /** Pictures that are durable; undefined where nobody makes them so. */
  durable;
  finished;

  constructor(line, take) {
    this.finished = this.#run(line, take);
  }

  async #run(line, take) {
    for await (const { track, data } of line) {
      await take?.(data);
      this.taken[track]++;
    }
  }
}

/** Takes frames and keeps none: what the cameras themselves cost. */
async function nothing(_folder, _clip, lines) {
  const takers = lines.map((line) => new Taker(line));
  return { state: (camera) => takers[camera], close: () => ended(takers) };
}

async function appendFiles(folder, _clip, lines) {
  const takers = lines.map((line, camera) => {
    const path = join(folder, `${camera}.bin`);
    return new Taker(line, (data) => appendFile(path, data));
  });
  return { state: (camera) => takers[camera], close: () => ended(takers) };
}

/** Open files, all of them synced once a second. */
async function syncedFiles(folder, _clip, lines) {
  const files = await Promise.all(lines.map((_, camera) => open(join(folder, `${camera}.bin`), 'a')));
  const takers = lines.map((line, camera) => new Taker(line, (data) => files[camera].appendFile(data)));
  let syncing;
  const timer = setInterval(() => {
    syncing ??= syncAll(files, takers).finally(() => (syncing = undefined));
  }, FLUSH_INTERVAL_MS);
  const close = async () => {
    await ended(takers);
    clearInterval(timer);
    await syncing;
    await syncAll(files, takers);
    for (const file of files) await file.close();
  };
  return { state: (camera) => takers[camera], close };
}

async function syncAll(files, takers) {
  const covered = takers.map(({ taken }) => taken[0]);
  await Promise.all(files.map((file) => file.datasync()));
  takers.forEach((taker, camera) => (taker.durable = covered[camera]));
}

async function ended(takers) {
  await Promise.all(takers.map(({ finished }) => finished));
}

/** Footage as it is, with a watch that tells how long its flushes take. */
async function footage(folder, { tracks }, lines, flushesMs) {
  const groupFlush = async (fds) => {
    const beganMs = performance.now();
    const errors = await native.groupFlush(fds);
    flushesMs.push(performance.now() - beganMs);
    return errors;
  };
  const archive = await openArchive(folder, { native: { ...native, groupFlush } });
  const recordings = [];
  for (const [camera, frames] of lines.entries()) {
    const options = { tracks, frames, startUtcMs: START_UTC_MS, flushIntervalMs: FLUSH_INTERVAL_MS };
    recordings.push(await archive.record(cameraName(camera), options));
  }
  const state = (camera) => {
    const { appended, flushed } = recordings[camera].stats();
    return { taken: appended, durable: flushed[0] };
  };
  const close = async () => {
    await Promise.all(recordings.map(({ finished }) => finished));
    await archive.close();
  };
  return { state, close };
}

const SINKS = { nothing, appendFiles, syncedFiles, footage };

const { sink: name, folder, cameras } = JSON.parse(process.argv[2]);
await mkdir(folder, { recursive: true });
const clip = await openClip();
const lines = Array.from({ length: cameras }, () => new Line());
const flushesMs = [];
const sink = await SINKS[name](folder, clip, lines, flushesMs);
const sources = new Cameras(clip, lines);
const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });

/** Since `begin`. */
let seen;
let looking;

/** How long ago the oldest picture came that is not in its file yet; and the oldest that is not durable. */
function look() {
  for (let camera = 0; camera < cameras; camera++) {
    const { taken, durable } = sink.state(camera);
    seen.waitMs = Math.max(seen.waitMs, sources.ageMs(camera, taken[0]));
    if (durable !== undefined) seen.lagMs = Math.max(seen.lagMs ?? 0, sources.ageMs(camera, durable));
  }
}

const lost = () => lines.reduce((sum, line) => sum + line.lost, 0);

/** Frames in the files so far, per track. */
function takenOfAll() {
  const states = lines.map((_, camera) => sink.state(camera).taken);
  return [0, 1].map((track) => states.reduce((sum, taken) => sum + taken[track], 0));
}

const HANDLERS = {
  begin() {
    flushesMs.length = 0;
    seen = { waitMs: 0, taken: takenOfAll(), sent: [...sources.sent], lost: lost() };
    looking = setInterval(look, LOOK_MS);
    delay.enable();
  },
  end() {
    delay.disable();
    clearInterval(looking);
    const [taken, sent] = [takenOfAll()[0] - seen.taken[0], sources.sent[0] - seen.sent[0]];
    const delayMs = Math.max(0, delay.percentile(99) / 1e6 - DELAY_RESOLUTION_MS);
    process.send({ ...seen, taken, sent, lost: lost() - seen.lost, delayMs, flushesMs });
  },
  async stop() {
    sources.end();
    const cpu = process.cpuUsage();
    await sink.close();
    const { user, system } = process.cpuUsage(cpu);
    const [taken, sent] = [takenOfAll(), sources.sent];
    process.send({ taken, sent, lost: lost(), closeCpuSeconds: (user + system) / 1e6 });
    process.disconnect();
  },
};

// Whoever has forked it is gone, or needs it no more: it must not record for ever.
process.on('disconnect', () => process.exit());
process.on('message', (message) => HANDLERS[message]());
sources.begin();
setTimeout(() => process.send('recording'), ALL_BEGUN_MS);
