/** What node:http, TLS and HTTP/2 have in store for a sender that goes past them; a test per trap. */
import { execFileSync, fork } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { mkdtempSync, promises as fs, readFileSync, rmSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net, { type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Native } from '../../src/native-types.ts';
import { loadAddon } from '../../src/native.ts';
import { senderFor } from '../../src/sender/for-target.ts';
import type { Sender } from '../../src/sender/sender.ts';
import {
  digest,
  get,
  listen,
  makeFile,
  openDescriptors,
  sendFile,
  serve,
  settledDescriptors,
  sleep,
  stalledClient,
  until,
  WAYS,
} from './rig.ts';

const addon = loadAddon();
const file = makeFile(8_000_003);
const SHA256 = digest(file.data);

/** Answers with the file; returns the kind of sender that was made. */
async function answer(res: ServerResponse, native: Native = addon): Promise<Sender['kind']> {
  const sender = await senderFor(res, { native });
  const shared = file.open();
  try {
    await sendFile(sender, shared, file.data.length);
  } finally {
    shared.release();
    sender.close();
  }
  res.end();
  return sender.kind;
}

/** A server that sends the file after `prepare`, with the kinds of sender it used. */
async function fileServer(prepare: (res: ServerResponse) => unknown, native: Native = addon) {
  const kinds: (Sender['kind'] | Error)[] = [];
  const running = await serve(async (_req, res) => {
    res.setHeader('Content-Length', file.data.length);
    try {
      await prepare(res);
      kinds.push(await answer(res, native));
    } catch (error) {
      kinds.push(error as Error);
      res.end();
    }
  });
  return {
    ...running,
    /** The kinds of sender used so far, or the errors, once every answer has ended. */
    kinds: async () => {
      await running.handled();
      return kinds;
    },
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

describe.each(WAYS)('with the %s sender', (kind, native) => {
  test('trap 1: pipelined requests wait for their turn on the socket', async () => {
    await using running = await fileServer(() => undefined, native);
    const client = net.connect(running.port, '127.0.0.1');
    client.write(
      'GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2) + 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    );
    const chunks: Buffer[] = [];
    for await (const chunk of client as AsyncIterable<Buffer>) chunks.push(chunk);
    let rest = Buffer.concat(chunks);
    for (let i = 0; i < 3; i++) {
      const body = rest.indexOf('\r\n\r\n') + 4;
      expect(rest.subarray(0, 15).toString()).toBe('HTTP/1.1 200 OK');
      expect(digest(rest.subarray(body, body + file.data.length))).toBe(SHA256);
      rest = rest.subarray(body + file.data.length);
    }
    expect(rest).toHaveLength(0);
    expect(await running.kinds()).toEqual([kind, kind, kind]);
  });

  test('trap 1: keep-alive requests one after the other', async () => {
    await using running = await fileServer(() => undefined, native);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let i = 0; i < 6; i++) expect((await get(running.port, { agent })).sha256).toBe(SHA256);
    expect(await running.kinds()).toEqual(Array(6).fill(kind));
    agent.destroy();
  });

  test('trap 1: a client that goes while its request waits for its turn', async () => {
    const made: Promise<Sender>[] = [];
    await using running = await serve((_req, res) => {
      res.setHeader('Content-Length', file.data.length);
      made.push(senderFor(res, { native }));
    });
    const client = await stalledClient(running.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2));
    await until('two requests', () => made.length === 2);
    (await made[0])?.close();
    const second = expect(made[1]).rejects.toMatchObject({ code: 'E_CLIENT_GONE' });
    client.destroy();
    await second;
  });

  test('trap 1: an abort ends the wait of a request for its turn, and leaves no listener', async () => {
    const stop = new AbortController();
    const made: Promise<Sender>[] = [];
    await using running = await serve((_req, res) => {
      res.setHeader('Content-Length', file.data.length);
      made.push(senderFor(res, { native, signal: stop.signal }));
    });
    const client = await stalledClient(running.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2));
    await until('two requests', () => made.length === 2);
    const first = await made[0];
    const second = expect(made[1]).rejects.toThrow('enough');
    stop.abort(new Error('enough'));
    await second;
    expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
    first?.close();
    client.destroy();
  });

  test('trap 2: headers that were set but not sent go first', async () => {
    await using running = await fileServer((res) => res.writeHead(206, { 'X-Mark': 'yes' }), native);
    const got = await get(running.port);
    expect(got).toMatchObject({ status: 206, sha256: SHA256 });
    expect(got.headers['x-mark']).toBe('yes');
    await running.kinds();
  });

  test('trap 3: a chunked answer stays framed', async () => {
    await using running = await fileServer((res) => res.removeHeader('Content-Length'), native);
    expect(await get(running.port)).toMatchObject({ sha256: SHA256, headers: { 'transfer-encoding': 'chunked' } });
    expect(await running.kinds()).toEqual(['stream']);
  });

  test('trap 3: an answer that ends with its connection needs no chunks', async () => {
    await using running = await fileServer((res) => {
      res.removeHeader('Content-Length');
      res.removeHeader('Transfer-Encoding');
    }, native);
    expect((await get(running.port)).sha256).toBe(SHA256);
    expect(await running.kinds()).toEqual([kind]);
  });

  test('trap 4: after res.write of 20 MB', async () => {
    const before = Buffer.alloc(20_000_000, 'b');
    await using running = await fileServer((res) => {
      res.setHeader('Content-Length', before.length + file.data.length);
      res.write(before);
    }, native);
    expect((await get(running.port)).sha256).toBe(digest(before, file.data));
    expect(await running.kinds()).toEqual([kind]);
  });

  test('trap 4: a client that goes, or takes nothing, while Node is still writing', async () => {
    const made: Promise<Sender>[] = [];
    await using running = await serve((_req, res) => {
      res.setHeader('Content-Length', 40_000_000);
      res.on('error', () => undefined);
      res.write(Buffer.alloc(20_000_000));
      made.push(senderFor(res, { native, idleTimeoutMs: 300 }));
    });
    const idle = await stalledClient(running.port);
    await until('a request', () => made.length === 1);
    if (kind === 'native') await expect(made[0]).rejects.toMatchObject({ code: 'E_CLIENT_GONE' });
    else (await made[0])?.close();
    idle.destroy();
    const gone = await stalledClient(running.port);
    await until('a second request', () => made.length === 2);
    const second = made[1] as Promise<Sender>;
    if (kind === 'native') {
      setTimeout(() => gone.destroy(), 50);
      await expect(second).rejects.toMatchObject({ code: 'E_CLIENT_GONE' });
    } else (await second).close();
    gone.destroy();
  });

  test('trap 4: a corked answer', async () => {
    await using running = await fileServer((res) => {
      res.cork();
      setTimeout(() => res.uncork(), 50);
    }, native);
    expect((await get(running.port)).sha256).toBe(SHA256);
    expect(await running.kinds()).toEqual(['stream']);
  });

  test('trap 4: an answer that its caller leaves corked', async () => {
    await using running = await fileServer((res) => res.cork(), native);
    expect((await get(running.port)).sha256).toBe(SHA256);
    await running.kinds();
  });

  test('trap 5: strictContentLength', async () => {
    await using running = await fileServer((res) => Object.assign(res, { strictContentLength: true }), native);
    expect((await get(running.port)).sha256).toBe(SHA256);
    expect(await running.kinds()).toEqual(['stream']);
  });

  test.each([
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 304],
  ])('trap 6: %s with status %i has no body and gets no sender', async (method, status) => {
    await using running = await fileServer((res) => {
      res.statusCode = status;
    }, native);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let i = 0; i < 2; i++) expect(await get(running.port, { method, agent })).toMatchObject({ status, length: 0 });
    agent.destroy();
    expect(await running.kinds()).toMatchObject([{ code: 'E_SENDER' }, { code: 'E_SENDER' }]);
  });

  test('trap 9: the timeout of Node’s socket does not cut a transfer that goes on', async () => {
    await using running = await fileServer(() => undefined, native);
    running.server.setTimeout(1000);
    const client = await stalledClient(running.port);
    let length = 0;
    client.on('data', (chunk: Buffer) => {
      length += chunk.length;
      client.pause();
      setTimeout(() => client.resume(), (chunk.length / file.data.length) * 3000);
    });
    client.resume();
    await until('all bytes', () => length > file.data.length);
    expect(await running.kinds()).toEqual([kind]);
    client.destroy();
  });

  test('trap 9: nor one that is paced, whose pieces all fit into the socket', async () => {
    const piece = file.data.subarray(0, 10_000);
    await using running = await serve(async (_req, res) => {
      res.setHeader('Content-Length', 10 * piece.length);
      const sender = await senderFor(res, { native });
      const shared = file.open();
      for (let i = 0; i < 10; i++) {
        sender.enqueue({ kind: 'file', file: shared, offset: 0, length: piece.length });
        await sleep(300);
      }
      shared.release();
      await sender.drained();
      sender.close();
      res.end();
    });
    running.server.setTimeout(1000);
    expect((await get(running.port)).length).toBe(10 * piece.length);
    await running.handled();
  });

  test('trap 10: res.destroy() in mid-transfer ends the transfer and releases the descriptors', async () => {
    const responses: ServerResponse[] = [];
    await using running = await fileServer((res) => responses.push(res), native);
    const before = await settledDescriptors();
    const client = await stalledClient(running.port);
    let length = 0;
    client.on('data', (chunk: Buffer) => {
      length += chunk.length;
    });
    client.pause();
    await until('a response', () => responses.length === 1);
    await sleep(50);
    responses[0]?.destroy();
    client.resume();
    expect(await running.kinds()).toMatchObject([{ code: 'E_CLIENT_GONE' }]);
    await until('the client noticed', () => client.destroyed);
    expect(length).toBeLessThan(file.data.length);
    await until('as many descriptors as before', () => openDescriptors() <= before);
  });

  test('an answer that is ended before everything was sent loses its connection', async () => {
    const errors: unknown[] = [];
    await using running = await serve(async (_req, res) => {
      res.setHeader('Content-Length', file.data.length);
      const sender = await senderFor(res, { native, softBarrier: 16 << 20 });
      const shared = file.open();
      sender.enqueue({ kind: 'file', file: shared, offset: 0, length: file.data.length });
      shared.release();
      res.end();
      await sender.drained().catch((error: unknown) => errors.push(error));
      sender.close();
    });
    const client = await stalledClient(running.port);
    await until('an error', () => errors.length === 1);
    expect(errors).toMatchObject([{ code: 'E_SENDER' }]);
    client.destroy();
  });

  test('an answer that was ended, or whose client is gone, gets no sender', async () => {
    const results: Promise<unknown>[] = [];
    await using running = await serve((_req, res) => {
      res.end();
      results.push(senderFor(res, { native }).catch((error: unknown) => error));
    });
    await get(running.port);
    expect(await results[0]).toMatchObject({ code: 'E_SENDER' });
    const socket = new net.Socket();
    socket.destroy();
    await expect(senderFor(socket, { native })).rejects.toMatchObject({ code: 'E_CLIENT_GONE' });
  });

  test('a Unix socket', async () => {
    const name = path.join(tmpdir(), `footage-unix-${process.pid}-${kind}`);
    const kinds: string[] = [];
    const server = http.createServer(async (_req, res) => {
      res.setHeader('Content-Length', file.data.length);
      kinds.push(await answer(res, native));
    });
    server.listen(name);
    await once(server, 'listening');
    expect((await get(0, { socketPath: name, agent: false })).sha256).toBe(SHA256);
    await until('the answer ended', () => kinds.length === 1);
    expect(kinds).toEqual([kind]);
    server.close();
  });
});

