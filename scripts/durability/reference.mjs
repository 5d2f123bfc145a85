/**
 * The same kills and power cuts for what people record with today: FFmpeg's segment muxer, as MP4 and as fragmented MP4
 * (a fragment per key picture), with real media read in real time.
 *
 * What is lost is measured in seconds of media: what FFmpeg said it had written (`-progress`) less what ffprobe can read
 * of the files afterwards.
 *
 * node scripts/durability/reference.mjs --input FILE [--kills 20] [--cuts 20] [--segment-seconds 10] [--run-seconds 60]
 *                                       [--seed N] [--json FILE]
 *
 * Needs FFmpeg; the cuts need what power-cuts.mjs needs. Nothing here can fail: it only measures.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { monotonicMs } from './clock.mjs';
import { FILE_SYSTEMS, Images } from './images.mjs';
import { randomFrom } from './random.mjs';

const exec = promisify(execFile);

const FORMATS = {
  mp4: [],
  'fragmented mp4': ['-segment_format_options', 'movflags=+frag_keyframe+empty_moov'],
};

const { values } = parseArgs({
  options: {
    input: { type: 'string' },
    kills: { type: 'string', default: '20' },
    cuts: { type: 'string', default: '20' },
    'segment-seconds': { type: 'string', default: '10' },
    'run-seconds': { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    json: { type: 'string' },
  },
});
if (values.input === undefined) {
  console.error('reference: name a media file with video as --input');
  process.exit(2);
}
const random = randomFrom(Number(values.seed));
const runMs = Number(values['run-seconds']) * 1000;

/** FFmpeg recording into a folder, and how much of it it said to have written, when. */
class Muxer {
  #program;
  #closed;
  #reports = [];

  constructor(format, folder) {
    const input = ['-re', '-stream_loop', '-1', '-i', values.input, '-map', '0', '-c', 'copy'];
    const segments = ['-f', 'segment', '-segment_time', values['segment-seconds'], '-segment_format', 'mp4'];
    const output = [...segments, ...FORMATS[format], '-reset_timestamps', '1', join(folder, '%05d.mp4')];
    const args = ['-v', 'error', '-nostdin', '-progress', 'pipe:1', '-stats_period', '0.1', ...input, ...output];
    this.#program = spawn('ffmpeg', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#closed = once(this.#program, 'close');
    createInterface({ input: this.#program.stdout }).on('line', (line) => this.#take(line));
  }

  #take(line) {
    const writtenS = Number(/^out_time_us=(\d+)$/.exec(line)?.[1]) / 1e6;
    if (writtenS > 0) this.#reports.push({ t: monotonicMs(), writtenS });
  }

  writtenSBy(atMs) {
    return this.#reports.findLast(({ t }) => t <= atMs)?.writtenS ?? 0;
  }

  /** @returns when; by then everything that it has said is read */
  async kill() {
    this.#program.kill('SIGKILL');
    await this.#closed;
    return monotonicMs();
  }
}

/** Seconds of video that ffprobe reads of a file; 0 if it cannot open it. */
async function readableS(file) {
  const args = ['-v', 'quiet', '-select_streams', 'v', '-show_packets', '-show_entries', 'packet=duration_time'];
  const found = await exec('ffprobe', [...args, '-of', 'csv=p=0', file], { maxBuffer: 2 ** 26 }).catch(() => undefined);
  const lines = (found?.stdout ?? '').split('\n');
  return lines.reduce((sum, line) => sum + (Number(line) || 0), 0);
}

async function lossOf(folder, writtenS) {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.mp4'));
  const readable = await Promise.all(names.map((name) => readableS(join(folder, name))));
  const total = readable.reduce((sum, seconds) => sum + seconds, 0);
  return {
    writtenS,
    // Sound is written a little ahead of pictures or behind them.
    lostS: Math.max(0, writtenS - total),
    files: names.length,
    unreadableFiles: readable.filter((seconds) => seconds === 0).length,
  };
}

async function killOnce(format) {
  const folder = await mkdtemp(join(tmpdir(), 'footage-reference-'));
  try {
    const muxer = new Muxer(format, folder);
    await sleep(2000 + random() * (runMs / 2));
    const killedMs = await muxer.kill();
    return { test: 'kill', format, ...(await lossOf(folder, muxer.writtenSBy(killedMs))) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function killAll(count) {
  const formats = Object.keys(FORMATS);
  return Promise.all(Array.from({ length: count }, (_, i) => killOnce(formats[i % formats.length])));
}

/** One file system with a muxer of each format, cut at random moments of the run. */
async function cutImage(images, fileSystem, count) {
  const image = await images.make(fileSystem);
  const muxers = Object.keys(FORMATS).map((format, i) => {
    mkdirSync(join(image.path, String(i)));
    return { format, folder: String(i), muxer: new Muxer(format, join(image.path, String(i))) };
  });
  const beganMs = monotonicMs();
  const moments = Array.from({ length: count }, () => 2000 + random() * runMs).toSorted((a, b) => a - b);
  const results = [];
  try {
    for (const moment of moments) {
      await sleep(Math.max(0, beganMs + moment - monotonicMs()));
      await images.withCut(image, random, async (path, { beforeMs }) => {
        for (const { format, folder, muxer } of muxers) {
          const loss = await lossOf(join(path, folder), muxer.writtenSBy(beforeMs));
          results.push({ test: 'power cut', fileSystem, format, ...loss });
        }
      });
    }
  } finally {
    for (const { muxer } of muxers) await muxer.kill();
    await image.close();
  }
  return results;
}

async function cutAll(count) {
  const images = new Images('reflink');
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => (images.close(), process.exit(1)));
  try {
    const perImage = Math.ceil(count / FILE_SYSTEMS.length);
    const all = await Promise.all(FILE_SYSTEMS.map((fileSystem) => cutImage(images, fileSystem, perImage)));
    return all.flat();
  } finally {
    images.close();
  }
}

const tenths = (seconds) => Math.round(seconds * 10) / 10;

const kindOf = ({ test, fileSystem, format }) => `${test} ${fileSystem} ${format}`;

function summaryOf(results) {
  return [...new Set(results.map(kindOf))].map((kind) => {
    const group = results.filter((one) => kindOf(one) === kind);
    const [{ test, fileSystem, format }] = group;
    const losses = group.map(({ lostS }) => lostS);
    return {
      ...{ test, fileSystem, format, runs: group.length },
      meanLostS: tenths(losses.reduce((sum, loss) => sum + loss, 0) / group.length),
      largestLostS: tenths(Math.max(...losses)),
      unreadableFiles: group.reduce((sum, one) => sum + one.unreadableFiles, 0),
    };
  });
}

/** What FFmpeg holds back in its buffers is so many seconds of it. */
async function bitRateOf(file) {
  const { stdout } = await exec('ffprobe', ['-v', 'error', '-show_entries', 'format=bit_rate', '-of', 'csv=p=0', file]);
  return Number(stdout);
}

async function main() {
  const kills = await killAll(Number(values.kills));
  const cuts = Number(values.cuts) > 0 ? await cutAll(Number(values.cuts)) : [];
  const results = [...kills, ...cuts];
  const summary = {
    seed: Number(values.seed),
    segmentS: Number(values['segment-seconds']),
    bitsPerSecond: await bitRateOf(values.input),
    summary: summaryOf(results),
  };
  console.log(JSON.stringify(summary, undefined, 1));
  if (values.json !== undefined) await writeFile(values.json, JSON.stringify({ ...summary, results }, undefined, 1));
}

await main();
