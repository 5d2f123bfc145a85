/**
 * Servers to measure: Footage with its addon and without, and what it is compared with, a node:http server that pipes the
 * exported file, and nginx with sendfile. All serve the same bytes, which is checked, from files that were read into the
 * page cache in the same way.
 */
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { exportPath, segmentFiles } from './archive.mjs';
import { CLI, ROOT, evict, freePort, run, startServer } from './support.mjs';

export const OURS = 'Footage';
export const TWIN = 'Footage, FOOTAGE_NATIVE=0';
export const PIPE = 'createReadStream().pipe(res)';
export const NGINX = 'nginx, sendfile';
/** Shows what differences mean nothing. */
export const NGINX_AGAIN = 'nginx, sendfile (again)';

const EXPORT = 'export.mp4';

/** `footage serve` of an archive of archive.mjs; `serve`: more of its options. */
export async function startFootage(name, recorded, { serve = [], env = {} } = {}) {
  // No peer reads its files again to check them.
  const args = [CLI, 'serve', '--archive', recorded.archive, '--port', '0', '--scrub', 'off', ...serve.map(String)];
  const native = name === TWIN ? '0' : '1';
  const server = await startServer(name, process.execPath, args, { env: { FOOTAGE_NATIVE: native, ...env } });
  return { ...server, path: exportPath(recorded) };
}

/** Writes what a server sends into `folder`, for the peers to serve, and puts all files alike into the page cache. */
export async function prepareFiles(folder, recorded, server) {
  await download(server, join(folder, EXPORT));
  for (const file of [join(folder, EXPORT), ...segmentFiles(recorded.archive)]) await readAnew(file);
}

async function download({ port, path }, file) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  if (!response.ok) throw new Error(`export answered ${response.status}: ${await response.text()}`);
  await pipeline(response.body, createWriteStream(file));
}

/**
 * Throws a file out of the page cache and reads it in again. How a file was written decides how its pages lie in memory,
 * and that decides what sendfile costs, up to a factor of two; so all contestants serve pages that were read.
 */
async function readAnew(file) {
  await evict(file);
  await run('dd', [`if=${file}`, 'of=/dev/null', 'bs=1M', 'status=none']);
}

export async function startPipe(folder) {
  const args = [join(ROOT, 'bench', 'pipe-server.mjs'), join(folder, EXPORT)];
  return { ...(await startServer(PIPE, process.execPath, args)), path: '/' };
}

/**
 * One worker, defaults otherwise (sendfile_max_chunk too), everything it writes in a folder of its own. `location`: more
 * directives.
 */
export async function startNginx(name, folder, location = '') {
  const port = await freePort();
  const prefix = join(folder, `${name.replaceAll(/\W+/g, '-')}${port}`);
  await mkdir(prefix, { recursive: true });
  const file = join(prefix, 'nginx.conf');
  await writeFile(file, configuration(prefix, port, folder, location));
  const path = `${process.env.PATH}:/usr/sbin`;
  const args = ['-p', prefix, '-c', file, '-e', join(prefix, 'error.log')];
  return { ...(await startServer(name, 'nginx', args, { port, env: { PATH: path } })), path: `/${EXPORT}` };
}

function configuration(prefix, port, root, location) {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${prefix}/${kind};`,
  );
  return `
    daemon off; worker_processes 1; worker_rlimit_nofile 16384; pid ${prefix}/pid; error_log ${prefix}/error.log;
    ${process.getuid() === 0 ? 'user root;' : ''}
    events { worker_connections 8192; }
    http { access_log off; sendfile on; default_type video/mp4; ${temporary.join(' ')}
           server { listen 127.0.0.1:${port}; root ${root}; ${location} } }`;
}

/** Starts all there is to compare, with the files of `prepareFiles`; by name, in the order of the tables. */
export async function startAll(folder, recorded) {
  const ours = await startFootage(OURS, recorded);
  await prepareFiles(folder, recorded, ours);
  return {
    [OURS]: ours,
    [NGINX]: await startNginx(NGINX, folder),
    [NGINX_AGAIN]: await startNginx(NGINX_AGAIN, folder),
    [TWIN]: await startFootage(TWIN, recorded),
    [PIPE]: await startPipe(folder),
  };
}

/** Checks that every server answers with the bytes of the file in `folder`; answers its SHA-256. */
export async function checkEqual(servers, folder) {
  const file = join(folder, EXPORT);
  const compare = 'set -o pipefail; curl -sSf "$1" | cmp - "$2"';
  for (const { port, path } of servers)
    await run('bash', ['-c', compare, 'bash', `http://127.0.0.1:${port}${path}`, file]);
  const output = await run('sha256sum', [file]);
  return output.split(' ')[0];
}

/** Length of what a server sends, bytes. */
export async function lengthOf({ port, path }) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'HEAD' });
  return Number(response.headers.get('content-length'));
}

/** Stops all servers of `servers`, whatever fails. */
export async function stopAll(servers) {
  await Promise.all(servers.map((server) => server.stop()));
}
