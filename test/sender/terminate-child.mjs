// Run by traps.test.ts in a process of its own: worker threads are terminated while they send, then the process exits
// while its main thread sends. Exit status 0 and the line below mean that nothing crashed and no descriptor was left.
import { once } from 'node:events';
import { readdirSync, openSync, closeSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const root = path.join(import.meta.dirname, '..', '..');
const { Sender } = createRequire(import.meta.url)('node-gyp-build')(root);
const BARRIER = 2 ** 40;

/** Sends the file of this program's Node (tens of megabytes) again and again; `round` decides how far it gets. */
async function sendTo(port) {
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const fd = openSync(process.execPath, 'r');
  const sender = new Sender(socket._handle.fd, BARRIER, BARRIER, () => {});
  for (let i = 0; i < 40; i++) {
    sender.enqueueFile(fd, 0, 30_000_000);
    sender.enqueueBytes(new Uint8Array(100_000));
  }
  closeSync(fd);
  return sender;
}

if (!isMainThread) {
  await sendTo(workerData.port);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort.postMessage('sending');
  await new Promise(() => setInterval(() => {}, 1000));
}

const server = net.createServer((socket) => {
  socket.on('error', () => {});
  socket.on('close', () => socket.destroy());
  if (server.stall) socket.pause();
  else socket.resume();
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address();

async function terminateOne(stall, delayMs) {
  server.stall = stall;
  const worker = new Worker(new URL(import.meta.url), { workerData: { port } });
  await once(worker, 'message');
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  await worker.terminate();
}

await terminateOne(true, 20);
const before = readdirSync('/proc/self/fd').length;
for (let i = 0; i < 6; i++) await terminateOne(i % 2 === 0, i * 7);
for (let tries = 0; tries < 1500 && readdirSync('/proc/self/fd').length > before + 6; tries++) {
  await new Promise((resolve) => setTimeout(resolve, 20));
}
const left = readdirSync('/proc/self/fd').length - before;
console.log(left > 6 ? `${left} descriptors left` : 'workers ended, descriptors released');
server.stall = false;
await sendTo(port);
process.exit(0);
