/**
 * Cameras recorded for hours by `footage serve --cameras`, and what that costs and loses: CPU time per camera, memory and
 * descriptors over time, gaps, reconnects, lost frames. Afterwards the archive is verified, and a random minute of each
 * camera is exported and read with ffprobe.
 *
 * npm run test:cameras -- [--cameras 8] [--hours 2 | --minutes N] [--input URL]... [--json]
 *
 * Without --input the cameras are the RTSP camera of the tests with 1080p30 H.264 at 4 Mbit/s and AAC; with it they are those
 * addresses, taken in turn. Needs the build, FFmpeg, and the packages of `npm run setup`. Nothing is deleted while it runs, so
 * the disk of TMPDIR must hold all of it: too small a disk is refused. A line per minute goes to standard error, the summary to
 * standard output. Exit status 1 if a criterion below does not hold; the archive is kept then, and removed otherwise.
 * SIGINT ends the run early, with a summary of what there was.
 */
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { CLI, cpuSeconds, footage, processTree, provenance, run, startServer } from '../bench/support.mjs';

const CAMERA_PROGRAM = join(import.meta.dirname, '../test/support/camera/rtsp_camera.py');
/** Debian's own, which finds the modules that Debian packages bring. */
const PYTHON = '/usr/bin/python3';

const PICTURES_PER_SECOND = 30;
const BITS_PER_SECOND = 4_000_000;
const CLIP_S = 6;
/** Pictures, sound and what the format adds; what a camera at --input sends is measured each minute. */
const EXPECTED_BYTES_PER_SECOND = 520_000;
/** Others need the disk as well, and the exports at the end. */
const SPARE_BYTES = 1e9;

/** Short, so that segments are begun and sealed all the time. */
const SEGMENT_MS = 60_000;
const ONLINE_MS = 90_000;
const SAMPLE_S = 10;
const SAMPLES_PER_LINE = 6;
const LEAST_SECONDS = 120;
const EXPORT_S = 60;

/** First and last are those of so large a part of the run, behind the warm-up. */
const WARM_UP_SHARE = 0.1;
const END_SHARE = 0.2;
const MOST_DESCRIPTORS = 5;
/** Memory may grow by the larger of the two: the smaller a process is, the more it sways. */
const MOST_GROWTH_SHARE = 0.2;
const MOST_GROWTH_BYTES = 30e6;
/** An export may have so many seconds of frames more or less. */
const EXPORT_TOLERANCE_S = 1;

const ending = new AbortController();

function settings() {
  const { values } = parseArgs({
    options: {
      cameras: { type: 'string' },
      hours: { type: 'string' },
      minutes: { type: 'string' },
      input: { type: 'string', multiple: true, default: [] },
      json: { type: 'boolean', default: false },
    },
  });
  const { hours, minutes, input: inputs, json } = values;
  const cameras = Number(values.cameras ?? (inputs.length > 0 ? inputs.length : 8));
  const seconds = Math.round(minutes === undefined ? Number(hours ?? 2) * 3600 : Number(minutes) * 60);
  const both = hours !== undefined && minutes !== undefined;
  const enough = Number.isInteger(cameras) && cameras >= Math.max(1, inputs.length) && seconds >= LEAST_SECONDS;
  if (enough && !both) return { cameras, seconds, inputs, json };
  console.error('camera-soak: --cameras is a whole number, no smaller than the number of --input; and either');
  console.error('--hours or --minutes is given, for 2 minutes at least');
  return process.exit(2);
}

/** @throws if the disk has too little room for so much more footage */
async function requireRoom(folder, bytesPerSecond, seconds) {
  const { bavail, bsize } = await statfs(folder);
  const [free, needed] = [bavail * bsize, bytesPerSecond * seconds + SPARE_BYTES];
  if (free >= needed) return;
  const what = `${gigabytes(needed)} are needed (1 GB of it as a reserve), ${gigabytes(free)} are free in ${folder}`;
  throw new Error(`${what}: give fewer --cameras or --minutes, or another disk as TMPDIR`);
}

