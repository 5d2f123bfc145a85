/**
 * CPU of the server process per gigabyte of one export over loopback, from a warm page cache: Footage with its addon,
 * Footage without (FOOTAGE_NATIVE=0), a node:http server that pipes the exported file, and nginx with sendfile, twice,
 * so that the second shows what differences mean nothing. The servers are checked to deliver the same bytes.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { makeArchive } from './archive.mjs';
import { buildClient, transfer } from './client.mjs';
import { NGINX, NGINX_AGAIN, OURS, PIPE, TWIN, checkEqual, startAll, stopAll } from './peers.mjs';
import { alternate, cpuSeconds, fromTo, lowerQuartile, table, withFolder } from './support.mjs';

export const title = 'CPU of one export';

/** Smallest mean size of a sendfile call that counts as zero-copy in long strides. */
const STRIDE_BYTES = 64 * 1024;

export async function measure({ bytes, rounds }) {
  return withFolder(async (folder) => {
    const client = await buildClient(folder);
    const recorded = await makeArchive(folder, bytes);
    const servers = await startAll(folder, recorded);
    try {
      const hash = await checkEqual(Object.values(servers), folder);
      const { cpu, speed, size } = await measureAll(client, servers, rounds);
      const calls = await traceCalls(client, servers[OURS]);
      return report({ cpu, speed, size, hash, calls, rounds });
    } finally {
      await stopAll(Object.values(servers));
    }
  });
}

async function measureAll(client, servers, rounds) {
  const speed = Object.fromEntries(Object.keys(servers).map((name) => [name, []]));
  let size = 0;
  const measureOne = (name) => async () => {
    const before = cpuSeconds(servers[name].pid);
    const { bytes, seconds } = await transfer(client, servers[name]);
    size = bytes;
    speed[name].push(seconds / (bytes / 1e9));
    return (cpuSeconds(servers[name].pid) - before) / (bytes / 1e9);
  };
  const contestants = Object.fromEntries(Object.keys(servers).map((name) => [name, measureOne(name)]));
  const cpu = await alternate(rounds, contestants);
  return { cpu, speed, size };
}

/** Calls, bytes and bytes per call of one transfer, by system call, as strace sees them. */
export async function traceCalls(client, server) {
  const log = `${client}.strace`;
  const names = 'sendfile,splice,write,writev,sendmsg,sendto,read,pread64,readv,preadv2';
  const strace = spawn('strace', ['-f', '-qq', '-e', `trace=${names}`, '-o', log, '-p', String(server.pid)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const attached = new Promise((resolve) => setTimeout(resolve, 1000));
  await Promise.race([attached, once(strace, 'exit').then(() => Promise.reject(new Error('strace could not attach')))]);
  const { bytes } = await transfer(client, server);
  strace.kill('SIGINT');
  await once(strace, 'exit');
  return { bytes, byCall: countCalls(await readFile(log, 'utf8')) };
}

/** Sums the results of a log of strace; a call that was interrupted by another thread ends in its `resumed` line. */
export function countCalls(log) {
  const calls = new Map();
  for (const line of log.split('\n')) {
    const match = /^\d+\s+(?:<\.\.\. )?(\w+)(?:\(| resumed>).*= (\d+)$/.exec(line);
    // Calls that this strace has no name for are shown whatever the filter is.
    if (!match || match[1].startsWith('syscall_')) continue;
    const [, name, result] = match;
    const entry = calls.get(name) ?? { calls: 0, bytes: 0 };
    calls.set(name, { calls: entry.calls + 1, bytes: entry.bytes + Number(result) });
  }
  return calls;
}

function report({ cpu, speed, size, hash, calls, rounds }) {
  const quartile = Object.fromEntries(Object.entries(cpu).map(([name, values]) => [name, lowerQuartile(values)]));
  const rows = Object.entries(quartile).map(([name, value]) => [
    name,
    value.toFixed(3),
    fromTo(cpu[name]),
    lowerQuartile(speed[name]).toFixed(3),
  ]);
  const ratio = (a, b) => [`${a} / ${b}`, (quartile[a] / quartile[b]).toFixed(2)];
  const ratios = [ratio(OURS, NGINX), ratio(NGINX_AGAIN, NGINX), ratio(OURS, PIPE), ratio(TWIN, PIPE)];
  return [
    `One export of ${(size / 1e9).toFixed(2)} GB over loopback to one client, warm page cache (all files read in the same way), lower quartile of ${rounds} ` +
      `alternating rounds. All servers delivered the same bytes (SHA-256 \`${hash.slice(0, 16)}…\`).\n`,
    table(['server', 'CPU-s/GB', 'from–to', 'elapsed s/GB'], rows),
    '',
    table(['ratio of CPU', ''], ratios),
    '',
    describeCalls(calls),
  ].join('\n');
}

function describeCalls({ bytes, byCall }) {
  const rows = [...byCall].map(([name, entry]) => [
    name,
    entry.calls,
    entry.bytes,
    entry.calls === 0 ? 0 : Math.round(entry.bytes / entry.calls),
  ]);
  const sent = byCall.get('sendfile') ?? { calls: 0, bytes: 0 };
  const share = (100 * sent.bytes) / bytes;
  const strides = sent.calls > 0 && sent.bytes / sent.calls > STRIDE_BYTES;
  const verdict = strides ? 'more than 64 KiB per call' : 'NOT more than 64 KiB per call';
  return [
    `System calls of Footage during one such export (\`strace -f\`): ${share.toFixed(2)} % of the bytes by sendfile, ${verdict}.\n`,
    table(['call', 'calls', 'bytes', 'bytes per call'], rows),
  ].join('\n');
}
