/**
 * CPU of the server process per gigabyte when 1, 8 or 64 clients take all they can get, over loopback and from a warm page
 * cache. Each client downloads its own part of one export; the whole request is in the figure, planning and all.
 */
import { makeArchive } from './archive.mjs';
import { buildClient, transfer } from './client.mjs';
import { NGINX, OURS, PIPE, checkEqual, lengthOf, startAll, stopAll } from './peers.mjs';
import { alternate, cpuSeconds, fromTo, lowerQuartile, table, withFolder } from './support.mjs';

export const title = 'CPU of fast clients';

const CLIENTS = [1, 8, 64];
/** What a client downloads, at the least: a minute of 30 Mbit/s, or eight of 4 Mbit/s. Requests are measured apart. */
const MIN_PART_BYTES = 230e6;
/** What a request costs is measured with so many clients at once, of so few bytes each, one burst after the other. */
const BURST = { count: 64, part: 1000, bursts: 8 };

export async function measure({ bytes, rounds }) {
  return withFolder(async (folder) => {
    const client = await buildClient(folder);
    const recorded = await makeArchive(folder, bytes);
    const servers = await startAll(folder, recorded);
    try {
      const hash = await checkEqual(Object.values(servers), folder);
      const length = await lengthOf(servers[OURS]);
      const sections = [];
      for (const count of CLIENTS) sections.push(await measureClients(client, servers, { count, length, rounds }));
      sections.push(await measureRequests(client, servers, { length, rounds }));
      return [introduction(length, hash, rounds), ...sections].join('\n\n');
    } finally {
      await stopAll(Object.values(servers));
    }
  });
}

async function measureClients(client, servers, { count, length, rounds }) {
  const part = Math.min(length, Math.max(Math.floor(length / count), MIN_PART_BYTES));
  const options = ['-n', count, '-s', part, '-f', length];
  const elapsed = Object.fromEntries(Object.keys(servers).map((name) => [name, []]));
  const once = (name) => async () => {
    const before = cpuSeconds(servers[name].pid);
    const { bytes, seconds } = await transfer(client, servers[name], options);
    const cpu = cpuSeconds(servers[name].pid) - before;
    if (bytes !== count * part) throw new Error(`${name} sent ${bytes} bytes instead of ${count} times ${part}`);
    elapsed[name].push(seconds / (bytes / 1e9));
    return cpu / (bytes / 1e9);
  };
  const cpu = await alternate(rounds, Object.fromEntries(Object.keys(servers).map((name) => [name, once(name)])));
  return report({ cpu, elapsed, count, part });
}

/** What it takes to accept a connection, plan and send the first bytes: in the figures above as well. */
async function measureRequests(client, servers, { length, rounds }) {
  const { count, part, bursts } = BURST;
  const once = (name) => async () => {
    const before = cpuSeconds(servers[name].pid);
    for (let burst = 0; burst < bursts; burst++) {
      await transfer(client, servers[name], ['-n', count, '-s', part, '-f', length]);
    }
    return ((cpuSeconds(servers[name].pid) - before) * 1000) / (bursts * count);
  };
  const cpu = await alternate(rounds, Object.fromEntries(Object.keys(servers).map((name) => [name, once(name)])));
  const rows = Object.entries(cpu).map(([name, values]) => [
    name,
    lowerQuartile(values).toFixed(2),
    fromTo(values),
    (lowerQuartile(values) / lowerQuartile(cpu[NGINX])).toFixed(2),
  ]);
  return (
    `What a request costs besides its bytes: ${count} new connections at once, ${part} bytes each:\n\n` +
    table(['server', 'CPU ms per request', 'from–to', '/ nginx'], rows)
  );
}

function introduction(length, hash, rounds) {
  return (
    `Parts of one export of ${(length / 1e9).toFixed(2)} GB over loopback, warm page cache (all files read in the same ` +
    `way), clients that read as fast as they can, lower quartile of ${rounds} alternating rounds. All servers delivered ` +
    `the same bytes (SHA-256 \`${hash.slice(0, 16)}…\`).`
  );
}

function report({ cpu, elapsed, count, part }) {
  const quartile = Object.fromEntries(Object.entries(cpu).map(([name, values]) => [name, lowerQuartile(values)]));
  const rows = Object.entries(quartile).map(([name, value]) => [
    name,
    value.toFixed(3),
    fromTo(cpu[name]),
    lowerQuartile(elapsed[name]).toFixed(3),
    (value / quartile[NGINX]).toFixed(2),
    (value / quartile[PIPE]).toFixed(2),
  ]);
  const head = ['server', 'CPU-s/GB', 'from–to', 'elapsed s/GB', 'CPU / nginx', 'CPU / pipe'];
  const clients = count === 1 ? '1 client' : `${count} clients`;
  return `${clients}, ${(part / 1e6).toFixed(0)} MB each:\n\n${table(head, rows)}`;
}
