/**
 * What planning costs as ranges grow: an hour, a day and 30 days of 30 pictures a second with sound, from a warm catalog
 * and page cache. Each measurement in a process of its own: one plan by the library, and a request to `footage serve`,
 * followed by random byte ranges of the same answer. A warm catalog is that of a server which has been asked for other
 * ranges of the camera before; beside it stands the first byte of a process that has never seen the camera. FFmpeg's
 * concat demuxer joins the same sealed files.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { buildClient } from './client.mjs';
import { CAMERA, HOUR_MS, SMALL_CAMERA, START_UTC_MS, longArchive, longSegments } from './make-long-archive.mjs';
import {
  CLI,
  ROOT,
  alternate,
  cpuSeconds,
  lowerQuartile,
  progress,
  run,
  startServer,
  table,
  withFolder,
} from './support.mjs';

export const title = 'Planning of long ranges';

const RANGES = { '1 h': 1, '24 h': 24, '30 days': 30 * 24 };
/** Ranges that are also downloaded whole, and made by FFmpeg: a file of 30 days is beyond any player. */
const WHOLE = ['1 h', '24 h'];
/** Ranges begin in the middle of a segment, a picture and a frame of sound. */
const FIRST_UTC_MS = START_UTC_MS + HOUR_MS / 2 + 12_345;
/** What a cold process has answered: a second of another camera. */
const COLD = [{ camera: SMALL_CAMERA, start: START_UTC_MS / 1000, duration: 1 }];
/**
 * What a warm one has: besides, other hours and other months of this camera. None begins or ends in a segment in which a
 * measured one does: those are looked into for the first time.
 */
const WARM = [...COLD, ...otherRanges(30, 1), ...otherRanges(5, 30 * 24 - 130)];
const RANGE_BYTES = 2 ** 20;
const RANDOM_RANGES = 25;
/** What the project promises for 30 days. */
const FIRST_BYTE_MS = 50;
const MEMORY_BYTES = 10e6;

export async function measure({ rounds }) {
  const archive = await longArchive();
  await readAll(longSegments(archive));
  return withFolder(async (folder) => {
    const client = await buildClient(folder);
    const plans = await alternate(
      rounds,
      eachRange((name) => planOnce(archive, name)),
    );
    const answers = await alternate(
      rounds,
      eachRange((name) => serveOnce(archive, name, client)),
    );
    checkSame(plans, answers);
    const peerRounds = Math.ceil(rounds / 3);
    const peers = await alternate(peerRounds, peersOf(archive, folder));
    return report({ plans, answers, peers, rounds, peerRounds });
  });
}

function eachRange(body) {
  return Object.fromEntries(Object.keys(RANGES).map((name) => [name, () => body(name)]));
}

/** Into the page cache. */
async function readAll(files) {
  for (const [i, file] of files.entries()) {
    await readFile(file);
    progress(`reading the archive: ${i + 1} of ${files.length}`);
  }
}

function requestOf(name) {
  return { camera: CAMERA, start: FIRST_UTC_MS / 1000, duration: (RANGES[name] * HOUR_MS) / 1000 };
}

function otherRanges(count, hours) {
  return Array.from({ length: count }, (_, i) => {
    const startUtcMs = FIRST_UTC_MS + (100 + i) * HOUR_MS + i * 61_000;
    return { camera: CAMERA, start: startUtcMs / 1000, duration: (hours * HOUR_MS) / 1000 };
  });
}

function pathOf({ camera, start, duration }) {
  return `/api/cameras/${camera}/export.mp4?start=${start}&duration=${duration}`;
}

async function planOnce(archive, name) {
  const requests = JSON.stringify([...WARM, requestOf(name)]);
  const child = join(ROOT, 'bench', 'plan-child.mjs');
  return JSON.parse(await run(process.execPath, ['--expose-gc', child, archive, requests]));
}

/** Time to the first byte of an answer, random ranges of it, and for some ranges all of it. */
async function serveOnce(archive, name, client) {
  const path = pathOf(requestOf(name));
  const cold = await withServer(archive, COLD, (server) => get(server, path));
  const first = await withServer(archive, WARM, async (server) => {
    const answer = await get(server, path);
    if (answer.status !== 200) return { refused: JSON.parse(answer.body.toString()).error.code };
    const length = Number(answer.headers.get('content-length'));
    const told = { coldFirstByteMs: cold.firstByteMs, length, etag: answer.headers.get('etag') };
    return { ...answer, ...told, ...(await randomRanges(server, path, length)) };
  });
  if (first.refused !== undefined || !WHOLE.includes(name)) return first;
  return { ...first, ...(await withServer(archive, WARM, (server) => download(server, path, client))) };
}

