/**
 * Begins sessions and cuts them at random moments: the client resets, leaves, or reads no more; the server aborts, or
 * destroys the answer. Every byte that arrives is compared with the answer's own slices, also in those that are cut; the
 * sessions in front of a cut that comes too late, and those that nobody cuts, must be whole. In between, and at the end,
 * nothing may be left: descriptors, timers, libuv's handles, memory.
 *
 * node scripts/cut-sessions.mjs [--sessions 10000] [--native addon|twin] [--seed N] [--parallel 24] [--input FILE]
 *
 * Needs the build. Which session is cut how and where follows from the seed, which is printed; when the network gets
 * there does not. Prints `N sessions, N failed` at the end; exit status 1 if one failed. FOOTAGE_CUTS_MEMORY=0 skips the
 * limits of memory, for sanitizers, which keep what was freed.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openArchive } from '../dist/index.js';
import { loadAddon, twin } from '../dist/native.js';
import { bytesOf } from './answer-bytes.mjs';
import { converse } from './cut-client.mjs';
import { leftSince, memoryInUse, settledHoldings } from './leftovers.mjs';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
/** Two and a half times what the sockets of the loopback hold: a client that reads no more does stall its session. */
const ANSWER_BYTES = 24 * MIB;
/** A connection that has not come to its end by then hangs. */
const HANG_MS = 40_000;
/** Growth behind the second batch. Measured: within 1 MiB (heap) and 6 MiB (process); Node's own pools move. */
const MOST_GROWTH = { heap: 4 * MIB, process: 24 * MIB };

const CUTS = ['none', 'none', 'reset', 'leave', 'half-close', 'abort', 'destroy', 'stall'];

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '10000' },
    native: { type: 'string', default: 'addon' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    parallel: { type: 'string', default: '24' },
    input: { type: 'string', default: join(import.meta.dirname, '..', 'media', 'front-door.mp4') },
  },
});

/** Numbers in [0, 1): the same for the same connection, whatever happened to the others. */
function randomOf(connection) {
  let state = (Number(values.seed) * 1_000_003 + connection * 7919) >>> 0;
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  // The first numbers of neighbouring seeds are alike.
  for (let i = 0; i < 5; i++) next();
  return next;
}

const pick = (random, list) => list[Math.floor(random() * list.length)];

async function importUntil(archive, bytes) {
  const startMs = Date.parse('2026-01-31T12:00:00Z');
  for (let nextMs = startMs; ;) {
    const { endUtcMs } = await archive.import('door', values.input, { start: new Date(nextMs) });
    nextMs = Math.ceil(endUtcMs) + 1000;
    const session = await archive.session({ camera: 'door', start: new Date(startMs), end: new Date(nextMs) });
    if (session.length >= bytes) return session;
  }
}

// ---- What a connection does

/** Small ones are through before they can be cut, and make many; large ones are more than the sockets hold. */
function rangeOf(random, length, large) {
  const most = large ? length : pick(random, [2 * KIB, 512 * KIB, 4 * MIB]);
  const bytes = Math.max(1, Math.floor(large ? length * (0.5 + random() / 2) : random() * most));
  const start = Math.floor(random() * (length - bytes));
  return { start, end: start + bytes };
}

function senderOf(random, cut) {
  const softBarrier = pick(random, [64 * KIB, MIB, 128 * MIB]);
  const hardBarrier = softBarrier * pick(random, [1, 2, 4]);
  return { softBarrier, hardBarrier, idleTimeoutMs: cut === 'stall' ? 40 + Math.floor(random() * 80) : HANG_MS };
}

/** Of the last session of a connection: when so many bytes have arrived, ms after the connection, or after its begin. */
function momentOf(random, bytes) {
  const [never, soon] = [{ bytes: Infinity, connectedMs: Infinity, begunMs: Infinity }, random() * random()];
  switch (pick(random, ['bytes', 'connectedMs', 'begunMs'])) {
    case 'bytes':
      return { ...never, bytes: Math.floor(soon * bytes) };
    case 'connectedMs':
      return { ...never, connectedMs: soon * 30 };
    default:
      return { ...never, begunMs: soon * 10 };
  }
}

