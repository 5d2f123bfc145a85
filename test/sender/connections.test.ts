/**
 * Connections as they are, from the client's connection to the archive's handler: whatever becomes of them, the bytes are
 * the right ones as far as they go, and nothing is left. Each scene is played twice: the first time may leave what is made
 * once and kept, the second nothing: no descriptor, timer, handle of libuv or memory.
 */
import { once } from 'node:events';
import http, { type Server, type ServerResponse } from 'node:http';
import net, { type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { leftSince, memoryInUse, settledHoldings } from '../../scripts/leftovers.mjs';
import { type Archive, openArchive } from '../../src/archive.ts';
import type { Native } from '../../src/native-types.ts';
import { BIG, bytesOf, fillArchive, START } from '../support/handler-fixture.ts';
import { request } from '../support/http-client.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';
import { digest, sleep, until, WAYS } from './rig.ts';

const REQUEST = { camera: 'big', start: START, duration: 300 };
const MIB = 2 ** 20;

let folder = '';
let whole: Buffer;
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  await fillArchive(folder);
  const archive = await openArchive(folder, { readOnly: true });
  whole = await bytesOf(archive, REQUEST);
  await archive.close();
});

/** A server of the archive; its answers and its failures, so that a scene can see and destroy them. */
interface Stage {
  readonly server: Server;
  readonly port: number;
  readonly answers: ServerResponse[];
  readonly archive: Archive;
}