/** A server that has answered `before`. */
async function withServer(archive, before, body) {
  const server = await startServer('footage', process.execPath, [
    CLI,
    'serve',
    '--archive',
    archive,
    '--port',
    '0',
    '--scrub',
    'off',
  ]);
  try {
    for (const request of before) await get(server, pathOf(request));
    return await body(server);
  } finally {
    await server.stop();
  }
}

async function download(server, path, client) {
  const before = cpuSeconds(server.pid);
  const [, seconds] = (await run(client, [String(server.port), path])).trim().split(' ').map(Number);
  return { wholeCpuS: cpuSeconds(server.pid) - before, wholeS: seconds };
}

/**
 * GETs a range of bytes, or without a range the answer up to its first bytes: status, headers, body, and the milliseconds
 * to the first byte of the body and to the last.
 */
async function get({ port }, path, range) {
  const begin = performance.now();
  const socket = connect(port, '127.0.0.1');
  const field = range === undefined ? '' : `Range: bytes=${range.start}-${range.end - 1}\r\n`;
  socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\n${field}Connection: close\r\n\r\n`);
  const chunks = [];
  let headBytes;
  let firstByteMs;
  for await (const chunk of socket) {
    chunks.push(chunk);
    headBytes ??= headBytesOf(chunks);
    if (headBytes === undefined) continue;
    firstByteMs ??= performance.now() - begin;
    if (range === undefined) break;
  }
  const ms = performance.now() - begin;
  const bytes = Buffer.concat(chunks);
  return { ...parseHead(bytes.toString('latin1', 0, headBytes)), body: bytes.subarray(headBytes), firstByteMs, ms };
}

/** Bytes of the head of an answer; undefined before a byte of its body has come. */
function headBytesOf(chunks) {
  const bytes = Buffer.concat(chunks);
  const end = bytes.indexOf('\r\n\r\n') + 4;
  return end >= 4 && bytes.length > end ? end : undefined;
}

function parseHead(text) {
  const [status, ...fields] = text.trimEnd().split('\r\n');
  const headers = new Map(fields.map((field) => [field.split(':')[0].toLowerCase(), field.replace(/^[^:]*:\s*/, '')]));
  return { status: Number(status.split(' ')[1]), headers };
}

/** Random ranges in front of the media data and in it: milliseconds, and bytes the server read beyond those it sent. */
async function randomRanges(server, path, length) {
  const headerBytes = await headerBytesOf(server, path);
  writeFileSync(`/proc/${server.pid}/clear_refs`, '5');
  const before = memoryBytes(server.pid, 'VmRSS');
  const random = generator(RANDOM_RANGES);
  const inHeader = await timeRanges(server, path, () => within(0, headerBytes, random));
  const inMedia = await timeRanges(server, path, () => within(headerBytes, length, random));
  return { headerBytes, inHeader, inMedia, servePeakBytes: Math.max(0, memoryBytes(server.pid, 'VmHWM') - before) };
}

/** Where the first picture's bytes are: behind `ftyp`, `moov` and the header of `mdat`. */
async function headerBytesOf(server, path) {
  const { body } = await get(server, path, { start: 0, end: 64 });
  const ftyp = body.readUInt32BE(0);
  const short = body.readUInt32BE(ftyp);
  if (body.toString('latin1', ftyp + 4, ftyp + 8) !== 'moov') throw new Error('the answer has no moov behind ftyp');
  return ftyp + (short === 1 ? Number(body.readBigUInt64BE(ftyp + 8)) : short);
}

function within(from, to, random) {
  const start = from + Math.floor(random() * Math.max(0, to - from - RANGE_BYTES));
  return { start, end: Math.min(to, start + RANGE_BYTES) };
}

/** Numbers from 0 to 1, the same in every run (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function timeRanges(server, path, next) {
  const times = [];
  let beyond = 0;
  for (let i = 0; i < RANDOM_RANGES; i++) {
    const range = next();
    const before = bytesRead(server.pid);
    const { status, body, ms } = await get(server, path, range);
    if (status !== 206 || body.length !== range.end - range.start) {
      throw new Error(`bytes ${range.start} to ${range.end} were answered with ${status} and ${body.length} bytes`);
    }
    beyond += bytesRead(server.pid) - before - body.length;
    times.push(ms);
  }
  const sorted = times.toSorted((a, b) => a - b);
  return { medianMs: sorted[sorted.length >> 1], maxMs: sorted.at(-1), beyondBytes: beyond / RANDOM_RANGES };
}

/** Bytes that calls of a process have read so far; what sendfile takes from a file counts as well. */
function bytesRead(pid) {
  return Number(/^rchar: (\d+)/.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))[1]);
}

function memoryBytes(pid, name) {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
}

/** All processes must have planned the same answer. */
function checkSame(plans, answers) {
  for (const name of Object.keys(RANGES)) {
    const tags = [...plans[name], ...answers[name]].map(({ refused, etag, length }) => refused ?? `${etag} ${length}`);
    if (new Set(tags).size > 1) throw new Error(`the answers of ${name} differ: ${[...new Set(tags)].join(', ')}`);
  }
}

const FASTSTART = 'FFmpeg, one file (`+faststart`)';
const FRAGMENTS = 'FFmpeg, fragments into a pipe';

function peersOf(archive, folder) {
  const segments = longSegments(archive);
  const one = (name, body) => async () => {
    const list = join(folder, 'list.txt');
    await writeFile(
      list,
      segments
        .slice(0, RANGES[name])
        .map((path) => `file '${path}'\n`)
        .join(''),
    );
    return body(['-nostats', '-nostdin', '-benchmark', '-f', 'concat', '-safe', '0', '-i', list, '-c', 'copy'], folder);
  };
  const contestants = WHOLE.flatMap((name) => [
    [`${FASTSTART} ${name}`, one(name, concatToFile)],
    [`${FRAGMENTS} ${name}`, one(name, concatToPipe)],
  ]);
  return Object.fromEntries(contestants);
}

/** The file can be given out when it is whole: its header comes last and is moved to the front. */
async function concatToFile(args, folder) {
  const file = join(folder, 'joined.mp4');
  const { cpuS, wholeS } = await ffmpeg([...args, '-movflags', '+faststart', '-y', file]);
  return { cpuS, wholeS, firstByteMs: wholeS * 1000, bytes: (await stat(file)).size };
}

function concatToPipe(args) {
  return ffmpeg([...args, '-movflags', '+frag_keyframe+empty_moov', '-f', 'mp4', 'pipe:1']);
}

/** Runs FFmpeg and reads its output, which is thrown away. `-benchmark` makes it tell its CPU time. */
async function ffmpeg(args) {
  const begin = performance.now();
  const child = spawn('ffmpeg', ['-hide_banner', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  let text = '';
  child.stderr.on('data', (chunk) => (text += chunk));
  let firstByteMs;
  let bytes = 0;
  for await (const chunk of child.stdout) {
    firstByteMs ??= performance.now() - begin;
    bytes += chunk.length;
  }
  const [code] = await exited;
  const match = /utime=([\d.]+)s stime=([\d.]+)s/.exec(text);
  if (code !== 0 || match === null) throw new Error(`ffmpeg ended with ${code}: ${text}`);
  return { cpuS: Number(match[1]) + Number(match[2]), wholeS: (performance.now() - begin) / 1000, firstByteMs, bytes };
}

const ms = (value) => (value < 10 ? value.toFixed(2) : value.toFixed(0));
const kb = (value) => (value / 1e3).toFixed(value < 1e5 ? 1 : 0);
const mb = (value) => (value / 1e6).toFixed(value < 1e7 ? 2 : 0);
const refusal = (values) => values.find(({ refused }) => refused !== undefined)?.refused;
const quartile = (values, field) => lowerQuartile(values.map((value) => value[field]));

function report({ plans, answers, peers, rounds, peerRounds }) {
  return [
    `One camera, segments of an hour, 30 pictures a second (H.264, B-frames) and AAC; ranges begin and end inside a segment. ` +
      `Page cache warm. Every measurement in a process of its own that has answered ${WARM.length - 1} other ranges of the camera before (of an hour and of a month), ` +
      'so that its catalog is warm; the cold one only a second of another camera. ' +
      `Lower quartile of ${rounds} rounds. The first byte is that of the body, from \`connect\` on, of \`footage serve\`.\n`,
    planTable(plans, answers),
    '',
    growth(plans, answers),
    '',
    `Random ranges of 1 MiB, ${RANDOM_RANGES} in the header (all in front of the media data) and ${RANDOM_RANGES} in the media data, of the server that gave the first ` +
      'byte: milliseconds to the last byte (median, longest), and how much the server read beyond what it sent (less than nothing where the bytes came from memory).\n',
    rangeTable(answers),
    '',
    `The same segments joined by \`ffmpeg -f concat -c copy\` (whole files of an hour), lower quartile of ${peerRounds} rounds. ` +
      'Footage: a download of the whole answer, from a server that has not planned it.\n',
    peerTable(answers, peers),
  ].join('\n');
}

