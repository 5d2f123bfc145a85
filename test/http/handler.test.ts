/**
 * The handler on `node:http`, HTTPS and HTTP/2: the contract of its answers, the same with the addon and with the twin.
 * The bytes are compared with the plan's own slices, which no sender has touched.
 */
import { once } from 'node:events';
import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import http2, { type ClientHttp2Session } from 'node:http2';
import https from 'node:https';
import type { Socket } from 'node:net';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Archive, type ArchiveOptions, openArchive } from '../../src/archive.ts';
import type { ArchiveFace } from '../../src/http/exchange.ts';
import { createHandler } from '../../src/http/handler.ts';
import { listen, openDescriptors, settledDescriptors, sleep, stalledClient, until, WAYS } from '../sender/rig.ts';
import { faceOf } from '../support/fake-camera.ts';
import { BIG, bytesOf, DOOR, fillArchive, makeCertificate, serveHandler, START } from '../support/handler-fixture.ts';
import { errorOf, exchangeRaw, partsOf, request, type Reply } from '../support/http-client.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';

let folder = '';
let certificate: { readonly key: Buffer; readonly cert: Buffer };
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  await fillArchive(folder);
  certificate = await makeCertificate();
});

/** Leases lie in the catalog, which all tests of this file share: each test of leases has a decade of its own. */
let decade = 2030;

const rejections: unknown[] = [];
process.on('unhandledRejection', (reason) => rejections.push(reason));

async function opened(options: ArchiveOptions): Promise<Archive> {
  const archive = await openArchive(folder, options);
  onTestFinished(() => archive.close());
  return archive;
}

