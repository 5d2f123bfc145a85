/**
 * 500 cameras at 4 Mbit/s into one process on this machine, frames made in real time: Footage, durable every second; plain
 * `fs.appendFile` of each frame; open files with `fdatasync` every second; and `ffmpeg -f segment -c copy`, one process per
 * camera. What a camera costs in CPU, whether all is taken in time, and how far what is durable is behind. Afterwards some
 * cameras are exported from Footage and compared with what they sent.
 */
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { checkExports, writeClip } from './many-cameras-export.mjs';
import { PICTURES_PER_SECOND } from './many-cameras-source.mjs';
import {
  ROOT,
  alternate,
  cpuSeconds,
  fromTo,
  lowerQuartile,
  processTree,
  progress,
  run,
  table,
  withFolder,
  writtenBytes,
} from './support.mjs';

export const title = 'Many cameras';

const CAMERA_BYTES_PER_SECOND = 500_000;
/** A process per camera takes memory and time to start: what one costs does not depend on how many there are. */
const FFMPEGS = 50;
const FFMPEG_START_MS = 40;
/** Enough to start and to warm up. */
const FFMPEG_SPARE_S = 60;
const WARM_UP_S = 5;
const TRY_S = 10;
const TRIES = 5;
/** Cameras are tried, if fewer must be, in such steps. */
const STEP = 10;
/** A picture may wait so long for its file, while cameras are tried. */
const MAX_WAIT_MS = 1000;
const FLUSH_INTERVAL_MS = 1000;
const PROBE_MEGABYTES = 2000;
const SECONDS_PER_HOUR = 3600;

const CAMERAS_ALONE = 'the cameras alone';
const OURS = 'Footage';
const APPEND = 'fs.appendFile, no sync';
const SYNCED = 'open files, fdatasync every second';
const SEGMENT = 'ffmpeg -f segment';
const READING = 'ffmpeg -f null (reading alone)';
const SINKS = { [CAMERAS_ALONE]: 'nothing', [OURS]: 'footage', [APPEND]: 'appendFiles', [SYNCED]: 'syncedFiles' };

export async function measure({ cameras, rounds, seconds }) {
  return withFolder(async (folder) => {
    const diskRate = await probeDisk(folder);
    const clip = await writeClip(folder);
    const held = {};
    for (const name of [OURS, APPEND, SYNCED]) held[name] = await camerasHeld(folder, name, cameras);
    held[CAMERAS_ALONE] = held[OURS];
    let exported;
    const check = { cameras: held[OURS], recordedS: WARM_UP_S + seconds, folder };
    const afterwards = { [OURS]: async (root) => (exported ??= await checkExports(root, check)) };
    const inNode = Object.keys(SINKS).map((name) => [
      name,
      () => measureSink(folder, name, { cameras: held[name], seconds, afterwards: afterwards[name] }),
    ]);
    const ffmpegs = Math.min(FFMPEGS, cameras);
    const inFfmpeg = [SEGMENT, READING].map((name) => [
      name,
      () => measureFfmpegs(folder, name, { clip, cameras: ffmpegs, seconds }),
    ]);
    const results = await alternate(rounds, Object.fromEntries([...inNode, ...inFfmpeg]));
    return report(results, { wanted: cameras, diskRate, exported, seconds, rounds });
  });
}

/** Bytes per second that the disk takes from one writer, the sync at the end included. */
async function probeDisk(folder) {
  const file = join(folder, 'probe');
  const beganMs = performance.now();
  await run('dd', ['if=/dev/zero', `of=${file}`, 'bs=1M', `count=${PROBE_MEGABYTES}`, 'conv=fdatasync', 'status=none']);
  const elapsedS = (performance.now() - beganMs) / 1000;
  await rm(file);
  return (PROBE_MEGABYTES * 2 ** 20) / elapsedS;
}

/** How many of `wanted` cameras, at the most, lose nothing and never wait long, for a while. */
async function camerasHeld(folder, name, wanted) {
  let [held, failed, cameras] = [0, Infinity, wanted];
  for (let attempt = 0; attempt < TRIES && cameras > held && cameras < failed; attempt++) {
    progress(`${name}: ${cameras} cameras`);
    const { lost, waitMs, taken, sent } = await measureSink(folder, name, { cameras, seconds: TRY_S });
    if (lost === 0 && waitMs <= MAX_WAIT_MS) held = cameras;
    else failed = cameras;
    if (held === wanted) return wanted;
    const next = held > 0 ? (held + failed) / 2 : cameras * Math.min(0.9, taken / sent);
    cameras = Math.max(STEP, Math.floor(next / STEP) * STEP);
  }
  return held > 0 ? held : cameras;
}

/** One process that takes what the cameras send; `afterwards` is called when all is recorded. */
async function measureSink(folder, name, { cameras, seconds, afterwards }) {
  const root = join(folder, 'recorded');
  await run('sync', []);
  const child = startChild({ sink: SINKS[name], folder: root, cameras });
  try {
    await child.answer();
    await pause(WARM_UP_S);
    child.send('begin');
    const used = await measureProcesses([child.pid], seconds);
    const seen = await child.answer('end');
    const whole = await child.answer('stop');
    await child.exited;
    await afterwards?.(root);
    return { ...used, ...seen, cameras, ...costPerCameraHour(used, cameraHours(seen.taken)), ...ended(whole) };
  } finally {
    child.kill();
    await child.exited;
    await rm(root, { recursive: true, force: true });
  }
}