function planTable(plans, answers) {
  const head = [
    'range',
    'segments',
    'header MB',
    'planning CPU ms',
    'planning ms',
    'first slice ms',
    'first byte ms',
    'cold',
  ];
  const memory = ['kB read', 'kB from disk', 'MB held', 'MB peak'];
  const rows = Object.keys(RANGES).map((name) => {
    const refused = refusal(plans[name]);
    if (refused !== undefined) return [name, `refused: ${refused}`, ...Array.from({ length: 10 }, () => '')];
    const of = (field) => quartile(plans[name], field);
    const served = ['firstByteMs', 'coldFirstByteMs'].map((field) => quartile(answers[name], field));
    const times = [of('cpuMs'), of('planMs'), of('firstSliceMs'), ...served].map(ms);
    const sizes = [kb(of('readBytes')), kb(of('diskBytes')), mb(of('heldBytes')), mb(of('peakBytes'))];
    return [name, of('segments'), mb(quartile(answers[name], 'headerBytes')), ...times, ...sizes];
  });
  return table([...head, ...memory], rows);
}

/** What is compared between the shortest and the longest range. */
const GROWING = {
  segments: 'segments',
  'bytes of the answer': 'length',
  'planning CPU': 'cpuMs',
  'bytes read': 'readBytes',
  'memory held': 'heldBytes',
};