const door = { camera: 'door', start: START, duration: 16 };
const get = (path: string, rest = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${rest}\r\n`;

describe.each(WAYS)('with the %s sender', (_kind, native) => {
  const serve = async (options: ArchiveOptions = {}) => {
    const archive = await opened({ native, ...options });
    return { archive, ...(await serveHandler(archive)) };
  };

  test('a whole answer: its bytes, exact length, and the fields that make it resumable', async () => {
    const server = await serve();
    const bytes = await bytesOf(server.archive, door);
    const { status, headers, body } = await server.get(DOOR);
    expect(status).toBe(200);
    expect(body.equals(bytes)).toBe(true);
    expect(headers).toMatchObject({
      'content-type': 'video/mp4',
      'content-length': String(bytes.length),
      'accept-ranges': 'bytes',
      'content-disposition': 'inline; filename="door_2026-01-31T12-00-00Z_16s.mp4"',
      'last-modified': 'Sat, 31 Jan 2026 12:00:16 GMT',
      link: '<export.json?start=2026-01-31T12%3A00%3A00Z&duration=16>; rel="describedby"; type="application/json"',
    });
    expect(headers.etag).toMatch(/^"[^"]+"$/);
    expect(headers['transfer-encoding']).toBeUndefined();
    expect(server.errors).toEqual([]);
  });

  test.each<readonly [string, (bytes: Buffer) => readonly [number, number]]>([
    ['bytes=0-', ({ length }) => [0, length]],
    ['bytes=0-0', () => [0, 1]],
    ['bytes=100-199', () => [100, 200]],
    ['bytes=5000-70000', () => [5000, 70_001]],
    ['bytes=-1', ({ length }) => [length - 1, length]],
    ['bytes=-20000', ({ length }) => [length - 20_000, length]],
    ['bytes=1000-999999999', ({ length }) => [1000, length]],
  ])('Range: %s', async (range, expected) => {
    const server = await serve();
    const bytes = await bytesOf(server.archive, door);
    const [start, end] = expected(bytes);
    const { status, headers, body } = await server.get(DOOR, { headers: { range } });
    expect(status).toBe(206);
    expect(headers['content-range']).toBe(`bytes ${start}-${end - 1}/${bytes.length}`);
    expect(headers['content-length']).toBe(String(end - start));
    expect(body.equals(bytes.subarray(start, end))).toBe(true);
  });

  test('several answers, of all kinds, on one connection', async () => {
    const server = await serve();
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    const asked: [string, object][] = [
      [DOOR, {}],
      [DOOR, { headers: { range: 'bytes=10-99' } }],
      [DOOR, { method: 'HEAD' }],
      [`${DOOR}&gaps=no`, {}],
      ['/api/cameras', {}],
      [BIG, {}],
      [DOOR, { headers: { 'if-none-match': '*' } }],
      [DOOR, {}],
    ];
    const replies: Reply[] = [];
    for (const [path, fields] of asked) replies.push(await server.get(path, { agent, ...fields }));
    expect(replies.map(({ status }) => status)).toEqual([200, 206, 200, 400, 200, 200, 304, 200]);
    expect(new Set(replies.map(({ localPort }) => localPort)).size).toBe(1);
    expect(replies[7]?.body.equals(replies[0]?.body ?? Buffer.alloc(0))).toBe(true);
    const big = await bytesOf(server.archive, { camera: 'big', start: START, duration: 300 });
    expect(replies[5]?.body.equals(big)).toBe(true);
  });

  test('pipelined requests are answered in order', async () => {
    const server = await serve();
    const bytes = await bytesOf(server.archive, door);
    const ranges = [
      [0, 99],
      [200, 90_000],
      [5, 5],
    ] as const;
    const texts = ranges.map(([from, to]) => get(DOOR, `Range: bytes=${from}-${to}\r\n`));
    const last = get('/healthz', 'Connection: close\r\n');
    let rest = await exchangeRaw(server.port, [...texts, last].join(''));
    for (const [from, to] of ranges) {
      const body = rest.indexOf('\r\n\r\n') + 4;
      expect(rest.subarray(0, body).toString()).toContain(`\r\nContent-Range: bytes ${from}-${to}/${bytes.length}\r\n`);
      const end = body + to + 1 - from;
      expect(rest.subarray(body, end).equals(bytes.subarray(from, to + 1))).toBe(true);
      rest = rest.subarray(end);
    }
    expect(rest.toString()).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*\r\n\r\n\{"status":"ok"\}\n$/);
  });

  test('many at once do not mix', async () => {
    const server = await serve();
    const bytes = await bytesOf(server.archive, door);
    const starts = Array.from({ length: 12 }, (_, i) => i * 20_001);
    const replies = await Promise.all(starts.map((at) => server.get(DOOR, { headers: { range: `bytes=${at}-` } })));
    expect(replies.map(({ body }, i) => body.equals(bytes.subarray(starts[i])))).toEqual(starts.map(() => true));
  });

  test('a client that leaves in mid-transfer leaves nothing behind but the lease', async () => {
    let nowMs = Date.UTC((decade += 10), 0);
    const archive = await opened({ native, now: () => nowMs });
    let planned = 0;
    const session: ArchiveFace['session'] = (asked) => archive.session(asked).finally(() => planned++);
    const server = await serveHandler({ ...faceOf(archive), session });
    const { manifest } = await archive.session({ camera: 'big', start: START, duration: 300 });
    await server.get(BIG, { headers: { range: 'bytes=0-9' } });
    nowMs += 11 * 60_000;
    expect(archive.leased().size).toBe(0);
    const before = await settledDescriptors();
    const clients: Socket[] = [];
    for (let i = 0; i < 5; i++) clients.push(await stalledClient(server.port, get(BIG)));
    await until('all are being sent', () => planned === 6 && openDescriptors() >= before + 15);
    // The ten minutes count from the end of the connection, not from its beginning.
    nowMs += 5 * 60_000;
    for (const client of clients) client.destroy();
    await until('all descriptors are closed', () => openDescriptors() <= before);
    expect([...archive.leased()].toSorted()).toEqual([...manifest.segments].toSorted());
    nowMs += 9 * 60_000;
    expect(archive.leased().size).toBe(manifest.segments.length);
    nowMs += 2 * 60_000;
    expect(archive.leased().size).toBe(0);
    expect([server.errors, rejections]).toEqual([[], []]);
  });

  test('a signal aborts a send, its reason is the error, and a truncated answer is cut off', async () => {
    const archive = await opened({ native });
    const controller = new AbortController();
    let failed: Promise<unknown> | undefined;
    const running = await listen(
      http.createServer((_req, res) => {
        const send = async () => {
          const session = await archive.session({ camera: 'big', start: START, duration: 300 });
          res.setHeader('Content-Length', session.length);
          await session.send(res, { signal: controller.signal });
        };
        failed = send().catch((error: unknown) => error);
      }),
    );
    onTestFinished(() => running[Symbol.asyncDispose]());
    await archive.session(door);
    const before = await settledDescriptors();
    const client = await stalledClient(running.port);
    await until('it is being sent', () => openDescriptors() >= before + 3);
    await sleep(50);
    const closed = once(client, 'close');
    const reason = new Error('enough');
    controller.abort(reason);
    expect(await failed).toBe(reason);
    client.resume();
    await closed;
    await until('all descriptors are closed', () => openDescriptors() <= before);
    expect(rejections).toEqual([]);
  });

  test('a limited session takes as long as it must', async () => {
    const [rate, burst] = [400_000, 50_000];
    const server = await serve({ pacing: { session: { bytesPerSecond: rate, burstBytes: burst } } });
    const bytes = await bytesOf(server.archive, door);
    const beganMs = performance.now();
    const { body } = await server.get(DOOR);
    const tookMs = performance.now() - beganMs;
    expect(body.equals(bytes)).toBe(true);
    expect(tookMs).toBeGreaterThan((0.5 * 1000 * (bytes.length - burst)) / rate);
  });

  test('barriers and idle timeout are those of the handler: a client that takes nothing is given up', async () => {
    const archive = await opened({ native });
    const sender = { softBarrier: 1 << 20, hardBarrier: 2 << 20, idleTimeoutMs: 400 };
    const running = await listen(http.createServer(archive.handler({ sender })));
    onTestFinished(() => running[Symbol.asyncDispose]());
    const client = await stalledClient(running.port, `GET ${BIG} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until('it is given up', () => archive.stats().sending.sessions.failed.E_CLIENT_GONE === 1);
    client.destroy();
  });

  test('TLS: the same bytes', async () => {
    const archive = await opened({ native });
    const running = await listen(https.createServer(certificate, archive.handler()));
    onTestFinished(() => running[Symbol.asyncDispose]());
    const bytes = await bytesOf(archive, door);
    const reply = await request(`https://127.0.0.1:${running.port}${DOOR}`, { headers: { range: 'bytes=7-200000' } });
    expect([reply.status, reply.body.equals(bytes.subarray(7, 200_001))]).toEqual([206, true]);
  });

  test('HTTP/2: the same bytes, several at once, and a client that leaves', async () => {
    const archive = await opened({ native });
    // The compatibility API of HTTP/2 calls the same handler with its own request and response.
    const running = await listen(http2.createSecureServer({ ...certificate, allowHTTP1: false }, archive.handler()));
    onTestFinished(() => running[Symbol.asyncDispose]());
    const bytes = await bytesOf(archive, door);
    const session = http2.connect(`https://127.0.0.1:${running.port}`, { rejectUnauthorized: false });
    onTestFinished(() => session.destroy());
    const answers = await Promise.all([
      ask(session, { ':path': DOOR }),
      ask(session, { ':path': DOOR, range: 'bytes=100-40000' }),
      ask(session, { ':path': DOOR, ':method': 'HEAD' }),
      ask(session, { ':path': '/api/cameras/nobody/timeline' }),
      ask(session, { ':path': DOOR, range: 'bytes=999999999-' }),
      ask(session, { ':path': DOOR, range: 'bytes=100-199,5000-40000' }),
      ask(session, { ':path': DOOR, 'if-match': '"other"' }),
      ask(session, { ':path': DOOR, 'if-none-match': '*' }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 206, 200, 404, 416, 206, 412, 304]);
    expect(answers[0]?.body.equals(bytes)).toBe(true);
    expect(answers[1]?.body.equals(bytes.subarray(100, 40_001))).toBe(true);
    expect([answers[2]?.length, answers[2]?.body.length]).toEqual([String(bytes.length), 0]);
    expect(JSON.parse(String(answers[3]?.body))).toMatchObject({ error: { code: 'E_CAMERA_UNKNOWN' } });
    const parts = partsOf(answers[5]?.type, answers[5]?.body ?? Buffer.alloc(0));
    expect(parts.map(({ body }) => body.length)).toEqual([100, 35_001]);
    expect(parts[1]?.body.equals(bytes.subarray(5000, 40_001))).toBe(true);
    expect(answers[7]?.body.length).toBe(0);

    const before = await settledDescriptors();
    const leaving = session.request({ ':path': BIG });
    leaving.on('error', () => undefined);
    await once(leaving, 'response');
    await until('it is being sent', () => openDescriptors() > before);
    leaving.close(http2.constants.NGHTTP2_CANCEL);
    await until('its file is closed', () => openDescriptors() <= before);
    expect((await ask(session, { ':path': DOOR })).body.equals(bytes)).toBe(true);
    expect(rejections).toEqual([]);
  });
});