function startChild(options) {
  const child = fork(join(ROOT, 'bench', 'many-cameras-child.mjs'), [JSON.stringify(options)]);
  const exited = once(child, 'exit');
  const failed = exited.then(([code, signal]) =>
    Promise.reject(new Error(`the recorder ended with ${signal ?? code}`)),
  );
  failed.catch(() => undefined);
  const answer = async (message) => {
    if (message !== undefined) child.send(message);
    const [told] = await Promise.race([once(child, 'message'), failed]);
    return told;
  };
  return { pid: child.pid, exited, answer, send: (message) => child.send(message), kill: () => child.kill('SIGKILL') };
}

function ended({ taken, sent, lost, closeCpuSeconds }) {
  const complete = lost === 0 && sent.every((count, track) => count === taken[track]);
  return { complete, closeCpu: closeCpuSeconds / cameraHours(taken[0]) };
}

const costPerCameraHour = ({ cpu, kernel }, hours) => ({ cpu: cpu / hours, kernel: kernel / hours });
const cameraHours = (pictures) => pictures / PICTURES_PER_SECOND / SECONDS_PER_HOUR;

/** `-re`: in real time. `-t`: none goes on for ever if the benchmark is killed. */
function ffmpegArguments(name, { clip, seconds, root }, i) {
  const end = String(seconds + FFMPEG_SPARE_S);
  const input = ['-v', 'error', '-nostdin', '-re', '-stream_loop', '-1', '-i', clip, '-t', end, '-c', 'copy'];
  if (name === READING) return [...input, '-f', 'null', '-'];
  const output = ['-f', 'segment', '-segment_time', '10', '-segment_format', 'mp4', '-reset_timestamps', '1'];
  return [...input, ...output, join(root, `${i}-%05d.mp4`)];
}

async function measureFfmpegs(folder, name, { clip, cameras, seconds }) {
  const root = join(folder, 'recorded');
  await mkdir(root);
  await run('sync', []);
  const children = [];
  try {
    for (let i = 0; i < cameras; i++) {
      children.push(
        spawn('ffmpeg', ffmpegArguments(name, { clip, seconds, root }, i), { stdio: ['ignore', 'ignore', 'inherit'] }),
      );
      await pause(FFMPEG_START_MS / 1000);
    }
    await pause(WARM_UP_S);
    const used = await measureProcesses(
      children.map(({ pid }) => pid),
      seconds,
    );
    return { ...used, cameras, ...costPerCameraHour(used, (cameras * used.elapsedS) / SECONDS_PER_HOUR) };
  } finally {
    for (const child of children) child.kill('SIGKILL');
    const running = children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
    await Promise.all(running.map((child) => once(child, 'exit')));
    await rm(root, { recursive: true, force: true });
  }
}

const pause = (count) => new Promise((resolve) => setTimeout(resolve, count * 1000));
const sumOf = (pids, what) => pids.reduce((sum, pid) => sum + what(pid), 0);

/** What processes use in some seconds: CPU, memory, bytes written; and of the kernel's own threads, which write them back. */
async function measureProcesses(pids, seconds) {
  const [cpu, kernel, bytes] = [sumOf(pids, cpuSeconds), kernelThreads(), sumOf(pids, writtenBytes)];
  const beganMs = performance.now();
  await pause(seconds);
  const elapsedS = (performance.now() - beganMs) / 1000;
  return {
    elapsedS,
    cpu: sumOf(pids, cpuSeconds) - cpu,
    kernel: kernelSecondsSince(kernel),
    writeRate: (sumOf(pids, writtenBytes) - bytes) / elapsedS,
    peakBytes: sumOf(pids, (pid) => kilobytesOf(`/proc/${pid}/status`, 'VmHWM')) * 1024,
    unwrittenBytes: (kilobytesOf('/proc/meminfo', 'Dirty') + kilobytesOf('/proc/meminfo', 'Writeback')) * 1024,
  };
}

const KERNEL_THREADS = 2;

/** CPU so far of each of the kernel's threads, seconds; none in a container that does not see them. */
function kernelThreads() {
  const seen = readFileSync(`/proc/${KERNEL_THREADS}/status`, 'utf8').startsWith('Name:\tkthreadd\n');
  const seconds = new Map();
  for (const pid of seen ? processTree(KERNEL_THREADS) : []) {
    try {
      seconds.set(pid, Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e9);
    } catch (error) {
      // It has ended.
      if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error;
    }
  }
  return seconds;
}

/** What those that still are have used since then. */
function kernelSecondsSince(before) {
  const used = Array.from(kernelThreads(), ([pid, seconds]) => seconds - (before.get(pid) ?? 0));
  return used.reduce((sum, seconds) => sum + seconds, 0);
}

