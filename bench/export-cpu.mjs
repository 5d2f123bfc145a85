/**
 * CPU of the server process per gigabyte of one export over loopback, from a warm page cache: Footage with its addon,
 * Footage without (FOOTAGE_NATIVE=0), a node:http server that pipes the exported file, and nginx with sendfile, twice,
 * so that the second shows what differences mean nothing. The servers are checked to deliver the same bytes.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { exportPath, makeArchive, segmentFiles } from './archive.mjs';
import {
  CLI,
  ROOT,
  alternate,
  cpuSeconds,
  freePort,
  lowerQuartile,
  run,
  startServer,
  table,
  withFolder,
} from './support.mjs';

export const title = 'CPU of one export';

/** What is measured, in the order of the table; the last one repeats nginx. */
const OURS = 'Footage';
const TWIN = 'Footage, FOOTAGE_NATIVE=0';
const PIPE = 'createReadStream().pipe(res)';
const NGINX = 'nginx, sendfile';
const NGINX_AGAIN = 'nginx, sendfile (again)';

/** Smallest mean size of a sendfile call that counts as zero-copy in long strides. */
const STRIDE_BYTES = 64 * 1024;

export async function measure({ bytes, rounds }) {
  return withFolder(async (folder) => {
    const client = await buildClient(folder);
    const recorded = await makeArchive(folder, bytes);
    const servers = await startServers(folder, recorded);
    try {
      const hash = await checkEqual(Object.values(servers));
      const { cpu, speed, size } = await measureAll(client, servers, rounds);
      const calls = await traceCalls(client, servers[OURS]);
      return report({ cpu, speed, size, hash, calls, rounds });
    } finally {
      for (const server of Object.values(servers)) await server.stop();
    }
  });
}

/** Compiles the client that costs next to nothing. */
export async function buildClient(folder) {
  const client = join(folder, 'client');
  await run('gcc', ['-std=c17', '-O2', '-Wall', '-Wextra', '-o', client, join(ROOT, 'bench', 'client.c')]);
  return client;
}

async function startServers(folder, recorded) {
  const serve = [CLI, 'serve', '--archive', recorded.archive, '--port', '0'];
  const path = exportPath(recorded);
  const servers = {};
  servers[OURS] = await startServer(OURS, process.execPath, serve, { env: { FOOTAGE_NATIVE: '1' } });
  servers[TWIN] = await startServer(TWIN, process.execPath, serve, { env: { FOOTAGE_NATIVE: '0' } });
  for (const name of [OURS, TWIN]) servers[name].path = path;
  const file = join(folder, 'export.mp4');
  await download(servers[OURS], file);
  for (const one of [file, ...segmentFiles(recorded.archive)]) await readAnew(one);
  return { ...servers, ...(await startPeers(folder, file)) };
}

/**
 * Throws a file out of the page cache and reads it in again. How a file was written decides how its pages lie in memory,
 * and that decides what sendfile costs, up to a factor of two; so all contestants serve pages that were read.
 */
async function readAnew(file) {
  await run('dd', [`of=${file}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none']);
  await run('dd', [`if=${file}`, 'of=/dev/null', 'bs=1M', 'status=none']);
}

/** The servers of one ready-made file. */
export async function startPeers(folder, file) {
  const peers = {};
  const pipe = join(ROOT, 'bench', 'pipe-server.mjs');
  peers[PIPE] = { ...(await startServer(PIPE, process.execPath, [pipe, file])), path: '/' };
  for (const name of [NGINX, NGINX_AGAIN]) peers[name] = { ...(await startNginx(name, folder)), path: '/export.mp4' };
  return peers;
}

/** One worker, defaults otherwise (sendfile_max_chunk too), everything it writes in a folder of its own. */
async function startNginx(name, folder) {
  const prefix = join(folder, `${name.replaceAll(/\W+/g, '-')}`);
  await mkdir(prefix, { recursive: true });
  const port = await freePort();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${prefix}/${kind};`,
  );
  const configuration = `
    daemon off; worker_processes 1; pid ${prefix}/pid; error_log ${prefix}/error.log;
    ${process.getuid() === 0 ? 'user root;' : ''}
    events { worker_connections 2048; }
    http { access_log off; sendfile on; default_type video/mp4; ${temporary.join(' ')}
           server { listen 127.0.0.1:${port}; root ${folder}; } }`;
  const file = join(prefix, 'nginx.conf');
  await writeFile(file, configuration);
  const path = `${process.env.PATH}:/usr/sbin`;
  const args = ['-p', prefix, '-c', file, '-e', join(prefix, 'error.log')];
  return startServer(name, 'nginx', args, { port, env: { PATH: path } });
}

async function download({ port, path }, file) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  if (!response.ok) throw new Error(`export answered ${response.status}: ${await response.text()}`);
  await pipeline(response.body, createWriteStream(file));
}

/** The SHA-256 of every server's answer; they must be the same. */
async function checkEqual(servers) {
  const hashes = [];
  for (const { port, path } of servers) hashes.push(await hashOf(`http://127.0.0.1:${port}${path}`));
  if (new Set(hashes).size !== 1) throw new Error(`the servers deliver different bytes: ${hashes.join(' ')}`);
  return hashes[0];
}

async function hashOf(address) {
  const output = await run('bash', ['-c', 'set -o pipefail; curl -sSf "$1" | sha256sum', 'bash', address]);
  return output.split(' ')[0];
}

async function transfer(client, { port, path }, connections = 1) {
  const output = await run(client, [String(port), path, String(connections)]);
  const [bytes, seconds] = output.trim().split(' ').map(Number);
  return { bytes, seconds };
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
    `${Math.min(...cpu[name]).toFixed(3)}–${Math.max(...cpu[name]).toFixed(3)}`,
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
