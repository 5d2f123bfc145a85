/**
 * Pacing on real connections: what a policy is told of a session, what the counters say of it, and that recording comes
 * first.
 */
import { once } from 'node:events';
import http from 'node:http';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Archive, type ArchiveOptions, openArchive } from '../../src/archive.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import { replay } from '../../src/ingest/replay.ts';
import type { Native, RawSender } from '../../src/native-types.ts';
import { loadAddon } from '../../src/native.ts';
import type { SenderOptions } from '../../src/sender/sender.ts';
import type { SessionTraits } from '../../src/session/pacing.ts';
import { rateLimiter } from '../../src/session/rate.ts';
import { sleepingSessions } from '../../src/session/send.ts';
import { listen, sleep, stalledClient, until, WAYS } from '../sender/rig.ts';
import { BIG, CLIP, DOOR, fillArchive, serveHandler, START } from '../support/handler-fixture.ts';
import { request } from '../support/http-client.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

let folder = '';
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  await fillArchive(folder);
});

async function serve(options: ArchiveOptions) {
  const archive = await openArchive(folder, options);
  onTestFinished(() => archive.close());
  return { archive, ...(await serveHandler(archive)) };
}

const rate = (bytesPerSecond: number, burstBytes = 0) => ({ bytesPerSecond, burstBytes });
const hlsOf = (camera: string) => `/api/cameras/${camera}/hls`;

async function toldOf(path: string, headers: Record<string, string> = {}) {
  const told: SessionTraits[] = [];
  const { get } = await serve({ pacing: (session) => (told.push(session), rateLimiter(rate(0))) });
  const { body } = await get(path, { headers });
  const [session] = told;
  if (session === undefined || told.length > 1) throw new Error('one request is one session');
  expect(session).toMatchObject({ clientAddress: '127.0.0.1', lengthBytes: body.length });
  return { session, body };
}

const realIp = (req: { headers: http.IncomingHttpHeaders }) => req.headers['x-real-ip'] as string | undefined;

describe('what a policy is told', () => {
  test('camera, address, length, and how much media it is; the header is none', async () => {
    const { session, body } = await toldOf(DOOR);
    const payload = body.indexOf('mdat') + 4;
    expect(session.camera).toBe('door');
    expect(session.mediaMs).toBeCloseTo(16_000, -2);
    expect(session.mediaMsIn(payload)).toBe(0);
    expect(session.mediaMsIn(payload + 10_000)).toBeGreaterThan(0);
    expect(session.mediaMsIn(body.length)).toBe(session.mediaMs);
  });

  test('of fragments, and of several segments, time goes up to the whole with the bytes', async () => {
    for (const path of [BIG, `${BIG}&format=fmp4`, `${BIG}&tracks=video`]) {
      const { session, body } = await toldOf(path);
      expect(session.mediaMs).toBeGreaterThan(295_000);
      expect(session.mediaMs).toBeLessThan(305_000);
      const times = Array.from({ length: 51 }, (_, i) => session.mediaMsIn((body.length * i) / 50));
      expect(times.toSorted((a, b) => a - b)).toEqual(times);
      // The five minutes are one file five times: each fifth of the bytes is a minute.
      for (const minute of [1, 2, 3, 4]) {
        expect(Math.abs(session.mediaMsIn((body.length * minute) / 5) - 60_000 * minute)).toBeLessThan(6000);
      }
    }
  });

  test('of a range, and of several, it is the media in them', async () => {
    const { session: whole, body } = await toldOf(DOOR);
    const half = Math.floor(body.length / 2);
    const { session: second } = await toldOf(DOOR, { range: `bytes=${half}-` });
    expect(second.mediaMs).toBeCloseTo(whole.mediaMs - whole.mediaMsIn(half), 6);
    const { session: both } = await toldOf(DOOR, { range: `bytes=0-99,${half}-` });
    expect(both.mediaMs).toBeCloseTo(second.mediaMs, 6);
  });

  test('a time-lapse lasts as long as it is shown', async () => {
    const { session } = await toldOf(`${BIG}&keyframes=1&speed=60`);
    expect(session.mediaMs).toBeCloseTo(5000, -2);
  });

  test('playlists have no media time', async () => {
    const { session } = await toldOf(`${hlsOf('door')}/index.m3u8?start=${START}&duration=16`);
    expect([session.camera, session.mediaMs]).toEqual(['door', 0]);
  });

  test('behind a proxy, the address that the handler is given', async () => {
    const told: string[] = [];
    const archive = await openArchive(folder, {
      pacing: ({ clientAddress }) => (told.push(clientAddress), rateLimiter(rate(0))),
    });
    onTestFinished(() => archive.close());
    const running = await listen(http.createServer(archive.handler({ clientAddress: realIp })));
    onTestFinished(() => running[Symbol.asyncDispose]());
    const url = `http://127.0.0.1:${running.port}${DOOR}`;
    await request(url, { headers: { 'x-real-ip': '203.0.113.7', range: 'bytes=0-9' } });
    await request(url, { headers: { range: 'bytes=0-9' } });
    expect(told).toEqual(['203.0.113.7', '127.0.0.1']);
  });
});

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