describe('answers that must not be bypassed', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'footage-tls-'));
  const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=localhost',
      '-keyout',
      key,
      '-out',
      cert,
    ],
    { stdio: 'ignore' },
  );
  const tls = { key: readFileSync(key), cert: readFileSync(cert) };
  rmSync(folder, { recursive: true });

  test('trap 7: TLS, whose socket has a descriptor too', async () => {
    const kinds: string[] = [];
    await using running = await listen(
      https.createServer(tls, async (_req, res) => {
        res.setHeader('Content-Length', file.data.length);
        kinds.push(await answer(res));
      }),
    );
    const request = https.get({ port: running.port, host: '127.0.0.1', rejectUnauthorized: false });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    expect(digest(...chunks)).toBe(SHA256);
    await until('the answer ended', () => kinds.length === 1);
    expect(kinds).toEqual(['stream']);
  });

  test.each(['GET', 'HEAD'])('trap 8: HTTP/2 compat, %s', async (method) => {
    const kinds: unknown[] = [];
    await using running = await listen(
      http2.createServer(async (_req, res) => {
        res.setHeader('Content-Length', file.data.length);
        const sender = await senderFor(res, { native: addon }).catch((error: unknown) => {
          kinds.push(error);
          res.end();
        });
        if (sender === undefined) return;
        const shared = file.open();
        await sendFile(sender, shared, file.data.length);
        shared.release();
        sender.close();
        res.end();
        kinds.push(sender.kind);
      }),
    );
    const session = http2.connect(`http://127.0.0.1:${running.port}`);
    const stream = session.request({ ':path': '/', ':method': method });
    const chunks: Buffer[] = [];
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
    session.close();
    if (method === 'GET') {
      expect(digest(...chunks)).toBe(SHA256);
      await until('the answer ended', () => kinds.length === 1);
      expect(kinds).toEqual(['stream']);
    } else {
      expect(chunks).toEqual([]);
      expect(kinds).toMatchObject([{ code: 'E_SENDER' }]);
    }
  });

  test('trap 8: a client that resets its HTTP/2 stream', async () => {
    const errors: unknown[] = [];
    await using running = await listen(
      http2.createServer(async (_req, res) => {
        const sender = await senderFor(res, { native: addon });
        const shared = file.open();
        await sendFile(sender, shared, file.data.length).catch((error: unknown) => errors.push(error));
        shared.release();
        sender.close();
      }),
    );
    const session = http2.connect(`http://127.0.0.1:${running.port}`);
    const stream = session.request({ ':path': '/' });
    await once(stream, 'response');
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await until('an error', () => errors.length === 1);
    expect(errors).toMatchObject([{ code: 'E_CLIENT_GONE' }]);
    session.destroy();
  });

  test('an answer whose write was replaced (compression)', async () => {
    await using running = await fileServer((res) => {
      const write = res.write.bind(res);
      res.write = ((...args: Parameters<typeof write>) => write(...args)) as typeof res.write;
    });
    expect((await get(running.port)).sha256).toBe(SHA256);
    expect(await running.kinds()).toEqual(['stream']);
  });
});