/** How the cost grows, and what is promised of the longest range. */
function growth(plans, answers) {
  const measured = Object.keys(RANGES).filter((name) => refusal(plans[name]) === undefined);
  const [shortest, longest] = [measured[0], measured.at(-1)];
  if (shortest === longest) return `Only ${shortest} was planned: there is no growth to tell.`;
  const times = (field) => (quartile(plans[longest], field) / quartile(plans[shortest], field)).toFixed(1);
  const rows = Object.entries(GROWING).map(([name, field]) => [name, `× ${times(field)}`]);
  const firstByte = quartile(answers[longest], 'firstByteMs');
  const peak = quartile(plans[longest], 'peakBytes');
  return [
    table([`${longest} / ${shortest}`, ''], rows),
    '',
    `${longest}: first byte after ${ms(firstByte)} ms (${verdict(firstByte < FIRST_BYTE_MS)} ${FIRST_BYTE_MS} ms), ` +
      `${mb(peak)} MB of memory at the peak (${verdict(peak < MEMORY_BYTES)} ${mb(MEMORY_BYTES)} MB).`,
  ].join('\n');
}

const verdict = (kept) => (kept ? 'under' : 'NOT under');

function rangeTable(answers) {
  const head = ['range', 'header: ms', 'longest', 'kB beyond', 'media: ms', 'longest', 'kB beyond', 'MB peak'];
  const rows = Object.keys(RANGES).map((name) => {
    const values = answers[name];
    const refused = refusal(values);
    if (refused !== undefined) return [name, `refused: ${refused}`, ...Array.from({ length: 6 }, () => '')];
    const cells = ['inHeader', 'inMedia'].flatMap((part) => {
      const of = (field) => lowerQuartile(values.map((value) => value[part][field]));
      return [ms(of('medianMs')), ms(of('maxMs')), kb(of('beyondBytes'))];
    });
    return [name, ...cells, mb(quartile(values, 'servePeakBytes'))];
  });
  return table(head, rows);
}

function peerTable(answers, peers) {
  const rows = WHOLE.flatMap((name) => {
    const theirs = [FASTSTART, FRAGMENTS].map((peer) => peerRow(name, peer, peers[`${peer} ${name}`], answers[name]));
    return [ownRow(name, answers[name]), ...theirs];
  });
  const head = [
    'range',
    '',
    'MB',
    'first byte ms',
    'CPU s of all',
    'elapsed s',
    'first byte, times ours',
    'CPU, times ours',
  ];
  return table(head, rows);
}

function ownRow(name, values) {
  const refused = refusal(values);
  if (refused !== undefined) return [name, 'Footage', `refused: ${refused}`, '', '', '', '', ''];
  const of = (field) => quartile(values, field);
  const cells = [mb(of('length')), ms(of('firstByteMs')), of('wholeCpuS').toFixed(3), of('wholeS').toFixed(3)];
  return [name, 'Footage', ...cells, '1', '1'];
}

function peerRow(name, peer, values, ours) {
  const of = (field) => quartile(values, field);
  const cells = [mb(of('bytes')), ms(of('firstByteMs')), of('cpuS').toFixed(3), of('wholeS').toFixed(3)];
  if (refusal(ours) !== undefined) return [name, peer, ...cells, '', ''];
  const times = (field, own) => (of(field) / quartile(ours, own)).toFixed(1);
  return [name, peer, ...cells, times('firstByteMs', 'firstByteMs'), times('cpuS', 'wholeCpuS')];
}