async function ask(session: ClientHttp2Session, fields: Record<string, string>) {
  const stream = session.request(fields);
  stream.end();
  const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader];
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  const { ':status': status, 'content-length': length, 'content-type': type } = headers;
  return { status, length, type, body: Buffer.concat(chunks) };
}

describe('what is refused, with status and code', () => {
  const range = `start=${START}&duration=5`;
  test.each([
    [400, 'E_CAMERA_NAME', `/api/cameras/..%2Fdoor/export.mp4?${range}`],
    [400, 'E_CAMERA_NAME', `/api/cameras/%ZZ/timeline`],
    [400, 'E_CAMERA_NAME', `/mod_nvr/file?${range}`],
    [404, 'E_CAMERA_UNKNOWN', `/api/cameras/nobody/export.mp4?${range}`],
    [404, 'E_CAMERA_UNKNOWN', `/api/cameras/nobody/timeline`],
    [400, 'E_QUERY', '/api/cameras/door/export.mp4'],
    [400, 'E_QUERY', `/api/cameras/door/export.mp4?start=${START}`],
    [400, 'E_QUERY', `/api/cameras/door/export.mp4?end=${START}&duration=5`],
    [400, 'E_QUERY', `/api/cameras/door/export.mp4?${range}&end=${START}`],
    [400, 'E_QUERY', `/api/cameras/door/export.mp4?${range}&gaps=perhaps`],
    [400, 'E_QUERY', `/api/cameras/door/export.json?${range}&format=avi`],
    [400, 'E_QUERY', `/mod_nvr/file?stream=door&${range}&part=1`],
    [400, 'E_QUERY', `/api/cameras/door/timeline?start=${START}`],
    [400, 'E_TIME', '/api/cameras/door/export.mp4?start=noon&duration=5'],
    [400, 'E_TIME', `/api/cameras/door/export.mp4?start=${START}&duration=-5`],
    [400, 'E_TIME', '/api/cameras/door/export.mp4?start=8640000000000&duration=5'],
    [400, 'E_TIME', '/api/cameras/door/timeline?start=8640000000000&duration=5'],
    [400, 'E_RANGE_ORDER', `/api/cameras/door/export.mp4?start=${START}&end=${START}`],
    [404, 'E_RANGE_EMPTY', '/api/cameras/door/export.mp4?start=2020-01-01T00:00:00Z&duration=5'],
    [409, 'E_GAP', `/api/cameras/door/export.mp4?start=${START}&duration=70&gaps=error`],
    [404, 'E_NOT_FOUND', '/api/cameras/door/export.avi'],
    [404, 'E_NOT_FOUND', '/'],
    [400, 'E_QUERY', '//'],
  ])('%d %s %s', async (status, code, path) => {
    const { get: ask, errors } = await serveHandler(await opened({}));
    const reply = await ask('/', { path });
    expect([reply.status, errorOf(reply).code]).toEqual([status, code]);
    expect(reply.headers['content-length']).toBe(String(reply.body.length));
    expect(errorOf(reply).message.length).toBeGreaterThan(20);
    expect(errors).toEqual([]);
  });

  test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('405 for %s, with what is allowed', async (method) => {
    const { get: ask } = await serveHandler(await opened({}));
    const reply = await ask(DOOR, { method });
    expect([reply.status, errorOf(reply).code, reply.headers.allow]).toEqual([405, 'E_METHOD', 'GET, HEAD']);
  });
});

