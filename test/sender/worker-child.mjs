// Run by processes.test.ts in a process of its own, with the built library: worker threads serve an archive and are
// terminated in mid-transfer. What had come is right, no descriptor is left, and a worker that is not terminated ends by
// itself once its server is closed. Exit status 0 and the line at the end.
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import http from 'node:http';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { openArchive } from '../../dist/index.js';
import { loadAddon, twin } from '../../dist/native.js';
import { bytesOf } from '../../scripts/answer-bytes.mjs';
import { beginDownload, checkPrefix, checkWhole } from './child-client.mjs';

const DOWNLOADS = 6;
const TERMINATIONS = 3;

async function serve() {
  const native = workerData.native === 'twin' ? twin : loadAddon();
  const archive = await openArchive(workerData.folder, { readOnly: true, native });
  const server = http.createServer(archive.handler());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort.postMessage(server.address().port);
  await once(parentPort, 'message');
  server.close();
  await once(server, 'close');
  await archive.close();
  parentPort.close();
}

async function withWorker(options, body) {
  const worker = new Worker(new URL(import.meta.url), { workerData: options });
  const exited = once(worker, 'exit');
  const [port] = await once(worker, 'message');
  await body(worker, port);
  const [code] = await exited;
  return code;
}

/** Some clients read, the others are stalled; the worker ends in the middle. */
async function terminateOne(options, path, whole, delayMs) {
  await withWorker(options, async (worker, port) => {
    const downloads = await Promise.all(Array.from({ length: DOWNLOADS }, () => beginDownload(port, path)));
    const reading = downloads.slice(DOWNLOADS / 2).map(({ finish }) => finish());
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    await worker.terminate();
    await Promise.all(reading);
    for (const { finish } of downloads) checkPrefix(await finish(), whole);
    if (!downloads[0].cut) throw new Error('a stalled download was not cut by the end of its worker');
  });
}

async function endsByItself(options, path, whole) {
  const code = await withWorker(options, async (worker, port) => {
    const download = await beginDownload(port, path);
    checkWhole(await download.finish(), whole);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    worker.postMessage('close');
  });
  if (code !== 0) throw new Error(`a worker ended with ${code}`);
}

/**
 * But those of segments: what an open of fs/promises finds when its worker has ended meanwhile is lost to Node 20 itself.
 * The files of the addon are looked at by terminate-child.mjs.
 */
function descriptors() {
  return readdirSync('/proc/self/fd').filter((fd) => !targetOf(fd).endsWith('.mp4')).length;
}

function targetOf(fd) {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return 'closed meanwhile: the one that listed them';
  }
}

async function main([folder, native, path, request]) {
  const archive = await openArchive(folder, { readOnly: true });
  const whole = await bytesOf(await archive.session(JSON.parse(request)));
  await archive.close();
  const options = { folder, native };
  await terminateOne(options, path, whole, 0);
  const before = descriptors();
  for (let i = 0; i < TERMINATIONS; i++) await terminateOne(options, path, whole, i * 15);
  await endsByItself(options, path, whole);
  for (let tries = 0; tries < 500 && descriptors() > before; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (descriptors() > before) throw new Error(`${descriptors() - before} descriptors are left`);
  console.log('workers ended, nothing left');
}

await (isMainThread ? main(process.argv.slice(2)) : serve());
