/**
 * The archive's handler behind plain HTTP, TLS and HTTP/2: the same bytes, the same ranges, and the same back-pressure:
 * clients that read nothing cost next to no memory, and get every byte once they read.
 */
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { beforeAll, describe, expect, test } from 'vitest';
import { leftSince, memoryInUse, settledHoldings } from '../../scripts/leftovers.mjs';
import { openArchive } from '../../src/archive.ts';
import type { Handler } from '../../src/http/handler.ts';
import type { Native } from '../../src/native-types.ts';
import { loadAddon, twin } from '../../src/native.ts';
import { BIG, bytesOf, fillArchive, makeCertificate, START } from '../support/handler-fixture.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';
import { digest, until } from './rig.ts';

const REQUEST = { camera: 'big', start: START, duration: 300 };
const MIB = 2 ** 20;
const CLIENTS = 8;
/** Of the answer's 31 MB, what a stalled client may hold in this process, its own side included; V8 is generous with pages. */
const MOST_PER_CLIENT = { heap: 1.5 * MIB, process: 6 * MIB };

let folder = '';
let whole: Buffer;
let certificate: { key: Buffer; cert: Buffer };
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  await fillArchive(folder);
  certificate = await makeCertificate();
  const archive = await openArchive(folder, { readOnly: true });
  whole = await bytesOf(archive, REQUEST);
  await archive.close();
});

/** An answer that has begun and is not read. */
interface Begun {
  readonly status: number;
  readonly body: Readable;
  /** Ends the connection. */
  readonly leave: () => void;
}

interface Protocol {
  readonly serve: (handler: Handler) => Server;
  readonly begin: (port: number, headers: Record<string, string>) => Promise<Begun>;
}

async function beginHttp(request: http.ClientRequest): Promise<Begun> {
  request.on('error', () => undefined);
  const [body] = (await once(request.end(), 'response')) as [http.IncomingMessage];
  body.on('error', () => undefined);
  return { status: body.statusCode ?? 0, body, leave: () => request.destroy() };
}

async function beginHttp2(port: number, headers: Record<string, string>): Promise<Begun> {
  const session = http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  session.on('error', () => undefined);
  const body = session.request({ ':path': BIG, ...headers });
  body.on('error', () => undefined);
  const [response] = (await once(body, 'response')) as [http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader];
  return { status: response[':status'] ?? 0, body, leave: () => session.destroy() };
}

const PLAIN: Protocol = {
  serve: (handler) => http.createServer(handler),
  begin: (port, headers) => beginHttp(http.request({ host: '127.0.0.1', port, path: BIG, headers, agent: false })),
};

const TLS: Protocol = {
  serve: (handler) => https.createServer(certificate, handler),
  begin: (port, headers) => {
    const options = { host: '127.0.0.1', port, path: BIG, headers, agent: false, rejectUnauthorized: false };
    return beginHttp(https.request(options));
  },
};

const HTTP2: Protocol = {
  serve: (handler) => http2.createSecureServer({ ...certificate, allowHTTP1: true }, handler),
  begin: beginHttp2,
};

type Case = readonly [name: string, native: Native, protocol: Protocol];

const ENCRYPTED: readonly Case[] = [
  ['TLS', loadAddon(), TLS],
  ['HTTP/2', loadAddon(), HTTP2],
];
const ALL: readonly Case[] = [
  ['HTTP, native sender', loadAddon(), PLAIN],
  ['HTTP, stream sender', twin, PLAIN],
  ...ENCRYPTED,
];

async function read(body: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Serves the archive while `scene` runs; then nothing of it may be left. */
async function leavesNothing(native: Native, protocol: Protocol, scene: (port: number) => Promise<void>) {
  const archive = await openArchive(folder, { native, readOnly: true });
  const play = async () => {
    const server = protocol.serve(archive.handler());
    const sockets = new Set<Socket>();
    server.on('connection', (socket: Socket) => sockets.add(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    await scene((server.address() as AddressInfo).port);
    server.close();
    await until('all connections have ended', () => [...sockets].every(({ destroyed }) => destroyed));
  };
  await play();
  const before = await settledHoldings();
  await play();
  expect(await leftSince(before)).toBe('');
  await archive.close();
}

describe.each(ENCRYPTED)('%s', (_name, native, protocol) => {
  test('the same bytes, whole and in ranges', async () => {
    await leavesNothing(native, protocol, async (port) => {
      const all = await protocol.begin(port, {});
      expect(all.status).toBe(200);
      expect(digest(await read(all.body))).toBe(digest(whole));
      all.leave();
      for (const [start, end] of [
        [0, 1],
        [12_345, 4_000_000],
        [whole.length - 7, whole.length],
      ] as const) {
        const part = await protocol.begin(port, { range: `bytes=${start}-${end - 1}` });
        expect(part.status).toBe(206);
        expect(digest(await read(part.body))).toBe(digest(whole.subarray(start, end)));
        part.leave();
      }
    });
  });
});

describe.each(ALL)('%s', (_name, native, protocol) => {
  test('clients that read nothing: little memory, and every byte for who reads after all', async () => {
    await leavesNothing(native, protocol, async (port) => {
      const before = await memoryInUse();
      const clients = await Promise.all(Array.from({ length: CLIENTS }, () => protocol.begin(port, {})));
      await settledHoldings();
      const { heapBytes, processBytes } = await memoryInUse();
      expect((heapBytes - before.heapBytes) / CLIENTS).toBeLessThan(MOST_PER_CLIENT.heap);
      expect((processBytes - before.processBytes) / CLIENTS).toBeLessThan(MOST_PER_CLIENT.process);
      const [{ body }] = clients as [Begun];
      expect(digest(await read(body))).toBe(digest(whole));
      for (const { leave } of clients) leave();
    });
  });
});
