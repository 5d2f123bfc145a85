// Run by processes.test.ts in a process of its own, with the built library: two processes of a cluster serve an archive on
// one port, and one is killed in mid-transfer. The downloads of the other one are whole, and so are those that come later;
// at the end it ends by itself. Exit status 0 and the line at the end.
import cluster from 'node:cluster';
import { once } from 'node:events';
import http from 'node:http';
import { openArchive } from '../../dist/index.js';
import { loadAddon, twin } from '../../dist/native.js';
import { bytesOf } from '../../scripts/answer-bytes.mjs';
import { beginDownload, checkPrefix, checkWhole } from './child-client.mjs';

const [folder, native, path, request] = process.argv.slice(2);
const DOWNLOADS = 8;

async function serve() {
  const archive = await openArchive(folder, { readOnly: true, native: native === 'twin' ? twin : loadAddon() });
  const handler = archive.handler();
  const server = http.createServer((req, res) => {
    res.setHeader('X-Worker', String(process.pid));
    handler(req, res);
  });
  server.on('close', () => void archive.close());
  server.listen(0, '127.0.0.1');
}

async function listening() {
  const worker = cluster.fork();
  const [address] = await once(worker, 'listening');
  return { worker, port: address.port };
}

async function killOne(victim, port, whole) {
  const downloads = await Promise.all(Array.from({ length: DOWNLOADS }, () => beginDownload(port, path)));
  const pid = String(victim.process.pid);
  const [cut, kept] = [true, false].map((isCut) => downloads.filter(({ worker }) => (worker === pid) === isCut));
  if (cut.length === 0 || kept.length === 0) throw new Error('the downloads were not shared by both');
  const exited = once(victim, 'exit');
  victim.process.kill('SIGKILL');
  await exited;
  for (const download of cut) {
    checkPrefix(await download.finish(), whole);
    if (!download.cut) throw new Error('the download of a killed process looks whole');
  }
  for (const download of kept) checkWhole(await download.finish(), whole);
}

async function main() {
  const archive = await openArchive(folder, { readOnly: true });
  const whole = await bytesOf(await archive.session(JSON.parse(request)));
  await archive.close();
  const [first, second] = [await listening(), await listening()];
  if (first.port !== second.port) throw new Error('the processes have different ports');
  await killOne(first.worker, first.port, whole);
  for (let i = 0; i < 2; i++) {
    const download = await beginDownload(first.port, path);
    checkWhole(await download.finish(), whole);
  }
  const exited = once(second.worker, 'exit');
  second.worker.disconnect();
  const [code, signal] = await exited;
  if (code !== 0) throw new Error(`the second process ended with ${code ?? signal}`);
  console.log('one was killed, the other served on');
}

await (cluster.isPrimary ? main() : serve());