describe('what is served besides', () => {
  test('cameras, timeline, health, the address of 2013, and names of downloads', async () => {
    const { get: ask } = await serveHandler(await opened({}));
    const json = async (path: string): Promise<unknown> => JSON.parse((await ask(path)).body.toString());
    const startUtcMs = Date.parse(START);
    expect(await json('/healthz')).toEqual({ status: 'ok' });
    const { cameras } = (await json('/api/cameras')) as { cameras: unknown[] };
    expect(cameras).toContainEqual({
      name: 'door',
      startUtcMs,
      endUtcMs: startUtcMs + 76_000,
      recording: false,
      live: null,
    });
    expect(await json(`/api/cameras/door/timeline?start=${START}&duration=100&unknown=1`)).toMatchObject({
      gaps: [
        { startUtcMs: startUtcMs + 16_000, endUtcMs: startUtcMs + 60_000 },
        { startUtcMs: startUtcMs + 76_000, endUtcMs: startUtcMs + 100_000 },
      ],
    });
    const old = await ask(`/mod_nvr/file?stream=door&start=${startUtcMs / 1000}&duration=16&download`);
    expect(old.headers['content-disposition']).toBe('attachment; filename="door_2026-01-31T12-00-00Z_16s.mp4"');
    expect(old.body.equals((await ask(DOOR)).body)).toBe(true);
  });

  test('the page, only where it was asked for', async () => {
    const { get: ask } = await serveHandler(await opened({}), true);
    for (const [path, type] of [
      ['/', 'text/html'],
      ['/app.js', 'text/javascript'],
      ['/style.css', 'text/css'],
    ] as const) {
      const { status, headers, body } = await ask(path);
      expect([status, headers['content-type'], Number(headers['content-length'])]).toEqual([
        200,
        `${type}; charset=utf-8`,
        body.length,
      ]);
    }
    expect((await ask('/', { method: 'HEAD' })).body.length).toBe(0);
    expect(errorOf(await ask('/../package.json')).code).toBe('E_NOT_FOUND');
  });
});

