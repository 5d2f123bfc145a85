/** What the sender tests share: files with known bytes, servers, clients that digest, and the two ways to send. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import http, { type IncomingMessage, type RequestListener, type Server } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Native } from '../../src/native-types.ts';
import { loadAddon, twin } from '../../src/native.ts';
import { senderFor, type SenderForOptions } from '../../src/sender/for-target.ts';
import type { Sender, SharedFile } from '../../src/sender/sender.ts';
import { shareDescriptor } from '../../src/sender/shared-file.ts';
import { noise } from '../native/build-records.ts';

export { sleep };

/** The addon gives native senders, the twin stream senders. */
export const WAYS: readonly (readonly [Sender['kind'], Native])[] = [
  ['native', loadAddon()],
  ['stream', twin],
];

export interface TestFile {
  readonly data: Buffer;
  readonly name: string;
  open(): SharedFile;
}

const folder = mkdtempSync(path.join(tmpdir(), 'footage-sender-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

export function makeFile(bytes: number): TestFile {
  const block = noise(1 << 20, bytes);
  const data = Buffer.alloc(bytes, block);
  for (let i = 0; i < bytes; i += 1 << 20) data.writeUInt8((i >> 20) & 0xff, i);
  const name = path.join(folder, `${bytes}.bin`);
  writeFileSync(name, data);
  return { data, name, open: () => shareDescriptor(openSync(name, 'r')) };
}

export function digest(...parts: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

export interface Running<S> extends AsyncDisposable {
  readonly server: S;
  readonly port: number;
}

/** Listens on a free port of the loopback; disposing closes the connections too. */
export async function listen<S extends net.Server>(server: S): Promise<Running<S>> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** An HTTP server whose handler is asynchronous; `handled` waits for the handlers called so far. */
export async function serve(
  handler: (...args: Parameters<RequestListener>) => unknown,
): Promise<Running<Server> & { handled(): Promise<unknown> }> {
  const handlers: unknown[] = [];
  const running = await listen(http.createServer((req, res) => handlers.push(handler(req, res))));
  return {
    ...running,
    handled: () => Promise.all(handlers),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly length: number;
  readonly sha256: string;
}

export async function get(port: number, options: http.RequestOptions = {}): Promise<Answer> {
  const request = http.request({ port, host: '127.0.0.1', ...options }).end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const hash = createHash('sha256');
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    hash.update(chunk);
    length += chunk.length;
  }
  return { status: response.statusCode ?? 0, headers: response.headers, length, sha256: hash.digest('hex') };
}

/** Enqueues pieces of the file and waits for room as a session does. */
export async function sendFile(sender: Sender, file: SharedFile, length: number, pieceBytes = 1 << 20): Promise<void> {
  for (let offset = 0; offset < length;) {
    const state = sender.state();
    if (state === 'closed') break;
    if (state === 'softLimit' || state === 'hardLimit') {
      await sender.hint();
      continue;
    }
    const part = Math.min(pieceBytes, length - offset);
    sender.enqueue({ kind: 'file', file, offset, length: part });
    offset += part;
  }
  await sender.drained();
}

/** A TCP connection that has sent `text` and reads nothing. */
export async function stalledClient(port: number, text = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'): Promise<Socket> {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.pause();
  await once(socket, 'connect');
  socket.write(text);
  return socket;
}

export interface Stalled extends AsyncDisposable {
  readonly sender: Sender;
  readonly socket: Socket;
  readonly client: Socket;
}

/** A sender on a connection whose client reads nothing. */
export async function stalled(native: Native, options: SenderForOptions = {}): Promise<Stalled> {
  const running = await listen(net.createServer());
  const connection = once(running.server, 'connection');
  const client = await stalledClient(running.port, '');
  const [socket] = (await connection) as [Socket];
  socket.on('error', () => undefined);
  const sender = await senderFor(socket, { native, ...options });
  return {
    sender,
    socket,
    client,
    async [Symbol.asyncDispose]() {
      client.destroy();
      await running[Symbol.asyncDispose]();
    },
  };
}

/** Reads everything a client gets until `length` bytes have come. */
export async function receive(client: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let got = 0;
  client.resume();
  for await (const chunk of client as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    got += chunk.length;
    if (got >= length) break;
  }
  return Buffer.concat(chunks);
}

export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Their number once it has been the same for 200 ms: what was used before is closed by then. */
export async function settledDescriptors(): Promise<number> {
  let count = openDescriptors();
  for (let same = 0; same < 20;) {
    await sleep(10);
    const now = openDescriptors();
    same = now === count ? same + 1 : 0;
    count = now;
  }
  return count;
}

/** Waits until `condition` holds; fails after a minute. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  for (const beganMs = performance.now(); performance.now() - beganMs < 60_000;) {
    if (condition()) return;
    await sleep(10);
  }
  throw new Error(`did not happen: ${what}`);
}