/** Six seconds that begin again for ever: as much work for who receives them as any other. */
async function makeClip(folder) {
  const [video, audio] = [join(folder, 'load.h264'), join(folder, 'load.aac')];
  const rate = String(BITS_PER_SECOND);
  const picture = `testsrc2=size=1920x1080:rate=${PICTURES_PER_SECOND}:duration=${CLIP_S},noise=alls=14:allf=t`;
  const encoder = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-bf', '0'];
  const gop = `keyint=${PICTURES_PER_SECOND}:min-keyint=${PICTURES_PER_SECOND}:scenecut=0`;
  const limits = ['-b:v', rate, '-maxrate', rate, '-bufsize', String(BITS_PER_SECOND / 2), '-x264-params', gop];
  const made = ['-v', 'error', '-f', 'lavfi', '-i'];
  await run('ffmpeg', [...made, picture, ...encoder, ...limits, video]);
  await run('ffmpeg', [...made, `sine=f=440:r=48000:d=${CLIP_S}`, '-c:a', 'aac', '-b:a', '64k', audio]);
  return { video, audio };
}

/** The tests' camera as a process of its own, with one mount; each client gets a stream of its own. Answers { url, stop() }. */
async function startCamera(folder) {
  const { video, audio } = await makeClip(folder);
  const pictures = `multifilesrc loop=true location="${video}" ! h264parse ! video/x-h264,stream-format=avc,alignment=au`;
  const sound = `multifilesrc loop=true location="${audio}" ! aacparse ! audio/mpeg,stream-format=raw`;
  const lanes = [
    `${pictures} ! queue name=video ! rtph264pay name=pay0 pt=96`,
    `${sound} ! queue name=audio ! rtpmp4gpay name=pay1 pt=97`,
  ];
  const probes = [{ kind: 'show-as-decoded', element: 'video' }];
  const mount = { path: '/load', launch: `( ${lanes.join(' ')} )`, shared: false, probes };
  // In a process group of its own: ^C ends the run, and the recorder first.
  const child = spawn(PYTHON, [CAMERA_PROGRAM], { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  child.stdin.on('error', () => undefined);
  const description = { port: 0, user: '', password: '', auth: 'digest', clockPpm: 0, mounts: [mount] };
  child.stdin.write(`${JSON.stringify(description)}\n`);
  const port = await portOf(child);
  return { url: `rtsp://127.0.0.1:${port}/load`, stop: () => child.kill('SIGKILL') };
}

function portOf(child) {
  return new Promise((resolve, reject) => {
    let said = '';
    child.stdout.on('data', (chunk) => {
      said += chunk;
      const match = /^ready (\d+)$/m.exec(said);
      if (match !== null) resolve(Number(match[1]));
    });
    child.once('error', reject);
    child.once('close', () => reject(new Error('the test camera did not start: run `npm run setup`')));
  });
}

async function startRecorder(folder, names, urls) {
  const file = join(folder, 'cameras.json');
  const cameras = names.map((name, i) => [name, { source: urls[i % urls.length], segmentDurationMs: SEGMENT_MS }]);
  await writeFile(file, JSON.stringify(Object.fromEntries(cameras)), { mode: 0o600 });
  try {
    const args = ['--archive', join(folder, 'archive'), '--cameras', file, '--port', '0', '--scrub', 'off'];
    return await startServer('footage serve', process.execPath, [CLI, 'serve', ...args]);
  } finally {
    // Read by now; it may hold passwords.
    await rm(file);
  }
}

async function healthOf({ port }, names) {
  const all = [];
  for (const name of names) {
    const response = await fetch(`http://127.0.0.1:${port}/api/cameras/${name}/health`);
    if (!response.ok) throw new Error(`health of ${name}: ${response.status} ${await response.text()}`);
    all.push(await response.json());
  }
  return all;
}

const isRecording = ({ state, recording }) => state === 'online' && recording;

async function allOnline(recorder, names) {
  for (const beganMs = performance.now(); ;) {
    const offline = (await healthOf(recorder, names)).filter((one) => !isRecording(one));
    if (offline.length === 0) return;
    if (performance.now() - beganMs > ONLINE_MS) {
      const why = offline.map(
        ({ camera, state, error }) => `${camera} is ${state}: ${error?.message ?? 'no frame yet'}`,
      );
      throw new Error(`not all cameras are recorded after ${ONLINE_MS / 1000} s:\n${why.join('\n')}`);
    }
    await sleep(500, undefined, { signal: ending.signal });
  }
}

/** Kilobytes of /proc/PID/smaps_rollup as bytes. */
function memoryOf(pid, field) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(new RegExp(`^${field}: +(\\d+) kB`, 'm').exec(text)?.[1]) * 1024;
}

/** CPU time of the recorder and of its ffmpegs, memory and descriptors at a moment. */
class Processes {
  #recorder;
  /** Of those that have ended too. */
  #ffmpegSeconds = new Map();

  constructor(recorder) {
    this.#recorder = recorder;
  }

  /** A process that ends while it is read about makes that fail: then it is read once more. */
  async sample() {
    for (let left = 5; ; left--) {
      try {
        return this.#read();
      } catch (error) {
        if (left === 0) throw new Error('the recorder has ended: see above what it said', { cause: error });
        await sleep(100);
      }
    }
  }

  #read() {
    const { pid } = this.#recorder;
    const descriptors = readdirSync(`/proc/${pid}/fd`).length;
    const ffmpegs = processTree(pid).slice(1);
    const seconds = ffmpegs.map(cpuSeconds);
    const recorderSeconds = cpuSeconds(pid) - total(seconds);
    ffmpegs.forEach((one, i) => this.#ffmpegSeconds.set(one, seconds[i]));
    return {
      recorderSeconds,
      ffmpegSeconds: total([...this.#ffmpegSeconds.values()]),
      rss: memoryOf(pid, 'Rss'),
      ffmpegPss: total(ffmpegs.map((one) => memoryOf(one, 'Pss'))),
      descriptors,
    };
  }
}

const total = (numbers) => numbers.reduce((sum, one) => sum + one, 0);

/** Watches for so long, or until the run is ended. Answers { samples, first, last }: health in the beginning and at the end. */
async function watch(recorder, { names, seconds, folder }) {
  const processes = new Processes(recorder);
  const beganMs = performance.now();
  const elapsedS = () => (performance.now() - beganMs) / 1000;
  const health = async () => ({ atS: elapsedS(), cameras: await healthOf(recorder, names) });
  const first = await health();
  let last = first;
  const samples = [];
  for (let atS = 0; atS <= seconds && !ending.signal.aborted; atS += SAMPLE_S) {
    samples.push({ atS: elapsedS(), ...(await processes.sample()) });
    if (samples.length > 1 && samples.length % SAMPLES_PER_LINE === 1) {
      last = await health();
      console.error(line(samples, last.cameras));
      await requireRoom(folder, counted(last.cameras).bitsPerSecond / 8, seconds - atS);
    }
    const left = Math.min(atS + SAMPLE_S, seconds) - elapsedS();
    await sleep(1000 * Math.max(0, left), undefined, { signal: ending.signal }).catch(() => undefined);
  }
  // ^C has reached the recorder too.
  return { samples, first, last: ending.signal.aborted ? last : await health() };
}

function line(samples, cameras) {
  const [now, before] = [samples.at(-1), samples.at(-1 - SAMPLES_PER_LINE)];
  const { recorder, ffmpeg } = cpuPercent(before, now, cameras.length);
  const { reconnects, gaps, lostFrames, longestFlushMs, online, bitsPerSecond } = counted(cameras);
  return [
    `${(now.atS / 60).toFixed(1)} min: ${online} of ${cameras.length} online, ${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s`,
    `CPU per camera ${recorder} % and ffmpeg ${ffmpeg} %`,
    `RSS ${megabytes(now.rss)} MB, ffmpeg PSS ${megabytes(now.ffmpegPss)} MB, ${now.descriptors} descriptors`,
    `${reconnects} reconnects, ${gaps} gaps, ${lostFrames} lost frames, longest flush ${longestFlushMs} ms`,
  ].join('; ');
}

function cpuPercent(from, to, cameras) {
  const share = (name) => rounded((100 * (to[name] - from[name])) / (to.atS - from.atS) / cameras, 2);
  return { recorder: share('recorderSeconds'), ffmpeg: share('ffmpegSeconds') };
}

function counted(cameras) {
  const sum = (of) => total(cameras.map(of));
  return {
    online: cameras.filter(isRecording).length,
    bitsPerSecond: sum(({ bitsPerSecond }) => bitsPerSecond),
    reconnects: sum(({ reconnects }) => reconnects),
    gaps: sum(({ gaps }) => gaps.count),
    lostFrames: sum(({ lostFrames }) => lostFrames),
    clockSteps: sum(({ clock }) => clock.steps),
    longestFlushMs: Math.round(Math.max(...cameras.map(({ flush }) => flush.longestMs))),
  };
}

const rounded = (number, digits) => Number(number.toFixed(digits));
const megabytes = (bytes) => rounded(bytes / 1e6, 1);
const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;

function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

/** Of the straight line with the least squares through the points, per hour. */
function slopePerHour(points) {
  const middle = (of) => total(points.map(of)) / points.length;
  const [x, y] = [middle((point) => point[0]), middle((point) => point[1])];
  const spread = total(points.map((point) => (point[0] - x) ** 2));
  return (total(points.map((point) => (point[0] - x) * (point[1] - y))) / spread) * 3600;
}

/** Middle values of both ends, since garbage is collected now and then. */
function memoryOver(samples, name) {
  const { head, tail } = ends(samples);
  const [first, last] = [head, tail].map((part) => median(part.map((one) => one[name])));
  const slope = slopePerHour(samples.map((one) => [one.atS, one[name]]));
  return { firstMB: megabytes(first), lastMB: megabytes(last), slopeKBPerHour: Math.round(slope / 1000) };
}

/** The fewest of both ends: while segments are sealed there are some more, and what leaks stays. */
function descriptorsOver(samples) {
  const [first, last] = Object.values(ends(samples)).map((part) => Math.min(...part.map((one) => one.descriptors)));
  return { first, last };
}

function ends(samples) {
  const count = Math.max(1, Math.round(samples.length * END_SHARE));
  return { head: samples.slice(0, count), tail: samples.slice(-count) };
}

function measured({ samples, last }) {
  const steady = samples.filter(({ atS }) => atS >= samples.at(-1).atS * WARM_UP_SHARE);
  const { online, ...counts } = counted(last.cameras);
  return {
    cameras: last.cameras.length,
    seconds: Math.round(samples.at(-1).atS),
    cpuPercentPerCamera: cpuPercent(steady[0], steady.at(-1), last.cameras.length),
    rss: memoryOver(steady, 'rss'),
    ffmpegPss: memoryOver(steady, 'ffmpegPss'),
    descriptors: descriptorsOver(steady),
    online,
    ...counts,
  };
}

/** What of the criteria does not hold while it is recorded, as sentences. */
function failuresOf({ cameras, online, reconnects, gaps, lostFrames, descriptors, rss }) {
  const [allowed, grown] = [
    Math.max(rss.firstMB * MOST_GROWTH_SHARE, MOST_GROWTH_BYTES / 1e6),
    rss.lastMB - rss.firstMB,
  ];
  const opened = descriptors.last - descriptors.first;
  return [
    online < cameras && `${cameras - online} cameras were not recorded in the end`,
    reconnects > 0 && `${reconnects} reconnects`,
    gaps > 0 && `${gaps} gaps`,
    lostFrames > 0 && `${lostFrames} lost frames`,
    opened > MOST_DESCRIPTORS && `${opened} descriptors more than in the beginning (${MOST_DESCRIPTORS} are allowed)`,
    grown > allowed && `memory grew by ${grown.toFixed(1)} MB (${allowed.toFixed(1)} are allowed)`,
  ].filter(Boolean);
}

async function verify(archive) {
  try {
    const lines = (await footage(['verify', '--archive', archive, '--json'])).trim().split('\n');
    return JSON.parse(lines.at(-1)).summary;
  } catch (error) {
    return { failed: error.message };
  }
}

/** Pictures per second as they came, by the clock of this machine. */
function picturesPerSecond({ first, last }, i) {
  const pictures = ({ cameras }) => cameras[i].tracks.find(({ kind }) => kind === 'video')?.frames ?? 0;
  return (pictures(last) - pictures(first)) / (last.atS - first.atS);
}

/** A random minute of a camera, as ffprobe reads it; `failed` says what is wrong with it. */
async function exportMinute(folder, { name, spans, gaps }, expectedPerSecond) {
  const [fromMs, toMs] = [spans[0].startUtcMs, spans.at(-1).endUtcMs - EXPORT_S * 1000];
  const start = new Date(fromMs + Math.random() * Math.max(0, toMs - fromMs)).toISOString();
  const result = { camera: name, spans: spans.length, gaps: gaps.length, start };
  const file = join(folder, `${name}.mp4`);
  try {
    const range = ['--start', start, '--duration', String(EXPORT_S), '-o', file];
    await footage(['export', '--archive', join(folder, 'archive'), '--camera', name, ...range]);
    const found = await shownIn(file);
    const expected = Math.round(expectedPerSecond * EXPORT_S);
    return { ...result, ...found, expected, failed: exportFailure(found, { gaps, expected, expectedPerSecond }) };
  } catch (error) {
    return { ...result, failed: error.message };
  } finally {
    await rm(file, { force: true });
  }
}

function exportFailure({ pictures, audioSeconds }, { gaps, expected, expectedPerSecond }) {
  if (gaps.length > 0) return `its timeline has ${gaps.length} gaps`;
  if (Math.abs(pictures - expected) > expectedPerSecond * EXPORT_TOLERANCE_S)
    return `${pictures} pictures in a minute, ${expected} are expected`;
  if (audioSeconds !== null && Math.abs(audioSeconds - EXPORT_S) > EXPORT_TOLERANCE_S)
    return `${audioSeconds} s of sound in a minute`;
  return undefined;
}

/** Pictures that are shown, the longest time from one to the next, and how long the sound is (null: there is none). */
async function shownIn(file) {
  const show = ['-show_entries', 'packet=codec_type,pts_time,duration_time,flags'];
  const { packets } = JSON.parse(await run('ffprobe', ['-v', 'error', ...show, '-of', 'json', file]));
  // D: decoded only for what follows.
  const shown = packets.filter(({ flags }) => !flags.includes('D'));
  const of = (kind) => shown.filter(({ codec_type }) => codec_type === kind);
  const times = of('video')
    .map(({ pts_time }) => Number(pts_time))
    .toSorted((a, b) => a - b);
  const sound = of('audio').map(({ duration_time }) => Number(duration_time));
  return {
    pictures: times.length,
    longestStepMs: Math.round(1000 * Math.max(0, ...times.slice(1).map((time, i) => time - times[i]))),
    audioSeconds: sound.length === 0 ? null : rounded(total(sound), 2),
  };
}

async function record(folder, { names, seconds, inputs }) {
  await requireRoom(folder, EXPECTED_BYTES_PER_SECOND * names.length, seconds);
  const camera = inputs.length > 0 ? undefined : await startCamera(folder);
  try {
    const recorder = await startRecorder(folder, names, camera === undefined ? inputs : [camera.url]);
    try {
      await allOnline(recorder, names);
      return await watch(recorder, { names, seconds, folder });
    } finally {
      await recorder.stop();
    }
  } finally {
    camera?.stop();
  }
}

async function soak(folder, { cameras, seconds, inputs }) {
  const names = Array.from({ length: cameras }, (_, i) => `camera-${i + 1}`);
  // The tree may change in the hours of a run: this is what was started.
  const began = await provenance();
  const seen = await record(folder, { names, seconds, inputs });
  const archive = join(folder, 'archive');
  const result = { run: began, ...measured(seen), verify: await verify(archive), exports: [] };
  const listed = JSON.parse(await footage(['list', '--archive', archive, '--json'])).cameras;
  for (const [i, name] of names.entries()) {
    const rate = inputs.length > 0 ? picturesPerSecond(seen, i) : PICTURES_PER_SECOND;
    const camera = listed.find((one) => one.name === name);
    result.exports.push(await exportMinute(folder, camera, rate));
  }
  const failures = failuresOf(result);
  const { bad, failed = bad > 0 ? `${bad} files with problems` : undefined } = result.verify;
  if (failed !== undefined) failures.push(`verify: ${failed}`);
  for (const one of result.exports) if (one.failed !== undefined) failures.push(`${one.camera}: ${one.failed}`);
  return { ...result, failures };
}

function printSummary({ exports, failures, ...result }) {
  for (const [name, value] of Object.entries(result)) console.log(`${name}: ${textOf(value)}`);
  for (const { failed: _failed, ...one } of exports) console.log(`export of ${textOf(one)}`);
  for (const failure of failures) console.log(`FAILED: ${failure}`);
  console.log(failures.length === 0 ? 'all held' : `${failures.length} failed`);
}

function textOf(value) {
  if (value === null || typeof value !== 'object') return String(value);
  return Object.entries(value)
    .map(([name, one]) => `${name} ${one}`)
    .join(', ');
}

async function main() {
  const { json, ...options } = settings();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => ending.abort());
  const folder = await mkdtemp(join(tmpdir(), 'footage-cameras-'));
  let failed = true;
  try {
    const result = await soak(folder, options);
    failed = result.failures.length > 0;
    if (json) console.log(JSON.stringify(result));
    else printSummary(result);
  } catch (error) {
    console.error(`camera-soak: ${error.message}`);
  }
  const worthKeeping = failed && readdirSync(folder).includes('archive');
  if (worthKeeping) console.error(`camera-soak: the archive is kept: ${join(folder, 'archive')}`);
  else await rm(folder, { recursive: true, force: true });
  process.exitCode = failed ? 1 : 0;
}

await main();