const failing = (session: ArchiveFace['session']): ArchiveFace => ({
  cameras: () => Promise.reject(new Error('secret')),
  timeline: () => Promise.reject(new Error('secret')),
  hls: () => Promise.reject(new Error('secret')),
  knowsCamera: () => Promise.reject(new Error('secret')),
  isRecording: () => false,
  control: () => undefined,
  liveCameras: () => [],
  session,
});

describe('failures of the server', () => {
  test('an unexpected one is 500, reported, and not told to the client', async () => {
    const { get: ask, errors } = await serveHandler(failing(() => Promise.reject(new Error('secret'))));
    const reply = await ask(DOOR);
    expect([reply.status, errorOf(reply).code, reply.body.includes('secret')]).toEqual([500, 'E_IO', false]);
    expect(errors).toEqual([new Error('secret')]);
  });

  test('one in the middle of an answer cuts the connection: a short body never looks whole', async () => {
    const archive: ArchiveFace = await opened({});
    const listener: RequestListener = createHandler(
      failing(async (asked) => {
        const session = await archive.session(asked);
        session.send = async (target) => {
          (target as ServerResponse).write('half');
          await sleep(10);
          throw new Error('the disk fell out');
        };
        return session;
      }),
      {},
    );
    const running = await listen(http.createServer(listener));
    onTestFinished(() => running[Symbol.asyncDispose]());
    const outgoing = http.get(`http://127.0.0.1:${running.port}${DOOR}`);
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    await expect(response.resume().toArray()).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(response.complete).toBe(false);
  });
});