function kilobytesOf(file, field) {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(file, 'utf8'))[1]);
}

function report(results, { wanted, diskRate, exported, seconds, rounds }) {
  const quartile = (name, field) => lowerQuartile(results[name].map((one) => one[field]));
  const netOf = (name) => quartile(name, 'cpu') - quartile(name === SEGMENT ? READING : CAMERAS_ALONE, 'cpu');
  const ratio = (name) => [
    `${OURS} / ${name}`,
    (quartile(OURS, 'cpu') / quartile(name, 'cpu')).toFixed(2),
    // What FFmpeg does besides reading is little: on a machine that is not quiet nothing may be left of it.
    netOf(name) > 0 ? (netOf(OURS) / netOf(name)).toFixed(2) : 'not seen',
  ];
  const needed = (wanted * CAMERA_BYTES_PER_SECOND) / 1e6;
  return [
    `${wanted} cameras at 4 Mbit/s (25 pictures a second, AAC; ${needed.toFixed(0)} MB/s; the disk takes ${(diskRate / 1e6).toFixed(0)} MB/s from \`dd\` with ` +
      `\`fdatasync\`), ${rounds} alternating rounds of ${seconds} s; where fewer cameras stand, more are not taken in time. CPU is the lower quartile; the net one is ` +
      'without the making of frames (as it is with as many cameras as for Footage), or for FFmpeg without the reading of the file. Memory, waits and lags are the largest of all rounds.\n',
    table(
      ['', 'cameras', 'CPU-s per camera-hour', 'from–to', 'net', 'kernel threads', 'written MB/s', 'peak memory MB'],
      Object.keys(results).map((name) => costs(name, results[name], netOf)),
    ),
    '',
    table(['ratio of CPU', 'whole', 'net'], [ratio(SEGMENT), ratio(APPEND), ratio(SYNCED)]),
    '',
    'In time: until a picture that has come is in its file, and until it is durable, looked at ten times a second.\n',
    table(
      ['', 'loop delay ms, 99 %', 'longest wait s', 'most lag s', 'frames lost', 'not written back MB'],
      Object.keys(SINKS).map((name) => [name, ...times(results[name])]),
    ),
    '',
    lossBound(results[OURS]),
    ending(results[OURS], exported),
  ].join('\n');
}

function costs(name, values, netOf) {
  const of = (field) => values.map((value) => value[field]);
  const kernel = lowerQuartile(of('kernel'));
  const net = name === CAMERAS_ALONE || name === READING ? '' : netOf(name).toFixed(2);
  return [
    name,
    values[0].cameras,
    lowerQuartile(of('cpu')).toFixed(2),
    fromTo(of('cpu')),
    net,
    kernel.toFixed(2),
    (lowerQuartile(of('writeRate')) / 1e6).toFixed(1),
    (Math.max(...of('peakBytes')) / 1e6).toFixed(0),
  ];
}

function times(values) {
  const most = (field) => Math.max(...values.map((value) => value[field]));
  const lag = values[0].lagMs === undefined ? 'not durable' : (most('lagMs') / 1000).toFixed(2);
  return [
    most('delayMs').toFixed(1),
    (most('waitMs') / 1000).toFixed(2),
    lag,
    most('lost'),
    (most('unwrittenBytes') / 1e6).toFixed(0),
  ];
}

/**
 * docs/durability.md, of what is in a file: the longer of interval and flush, plus one flush; nothing was sealed meanwhile.
 * What has come has waited for its file besides.
 */
function lossBound(values) {
  const flushesMs = values.flatMap((value) => value.flushesMs);
  const longestMs = Math.max(...flushesMs);
  const [waitMs, lagMs] = ['waitMs', 'lagMs'].map((field) => Math.max(...values.map((value) => value[field])));
  const boundMs = Math.max(FLUSH_INTERVAL_MS, longestMs) + longestMs;
  return (
    `The bound of what a power cut takes is ${lagMs <= boundMs + waitMs ? 'kept' : 'NOT kept'}: what had come was durable after ${inSeconds(lagMs)} at the latest; the longer of ` +
    `interval and flush, plus one flush, are ${inSeconds(boundMs)}, and the longest wait ${inSeconds(waitMs)} (flushes: lower quartile ` +
    `${lowerQuartile(flushesMs).toFixed(0)} ms, longest ${longestMs.toFixed(0)} ms).`
  );
}

const inSeconds = (ms) => `${(ms / 1000).toFixed(2)} s`;

function ending(values, { cameras, seconds, pictures, sounds }) {
  const complete = values.every((value) => value.complete);
  const closing = lowerQuartile(values.map(({ closeCpu }) => closeCpu));
  return (
    `${complete ? 'Every frame that was sent is recorded.' : 'NOT every frame that was sent is recorded.'} Sealing at the end took another ${closing.toFixed(2)} CPU-s per camera-hour, of segments that last less than a minute. ` +
    `Exports of ${seconds} s of ${cameras} cameras hold what those sent, frame by frame (${pictures} pictures and ${sounds} audio frames compared by SHA-256), and FFmpeg decodes them without an error.`
  );
}