test('trap 11: hundreds of stalled clients hold no thread, and do not starve file work', async () => {
  const big = makeFile(30_000_000);
  await using running = await serve(async (_req, res) => {
    res.setHeader('Content-Length', big.data.length);
    const sender = await senderFor(res, { native: addon, softBarrier: 32 << 20, hardBarrier: 64 << 20 });
    const shared = big.open();
    sender.enqueue({ kind: 'file', file: shared, offset: 0, length: big.data.length });
    shared.release();
    await sender.drained().catch(() => undefined);
    sender.close();
  });
  const clients: Socket[] = [];
  for (let i = 0; i < 300; i++) clients.push(await stalledClient(running.port));
  await until('no job is at work', () => addon.sendPool?.().running === 0);
  await sleep(100);
  expect(addon.sendPool?.()).toMatchObject({ running: 0, waiting: 0 });
  let slowest = 0;
  for (let i = 0; i < 20; i++) {
    const begun = performance.now();
    await fs.stat(big.name);
    slowest = Math.max(slowest, performance.now() - begun);
  }
  // A thread that waits for a client would be held until that is given up as idle, after 30 s.
  expect(slowest).toBeLessThan(10_000);
  for (const client of clients) client.destroy();
});

test('trap 18: worker.terminate() and process exit in mid-transfer', async () => {
  const child = fork(path.join(import.meta.dirname, 'terminate-child.mjs'), {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  child.stdout?.on('data', (text: Buffer) => (output += text.toString()));
  child.stderr?.on('data', (text: Buffer) => (output += text.toString()));
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  expect({ code, signal, output }).toEqual({ code: 0, signal: null, output: 'workers ended, descriptors released\n' });
});

test('an exception of the listener is an uncaught one, not a swallowed one', async () => {
  const child = fork(path.join(import.meta.dirname, 'throwing-listener-child.mjs'), {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  child.stdout?.on('data', (text: Buffer) => (output += text.toString()));
  child.stderr?.on('data', (text: Buffer) => (output += text.toString()));
  const [code] = (await once(child, 'exit')) as [number | null];
  expect(output).toContain('uncaught: from the listener');
  expect(code).toBe(7);
});
