// Run by traps.test.ts in a process of its own: the listener of a raw sender throws. Exit status 7.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';

const root = path.join(import.meta.dirname, '..', '..');
const { Sender } = createRequire(import.meta.url)('node-gyp-build')(root);

process.on('uncaughtException', (error) => {
  console.log(`uncaught: ${error.message}`);
  process.exit(7);
});

const server = net.createServer((socket) => socket.resume());
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const socket = net.connect(server.address().port, '127.0.0.1');
await once(socket, 'connect');
const sender = new Sender(socket._handle.fd, 1000, 2 ** 40, () => {
  throw new Error('from the listener');
});
for (let i = 0; i < 30; i++) sender.enqueueBytes(new Uint8Array(1_000_000));