/** Plays a scene on a server of its own, which has ended by itself when the scene is over. */
async function play(archive: Archive, scene: (stage: Stage) => Promise<void>): Promise<void> {
  const answers: ServerResponse[] = [];
  const handler = archive.handler();
  const server = http.createServer((req, res) => {
    answers.push(res);
    handler(req, res);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  await scene({ server, port, answers, archive });
  server.close();
  // A connection that the scene has left behind would keep it open.
  await until('the server has closed', () => !server.listening && connectionsOf(server) === 0);
}

const connectionsOf = (server: Server): number => (server as unknown as { _connections: number })._connections;

async function leavesNothing(native: Native, scene: (stage: Stage) => Promise<void>): Promise<void> {
  const archive = await openArchive(folder, { native, readOnly: true });
  await play(archive, scene);
  const before = await settledHoldings();
  const { heapBytes } = await memoryInUse();
  await play(archive, scene);
  expect(await leftSince(before)).toBe('');
  expect((await memoryInUse()).heapBytes - heapBytes).toBeLessThan(2 * MIB);
  await archive.close();
}

// ---- Clients

/** A raw connection that has sent `text` and reads nothing yet. */
class Client {
  readonly socket: Socket;
  readonly #chunks: Buffer[] = [];
  got = 0;

  constructor(port: number, text: string) {
    this.socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    this.socket.on('error', () => undefined); // of resets; what came before them counts
    this.socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.got += chunk.length;
    });
    this.socket.on('end', () => this.socket.end());
    this.socket.pause();
    this.socket.write(text);
  }

  /** Reads about so many bytes more, then nothing. */
  async read(bytes: number): Promise<void> {
    const end = this.got + bytes;
    this.socket.resume();
    await until(`${bytes} bytes`, () => this.got >= end || this.socket.closed);
    this.socket.pause();
  }

  /** Reads until the connection ends. */
  async readAll(): Promise<Buffer> {
    this.socket.resume();
    await until('the end of the connection', () => this.socket.closed);
    return this.bytes;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

const GET = `GET ${BIG} HTTP/1.1\r\nHost: x\r\n`;
const ALL = `${GET}\r\n`;
const http10 = (range: string, more: string) => `GET ${BIG} HTTP/1.0\r\nRange: bytes=${range}\r\n${more}\r\n`;
const ranged = (start: number, end: number, last = false) =>
  `${GET}Range: bytes=${start}-${end - 1}\r\n${last ? 'Connection: close\r\n' : ''}\r\n`;

/** Splits what came on a connection into heads and bodies of known lengths. */
function answersIn(bytes: Buffer, lengths: readonly number[]): { head: string; body: Buffer }[] {
  let rest = bytes;
  const answers = lengths.map((length) => {
    const at = rest.indexOf('\r\n\r\n') + 4;
    const answer = { head: rest.subarray(0, at).toString('latin1'), body: rest.subarray(at, at + length) };
    rest = rest.subarray(at + length);
    return answer;
  });
  expect(rest).toHaveLength(0);
  return answers;
}

/** What came is the beginning of the answer, and not all of it. */
function checkTruncated(bytes: Buffer): void {
  const body = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4);
  expect(body.length).toBeLessThan(whole.length);
  expect(body.equals(whole.subarray(0, body.length))).toBe(true);
}

function checkWhole(bytes: Buffer): void {
  expect(digest(answersIn(bytes, [whole.length])[0]?.body ?? Buffer.alloc(0))).toBe(digest(whole));
}

const RANGES = [
  [0, 1],
  [1_000_000, 9_000_001],
  [5, 40_000],
] as const;

/** A transfer under way whose client reads no more; more is left than the sockets hold. */
async function underWay({ port, answers }: Stage, text = ALL): Promise<Client> {
  const client = new Client(port, text);
  await client.read(2 * MIB);
  await until('the answer has begun', () => answers.length > 0);
  return client;
}

const SCENES: Readonly<Record<string, (stage: Stage) => Promise<void>>> = {
  'keep-alive: one answer after the other on a connection': async ({ port }) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set<number>();
    for (const [start, end] of RANGES) {
      const headers = { Range: `bytes=${start}-${end - 1}` };
      const reply = await request(`http://127.0.0.1:${port}${BIG}`, { agent, headers });
      expect(reply.status).toBe(206);
      expect(digest(reply.body)).toBe(digest(whole.subarray(start, end)));
      ports.add(reply.localPort);
    }
    expect(ports.size).toBe(1);
    agent.destroy();
  },

  'pipelining: all asked for at once': async ({ port }) => {
    const text = RANGES.map(([start, end], i) => ranged(start, end, i === RANGES.length - 1)).join('');
    const bytes = await new Client(port, text).readAll();
    const lengths = RANGES.map(([start, end]) => end - start);
    for (const [i, { head, body }] of answersIn(bytes, lengths).entries()) {
      const [start, end] = RANGES[i] ?? [0, 0];
      expect(head).toContain(`Content-Range: bytes ${start}-${end - 1}/${whole.length}`);
      expect(digest(body)).toBe(digest(whole.subarray(start, end)));
    }
  },

  'pipelining: the client goes while answers wait for their turn': async (stage) => {
    const client = await underWay(stage, ALL.repeat(3));
    await until('all have been asked for', () => stage.answers.length === 3);
    client.socket.resetAndDestroy();
  },

  'HTTP/1.0: the end of the connection is the end of the answer': async ({ port }) => {
    const bytes = await new Client(port, `GET ${BIG} HTTP/1.0\r\n\r\n`).readAll();
    expect(bytes.subarray(0, bytes.indexOf('\r\n\r\n')).toString()).toContain('Connection: close');
    checkWhole(bytes);
  },

  'HTTP/1.0 with keep-alive: the next answer on the same connection': async ({ port }) => {
    const client = new Client(port, http10('0-8999999', 'Connection: keep-alive\r\n'));
    await client.read(9_000_000);
    client.socket.write(http10('100-199', ''));
    const [first, second] = answersIn(await client.readAll(), [9_000_000, 100]);
    expect(first?.head).toContain('Connection: keep-alive\r\n');
    expect(digest(first?.body ?? Buffer.alloc(0))).toBe(digest(whole.subarray(0, 9_000_000)));
    expect(second?.body.equals(whole.subarray(100, 200))).toBe(true);
  },

  'a half-closed client, for which Node ends the connection': async ({ port }) => {
    const client = new Client(port, ALL);
    client.socket.end();
    checkTruncated(await client.readAll());
  },

  'a half-closed client, where the server allows it': async ({ server, port }) => {
    Object.assign(server, { httpAllowHalfOpen: true });
    const client = new Client(port, `${GET}Connection: close\r\n\r\n`);
    client.socket.end();
    checkWhole(await client.readAll());
  },

  'a client that resets': async (stage) => {
    const client = await underWay(stage);
    client.socket.resetAndDestroy();
    await until('the answer has closed', () => stage.answers[0]?.closed === true);
  },

  'res.destroy()': async (stage) => {
    const client = await underWay(stage);
    stage.answers[0]?.destroy();
    checkTruncated(await client.readAll());
  },

  'server.close(): what is under way finishes, idle connections or not': async (stage) => {
    const client = await underWay(stage, `${GET}Connection: close\r\n\r\n`);
    const idle = new Client(stage.port, ranged(0, 10));
    await idle.read(10);
    const closed = once(stage.server, 'close');
    stage.server.close();
    stage.server.closeIdleConnections();
    await idle.readAll();
    await sleep(50);
    checkWhole(await client.readAll());
    await closed;
  },

  'server.closeAllConnections()': async (stage) => {
    const client = await underWay(stage);
    stage.server.closeAllConnections();
    checkTruncated(await client.readAll());
  },

  'server.setTimeout(): a client that reads slowly is served': async (stage) => {
    stage.server.setTimeout(1500);
    const client = await underWay(stage, `${GET}Connection: close\r\n\r\n`);
    for (let i = 0; i < 3; i++) {
      await sleep(600);
      await client.read(4 * MIB);
    }
    checkWhole(await client.readAll());
  },

  'server.setTimeout(): a client that reads nothing is not': async (stage) => {
    stage.server.setTimeout(300);
    const client = await underWay(stage);
    await until('the answer has closed', () => stage.answers[0]?.closed === true);
    checkTruncated(await client.readAll());
  },
};