/** One to three sessions on a connection, and how and when it is cut. */
function planConnection(number, length) {
  const random = randomOf(number);
  const cut = pick(random, CUTS);
  const count = pick(random, [1, 1, 2, 3]);
  const isLarge = (i) => i === count - 1 && (cut === 'stall' || random() < 0.3);
  const sessions = Array.from({ length: count }, (_, i) => ({
    range: rangeOf(random, length, isLarge(i)),
    sender: senderOf(random, cut),
    rate: random() < 0.15 ? { bytesPerSecond: 50 * MIB, burstBytes: 256 * KIB } : { bytesPerSecond: 0 },
  }));
  const bytes = sessions.reduce((sum, { range }) => sum + range.end - range.start, 0);
  // What a client that stalls has read before must leave more than the sockets hold.
  const moment = momentOf(random, cut === 'stall' ? 2 * MIB : bytes);
  return { number, cut, sessions, moment, pipelined: random() < 0.4, slow: random() < 0.4 };
}

// ---- The server

class Exchanges {
  #session;
  #byPath = new Map();

  constructor(session) {
    this.#session = session;
  }

  add(connection) {
    connection.begun = [];
    connection.sessions.forEach((one, i) => this.#byPath.set(`/${connection.number}/${i}`, { connection, one }));
  }

  /** Between batches: the request of a client that has gone again may be read late. */
  forget() {
    this.#byPath.clear();
  }

  answer(req, res) {
    const { connection, one } = this.#byPath.get(req.url);
    const stop = new AbortController();
    one.abort = () => stop.abort(connection.reason);
    one.destroy = () => res.destroy();
    connection.begun.push(this.#send(one, res, stop.signal));
    if (one === connection.sessions.at(-1)) connection.onLastBegun();
  }

  async #send(one, res, signal) {
    const { range, sender, rate } = one;
    res.writeHead(206, { 'Content-Length': range.end - range.start });
    try {
      await this.#session.send(res, { range, sender, rate, signal });
      one.result = 'sent';
      res.end();
    } catch (error) {
      one.result = error;
      res.destroy();
    }
  }
}

// ---- The run

/** The watchdog of one connection. */
async function withinReason(work) {
  let timer;
  const hung = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it hangs')), HANG_MS);
  });
  try {
    return await Promise.race([work, hung]);
  } finally {
    clearTimeout(timer);
  }
}

/** @throws for a session that nobody cut and that is not whole, or that failed for another reason than its cut */
function check(connection, { whole }) {
  connection.sessions.forEach(({ result }, i) => {
    const byCut = connection.cut !== 'none' && (result === connection.reason || result?.code === 'E_CLIENT_GONE');
    if (result === undefined || result === 'sent' || byCut) return;
    throw new Error(`session ${i} failed: ${result.stack}`);
  });
  if (connection.cut === 'none' && whole < connection.sessions.length)
    throw new Error(`nobody cut it, yet ${whole} of its ${connection.sessions.length} answers are whole`);
}

async function runConnection({ port, exchanges, expected, tally }, connection) {
  connection.reason = new Error('cut');
  exchanges.add(connection);
  try {
    const reader = await withinReason(converse(connection, port, expected));
    check(connection, reader);
    tally.add(connection, reader);
  } catch (error) {
    tally.failed += connection.sessions.length;
    console.error(`connection ${connection.number} FAILED: ${error.stack}`);
    console.error(JSON.stringify(connection));
  }
}

class Tally {
  sessions = 0;
  failed = 0;
  #whole = 0;
  #bytes = 0;
  #cut = {};

  add({ sessions, cut }, { whole, bodyBytes }) {
    this.#whole += whole;
    this.#bytes += bodyBytes;
    this.#cut[cut] = (this.#cut[cut] ?? 0) + sessions.length - whole;
  }

