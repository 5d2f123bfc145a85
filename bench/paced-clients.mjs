/**
 * CPU of the server process per gigabyte while 1,000 and 2,000 clients get 2 Mbit/s each: because they read no faster, and
 * because the server's limiter gives no more. Steady state, with the set-up apart.
 */
import { makeArchive } from './archive.mjs';
import { buildClient } from './client.mjs';
import { NGINX, NGINX_AGAIN, OURS, PIPE, checkEqual, prepareFiles, startFootage, stopAll } from './peers.mjs';
import { PACES, RATE, clientOptions, measureSteady, startPaced, summary } from './steady.mjs';
import { alternate, fromTo, table, withFolder } from './support.mjs';

export const title = 'CPU of paced clients';

const CASES = [
  { pace: 'client', count: 1000, names: [OURS, NGINX, NGINX_AGAIN], withPipe: true },
  { pace: 'client', count: 2000, names: [OURS, NGINX, NGINX_AGAIN] },
  { pace: 'server', count: 1000, names: [OURS, NGINX, NGINX_AGAIN] },
  { pace: 'server', count: 2000, names: [OURS, NGINX, NGINX_AGAIN] },
];
/** The pipe needs a whole core and is far off: more rounds would tell nothing. */
const PIPE_ROUNDS = 2;

export async function measure({ bytes, rounds, seconds }) {
  return withFolder(async (folder) => {
    const client = await buildClient(folder);
    const recorded = await makeArchive(folder, bytes);
    const hash = await prepare(folder, recorded);
    const sections = [];
    for (const one of CASES) sections.push(await measureCase(one, { folder, recorded, client, rounds, seconds }));
    return [introduction(hash, rounds, seconds), ...sections].join('\n\n');
  });
}

/** Puts the files in place and checks that all that is measured serves the same bytes. */
async function prepare(folder, recorded) {
  const ours = await startFootage(OURS, recorded);
  const started = [ours];
  try {
    await prepareFiles(folder, recorded, ours);
    for (const name of [NGINX, PIPE]) started.push(await startPaced(name, 'client', { folder, recorded }));
    return await checkEqual(started, folder);
  } finally {
    await stopAll(started);
  }
}

async function measureCase({ pace, count, names, withPipe = false }, context) {
  const results = {};
  const servers = {};
  try {
    for (const name of withPipe ? [...names, PIPE] : names) {
      servers[name] = await startPaced(name, pace, context);
      results[name] = [];
    }
    const options = await clientOptions(servers[OURS], pace, { count, seconds: context.seconds });
    const once = (name) => async () => {
      results[name].push(await measureSteady(context.client, servers[name], options));
    };
    await alternate(context.rounds, Object.fromEntries(names.map((name) => [name, once(name)])));
    if (withPipe) await alternate(Math.min(context.rounds, PIPE_ROUNDS), { [PIPE]: once(PIPE) });
  } finally {
    await stopAll(Object.values(servers));
  }
  return `${count} clients. ${PACES[pace].title}:\n\n${report(results, count)}`;
}

function introduction(hash, rounds, seconds) {
  return (
    `${(RATE * 8) / 1e6} Mbit/s (${RATE} bytes per second) for each client, each at its own place in one export, over ` +
    `loopback and from a warm page cache (all files read in the same way). Steady state of ${seconds} s, per gigabyte that ` +
    `the server handed to the kernel meanwhile; lower quartile of ${rounds} alternating rounds (of the pipe: at most ` +
    `${PIPE_ROUNDS}). Set-up: CPU of connecting, requests and filling the sockets, before that. Rates: slowest and fastest ` +
    `client of all rounds over 10 s, and the share of them within 10 %. All servers delivered the same bytes (SHA-256 ` +
    `\`${hash.slice(0, 16)}…\`).`
  );
}

function report(results, count) {
  const sums = Object.fromEntries(Object.entries(results).map(([name, rounds]) => [name, summary(rounds)]));
  const rows = Object.entries(sums).map(([name, one]) => [
    name,
    one.cpu.toFixed(3),
    fromTo(results[name].map(({ cpu }) => cpu)),
    (one.cpu / sums[NGINX].cpu).toFixed(2),
    ((one.setUpSeconds * 1000) / count).toFixed(2),
    (one.bytesPerSecond / 1e6).toFixed(0),
    `${(one.slowest / 1e3).toFixed(0)}–${(one.fastest / 1e3).toFixed(0)}`,
    `${(100 * one.withinShare).toFixed(1)} %`,
  ]);
  const head = [
    'server',
    'CPU-s/GB',
    'from–to',
    '/ nginx',
    'set-up ms/client',
    'MB/s',
    'kB/s of a client',
    'within 10 %',
  ];
  return table(head, rows);
}