/** A server whose sessions are sent by hand, with options that the handler has not. */
async function serveByHand(archive: Archive, listenOn: string | number, idleTimeoutMs: number) {
  const failures: unknown[] = [];
  const session = await archive.session(REQUEST);
  const server = http.createServer((_req, res) => {
    res.writeHead(200, { 'Content-Length': session.length, Connection: 'close' });
    session.send(res, { sender: { idleTimeoutMs } }).then(
      () => res.end(),
      (error: unknown) => failures.push(error),
    );
  });
  server.listen(listenOn);
  await once(server, 'listening');
  return { server, failures };
}

describe.each(WAYS)('with the %s sender', (kind, native) => {
  test.each(Object.entries(SCENES))('%s', async (_name, scene) => {
    await leavesNothing(native, scene);
  });

  test('a client that is stalled for ever is given up after the sender’s own idle timeout', async () => {
    await leavesNothing(native, async ({ archive }) => {
      const { server, failures } = await serveByHand(archive, 0, 300);
      const client = new Client((server.address() as net.AddressInfo).port, ALL);
      await until('it was given up', () => failures.length === 1);
      expect(failures).toMatchObject([{ code: 'E_CLIENT_GONE', message: expect.stringContaining('300 ms') }]);
      checkTruncated(await client.readAll());
      server.close();
    });
  });

  test('a Unix socket', async () => {
    await leavesNothing(native, async ({ archive }) => {
      const name = path.join(tmpdir(), `footage-connections-${process.pid}-${kind}`);
      const server = http.createServer(archive.handler());
      server.listen(name);
      await once(server, 'listening');
      const headers = { Range: 'bytes=1000000-30000000' };
      const reply = await request(`http://x${BIG}`, { socketPath: name, headers });
      expect(digest(reply.body)).toBe(digest(whole.subarray(1_000_000, 30_000_001)));
      const gone = net.connect(name);
      gone.write(ALL);
      await once(gone, 'data');
      gone.destroy();
      server.close();
      await once(server, 'close');
    });
  });
});