describe.each(WAYS)('with the %s sender', (kind, native) => {
  test('the counters tell sessions, bytes, waits by cause, and planning', async () => {
    const { archive, get: ask } = await serve({ native, pacing: { session: rate(200_000, 1000) } });
    const { body } = await ask(DOOR);
    await ask(DOOR, { headers: { range: 'bytes=0-99' } });
    await ask('/api/cameras/nobody/export.mp4?start=0&duration=1');
    const { sending, planning, pool } = archive.stats();
    expect(sending.sessions).toEqual({ active: 0, begun: 2, completed: 2, failed: {} });
    expect(sending.bytes).toEqual({ native: 0, stream: 0, [kind]: body.length + 100 });
    // Its pieces are a second apart.
    expect(sending.stalls.sessionRate.count).toBeGreaterThan(0);
    expect(sending.stalls.sessionRate.ms).toBeGreaterThan(0);
    expect(sending.stalls.serverRate).toEqual({ count: 0, ms: 0 });
    expect(sending.stateMs.ready + sending.stateMs.overloaded).toBeGreaterThan(0);
    expect(planning.count).toBe(2);
    expect(pool.threads).toBe(Number(process.env['UV_THREADPOOL_SIZE'] ?? 4));
    if (kind === 'native') expect(pool.sends).toMatchObject({ running: 0, waiting: 0 });
    else expect(pool.sends).toBeNull();
    expect(JSON.parse(JSON.stringify(archive.stats()))).toEqual(archive.stats());
  });

  test('a client that takes nothing is a wait for the client; one that leaves is counted by its code', async () => {
    const { archive, port } = await serve({ native, pacing: { session: rate(2e7, 1e9) } });
    const client = await stalledClient(port, get(BIG));
    await until('the queue is full', () => archive.stats().sending.stateMs.softLimit > 0);
    const { sessions, bytes } = archive.stats().sending;
    expect(sessions).toEqual({ active: 1, begun: 1, completed: 0, failed: {} });
    expect(bytes[kind]).toBeGreaterThan(0);
    client.destroy();
    await until('it is over', () => archive.stats().sending.sessions.active === 0);
    expect(archive.stats().sending.sessions).toMatchObject({ completed: 0, failed: { E_CLIENT_GONE: 1 } });
  });

  test('a session that sleeps ends at once when its client leaves, or the archive closes', async () => {
    const before = sleepingSessions();
    const { archive, port } = await serve({ native, pacing: { session: rate(1000, 0) } });
    const [leaving, staying] = [await stalledClient(port, get(BIG)), await stalledClient(port, get(BIG))];
    await until('both sleep', () => sleepingSessions() === before + 2);
    leaving.destroy();
    await until('one sleeps', () => sleepingSessions() === before + 1);
    await until('one is over', () => archive.stats().sending.sessions.active === 1);
    expect(archive.stats().sending.sessions.failed).toEqual({ E_CLIENT_GONE: 1 });
    const closed = once(staying, 'close');
    staying.resume();
    await archive.close();
    await closed;
    expect(sleepingSessions()).toBe(before);
    expect(archive.stats().sending.sessions.failed).toEqual({ E_CLIENT_GONE: 1, E_CLOSED: 1 });
  });

  test('an abort of the caller ends the sleep, and is counted as such', async () => {
    const before = sleepingSessions();
    const { archive } = await serve({ native });
    const session = await archive.session({ camera: 'big', start: START, duration: 300 });
    const controller = new AbortController();
    const running = await listen(
      http.createServer((_, res) => {
        session.send(res, { signal: controller.signal, rate: rate(1000, 0) }).catch(() => undefined);
      }),
    );
    onTestFinished(() => running[Symbol.asyncDispose]());
    await stalledClient(running.port);
    await until('it sleeps', () => sleepingSessions() === before + 1);
    // Whatever the reason is that the caller gives.
    controller.abort(new Error('enough'));
    await until('it is over', () => archive.stats().sending.sessions.active === 0);
    expect(sleepingSessions()).toBe(before);
    expect(archive.stats().sending.sessions.failed).toEqual({ aborted: 1 });
  });

  test('sessions on one uplink get equal bytes, whenever they began', async () => {
    const { port } = await serve({ native, pacing: { server: rate(4_000_000) } });
    const got = [0, 0, 0];
    const connect = async (i: number) => {
      const client = await stalledClient(port, get(BIG));
      client.on('data', (chunk) => (got[i] = (got[i] ?? 0) + chunk.length));
      client.resume();
    };
    await connect(0);
    await until('the first is on its way', () => (got[0] ?? 0) > 3_000_000);
    await connect(1);
    await connect(2);
    await until('the others are too', () => got.slice(1).every((bytes) => bytes > 500_000));
    const begun = [...got];
    await sleep(3000);
    const shares = got.map((bytes, i) => bytes - (begun[i] ?? 0));
    const [least, most] = [Math.min(...shares), Math.max(...shares)] as const;
    expect(most).toBeLessThan(2 * least);
    expect(shares.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(2 * 3 * 4_000_000);
  });
});

/** Soft barriers of the senders that are made for `door`, under these limits. */
async function barrierUnder(pacing: ArchiveOptions['pacing'], sender: SenderOptions = {}): Promise<number> {
  const addon = loadAddon();
  const seen: number[] = [];
  const createSender: Native['createSender'] = (fd, options) => {
    seen.push(options.softBarrier);
    return addon.createSender?.(fd, options) as RawSender;
  };
  const archive = await openArchive(folder, { native: { ...addon, createSender }, ...(pacing && { pacing }) });
  onTestFinished(() => archive.close());
  const session = await archive.session({ camera: 'door', start: START, duration: 16 });
  const answer: http.RequestListener = (_, res) => {
    res.writeHead(200, { 'content-length': session.length });
    void session.send(res, { sender }).then(() => res.end());
  };
  const running = await listen(http.createServer(answer));
  onTestFinished(() => running[Symbol.asyncDispose]());
  await request(`http://127.0.0.1:${running.port}/`);
  return seen[0] ?? 0;
}

describe('the queue of a session', () => {
  test('is two pieces when it is paced, and large when it is not; what the caller says counts first', async () => {
    const paced = { session: rate(200_000, 1e9) };
    expect(await barrierUnder(undefined)).toBe(128 * 2 ** 20);
    expect(await barrierUnder(paced)).toBe(2 * 190_000);
    expect(await barrierUnder(paced, { softBarrier: 1000 })).toBe(1000);
    expect(await barrierUnder(paced, { hardBarrier: 2000 })).toBe(2000);
    expect(await barrierUnder(undefined, { softBarrier: 1000 })).toBe(1000);
    expect(await barrierUnder(() => ({ pieceBytes: 1000.3, spend: () => 0 }))).toBe(2000);
  });
});

/** A disk whose flushes take `ms()`. */
async function recordingOn(ms: () => number, pacing: ArchiveOptions['pacing'] = {}) {
  const addon = loadAddon();
  const slow = async (fds: Int32Array) => {
    await sleep(ms());
    return addon.groupFlush(fds);
  };
  const path = await temporaryFolder();
  await fillArchive(path);
  const archive = await openArchive(path, { native: { ...addon, groupFlush: slow }, pacing });
  onTestFinished(() => archive.close());
  const file = await openMediaFile(CLIP);
  onTestFinished(() => file.close());
  const frames = replay(file, { loop: true });
  const recording = await archive.record('yard', { tracks: file.tracks, frames, flushIntervalMs: 200 });
  return { archive, recording, ...(await serveHandler(archive)) };
}

const budgetOf = (archive: Archive) => archive.stats().pacing.recordingFirst?.budgetBytesPerSecond ?? null;

describe('recording first', () => {
  test('slow flushes of a recording give the exports a budget; it is lifted when the recording ends', async () => {
    const { archive, recording, get } = await recordingOn(() => 150);
    expect(archive.stats().pacing.recordingFirst).toMatchObject({ recordings: 1, budgetBytesPerSecond: null });
    const exports = { areOver: false };
    const exporting = (async () => {
      while (!exports.areOver) await get(BIG);
    })();
    await until('there is a budget', () => budgetOf(archive) !== null);
    await until('somebody waits for it', () => archive.stats().sending.stalls.recordingFirst.count > 0);
    await until('a flush has ended', () => (archive.stats().pacing.recordingFirst?.flushMs.max ?? 0) > 100);
    exports.areOver = true;
    await recording.stop();
    expect(archive.stats().pacing.recordingFirst).toMatchObject({ recordings: 0, budgetBytesPerSecond: null });
    await exporting;
  });

  test('it can be switched off, and what is only read has none', async () => {
    const { archive, recording, get } = await recordingOn(() => 150, { recordingFirst: false });
    for (let i = 0; i < 20; i++) await get(BIG);
    expect(archive.stats().pacing.recordingFirst).toBeNull();
    expect(archive.stats().sending.stalls.recordingFirst.count).toBe(0);
    await recording.stop();
    const { archive: read } = await serve({ readOnly: true });
    expect(read.stats().pacing.recordingFirst).toBeNull();
  });
});
