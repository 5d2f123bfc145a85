/**
 * What 1,000 and 2,000 sessions in mid-answer cost the server besides CPU: memory after a forced collection, beside that of
 * as many idle keep-alive connections of node:http to the same server, and the delay of the event loop. Each row is from a
 * server of its own, which has served a few clients of the same kind before.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeArchive } from './archive.mjs';
import { buildClient, measureMiddle } from './client.mjs';
import { OURS, prepareFiles, startFootage, stopAll } from './peers.mjs';
import { clientOptions, startPaced } from './steady.mjs';
import { ROOT, progress, table, withFolder } from './support.mjs';

export const title = 'Memory and event loop of many clients';

const COUNTS = [1000, 2000];
const WARM_UP = { count: 50, seconds: 1 };
const IDLE = 'idle keep-alive';
/** node:http closes a connection that was idle for 5 s: all are to be measured before that. */
const IDLE_OPTIONS = ['-k', '-c', 2000, '-w', 0.2, '-t', 1];
const KINDS = [
  { kind: IDLE, pace: 'client', load: ({ server, count }) => idleLoad(server, count) },
  { kind: 'in mid-answer, paced by the client', pace: 'client', load: downloads },
  { kind: 'in mid-answer, paced by the server', pace: 'server', load: downloads },
];
const POLL_MS = 20;
const PROBE_TRIES = 500;

export async function measure({ bytes, seconds }) {
  return withFolder(async (folder) => {
    const client = await buildClient(folder);
    const recorded = await makeArchive(folder, bytes);
    const ours = await startFootage(OURS, recorded);
    await prepareFiles(folder, recorded, ours).finally(ours.stop);
    const rows = [];
    for (const count of COUNTS) {
      for (const one of KINDS) rows.push(await measureKind(one, count, { folder, recorded, client, seconds }));
    }
    return report(rows, seconds);
  });
}

function idleLoad(server, count) {
  return { target: { ...server, path: '/healthz' }, options: ['-n', count, ...IDLE_OPTIONS] };
}

async function downloads({ server, pace, count, seconds }) {
  return { target: server, options: await clientOptions(server, pace, { count, seconds }) };
}

async function measureKind({ kind, pace, load }, count, { folder, recorded, client, seconds }) {
  progress(`${count} clients, ${kind}`);
  const probe = join(folder, 'probe.json');
  const preload = `--import=${join(ROOT, 'bench', 'probe.mjs')}`;
  const env = { BENCH_PROBE: probe, NODE_OPTIONS: preload };
  const server = await startPaced(OURS, pace, { folder, recorded, env });
  try {
    await hold(client, await load({ server, pace, ...WARM_UP }), () => undefined);
    const before = await ask(server, probe);
    const answers = [];
    await hold(client, await load({ server, pace, count, seconds }), async () => {
      answers.push(await ask(server, probe));
    });
    const [held, over] = answers;
    return { kind, count, memory: perClient(before.memory, held.memory, count), delayMs: over.delayMs };
  } finally {
    await stopAll([server]);
  }
}

function hold(client, { target, options }, onBorder) {
  return measureMiddle(client, target, options, { onSteady: onBorder, onOver: onBorder });
}

/** What the probe in the server tells. */
async function ask({ pid }, probe) {
  await rm(probe, { force: true });
  process.kill(pid, 'SIGUSR2');
  for (let i = 0; i < PROBE_TRIES; i++) {
    const text = await readFile(probe, 'utf8').catch(() => undefined);
    if (text !== undefined) return JSON.parse(text);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error('the server did not answer the probe');
}

/** Bytes per client. */
function perClient(before, held, count) {
  const [heap, malloc, rss] = ['heap', 'malloc', 'rss'].map((key) => (held[key] - before[key]) / count);
  return { heap, malloc, rss };
}

function report(rows, seconds) {
  const cells = rows.map((row) => {
    const { memory, delayMs, kind, count } = row;
    const idle = rows.find((other) => other.count === count && other.kind === IDLE);
    const above = row === idle ? '' : kilobytes(memory.heap + memory.malloc - idle.memory.heap - idle.memory.malloc);
    const sizes = [memory.heap, memory.malloc].map(kilobytes);
    const delays = [delayMs.median, delayMs.p99, delayMs.longest].map((value) => value.toFixed(1));
    return [count, kind, ...sizes, above, kilobytes(memory.rss), ...delays];
  });
  const clients = ['clients', '', 'heap kB', 'malloc kB', 'above idle kB', 'resident kB'];
  return [
    'Per client, after forced collections: live bytes of the heap of V8, resident bytes of that of malloc, and both ' +
      'together above those of an idle connection; and all that is resident, with the room that V8 keeps for garbage. ' +
      `Delay of the event loop over ${seconds} s of the steady state (idle: 1 s).\n`,
    table([...clients, 'delay ms, median', '99 %', 'longest'], cells),
  ].join('\n');
}

function kilobytes(bytes) {
  return (bytes / 1e3).toFixed(1);
}