  /** Ways to cut that have cut nothing: then this run has not shown what it should. */
  get untried() {
    return [...new Set(CUTS)].filter((cut) => cut !== 'none' && !(this.#cut[cut] > 0));
  }

  toString() {
    const cuts = Object.entries(this.#cut).filter(([, count]) => count > 0);
    const how = cuts.map(([cut, count]) => `${count} ${cut}`).join(', ');
    return `${this.sessions} sessions, ${this.#whole} whole, cut: ${how}; ${Math.round(this.#bytes / MIB)} MiB compared`;
  }
}

/** Runs connections until some `sessions` more have begun; between batches nothing is under way. */
async function runBatch(context, sessions, next) {
  const end = context.tally.sessions + sessions;
  const worker = async () => {
    while (context.tally.sessions < end) {
      const connection = next();
      context.tally.sessions += connection.sessions.length;
      await runConnection(context, connection);
    }
  };
  await Promise.all(Array.from({ length: Number(values.parallel) }, worker));
}

/** Growth of a series, from the least of its first half to the least of its last third: pools fill up, a leak goes on. */
function growth(series) {
  const first = Math.min(...series.slice(0, Math.ceil(series.length / 2)));
  return Math.min(...series.slice(-Math.ceil(series.length / 3))) - first;
}

const show = (bytes) => `${(bytes / MIB).toFixed(1)} MiB`;

function checkMemory(samples) {
  const heap = growth(samples.map(({ heapBytes }) => heapBytes));
  const whole = growth(samples.map(({ processBytes }) => processBytes));
  console.log(`growth: heap ${show(heap)}, process ${show(whole)}`);
  if (process.env.FOOTAGE_CUTS_MEMORY === '0') return '';
  if (heap <= MOST_GROWTH.heap && whole <= MOST_GROWTH.process) return '';
  return `memory grows: ${samples.map(({ heapBytes, processBytes }) => `${show(heapBytes)}/${show(processBytes)}`).join(' ')}`;
}

/** Connections that the kernel has aborted for want of memory: what they carried is lost through no fault of a sender. */
function abortedByKernel() {
  const [names = '', counts = ''] = readFileSync('/proc/net/netstat', 'utf8').split('\n');
  return Number(counts.split(' ')[names.split(' ').indexOf('TCPAbortOnMemory')]);
}

/** Batches with a look at what is left after each; gives what was found wrong. */
async function runAll(context, next) {
  const samples = [];
  const sessions = Number(values.sessions);
  const batches = sessions < 2000 ? 6 : 12;
  let before;
  for (let batch = 0; batch < batches; batch++) {
    await runBatch(context, sessions / batches, next);
    // What is made once and kept (caches, pools) is there after the first batch.
    before ??= await settledHoldings();
    const left = await leftSince(before);
    if (left !== '') return `left after ${context.tally.sessions} sessions: ${left}`;
    context.exchanges.forget();
    samples.push(await memoryInUse());
  }
  return checkMemory(samples.slice(2));
}

async function withServer(session, body) {
  const exchanges = new Exchanges(session);
  const server = createServer((req, res) => exchanges.answer(req, res));
  server.keepAliveTimeout = HANG_MS;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await body(exchanges, server.address().port);
  } finally {
    server.close();
    // After a failure there may be connections that would keep it open.
    server.closeAllConnections();
    await once(server, 'close');
  }
}

async function cutSessions(folder) {
  const native = values.native === 'twin' ? twin : loadAddon();
  const archive = await openArchive(folder, { native });
  try {
    const session = await importUntil(archive, ANSWER_BYTES);
    const expected = await bytesOf(session);
    const tally = new Tally();
    let connections = 0;
    const next = () => planConnection(connections++, expected.length);
    const abortedBefore = abortedByKernel();
    const wrong = await withServer(session, (exchanges, port) => runAll({ port, exchanges, expected, tally }, next));
    const aborted = abortedByKernel() - abortedBefore;
    if (aborted > 0) console.log(`the kernel had no memory for TCP and aborted ${aborted}: run fewer in --parallel`);
    console.log(String(tally));
    return {
      tally,
      wrong: tally.untried.length > 0 ? `${wrong}no session was cut by: ${tally.untried.join(', ')}` : wrong,
    };
  } finally {
    await archive.close();
  }
}

async function main() {
  console.log(`cut-sessions: --native ${values.native} --seed ${values.seed} --parallel ${values.parallel}`);
  const folder = await mkdtemp(join(tmpdir(), 'footage-cuts-'));
  try {
    const { tally, wrong } = await cutSessions(folder);
    console.log(`${tally.sessions} sessions, ${tally.failed} failed${wrong === '' ? '' : `; ${wrong}`}`);
    process.exitCode = tally.failed > 0 || wrong !== '' ? 1 : 0;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
