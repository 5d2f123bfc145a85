/** The Sender contract, for the native and the stream sender alike. */
import { once } from 'node:events';
import { createWriteStream, promises as fs, readFileSync, truncateSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { twin } from '../../src/native.ts';
import { senderFor } from '../../src/sender/for-target.ts';
import { openShared } from '../../src/sender/shared-file.ts';
import {
  digest,
  get,
  makeFile,
  openDescriptors,
  receive,
  sendFile,
  serve,
  settledDescriptors,
  sleep,
  stalled,
  until,
  WAYS,
} from './rig.ts';

const file = makeFile(20_000_001);

/** Reads about `length` bytes and stalls again. */
async function readSome(client: Socket, length: number): Promise<void> {
  let got = 0;
  await new Promise<void>((resolve) => {
    const onData = (chunk: Buffer): void => {
      got += chunk.length;
      if (got < length) return;
      client.off('data', onData);
      client.pause();
      resolve();
    };
    client.on('data', onData);
    client.resume();
  });
}

describe.each(WAYS)('the %s sender', (kind, native) => {
  test('sends bytes and file ranges in order', async () => {
    const pieces: Buffer[] = [];
    await using running = await serve(async (_req, res) => {
      const shared = file.open();
      res.setHeader(
        'Content-Length',
        pieces.reduce((sum, piece) => sum + piece.length, 0),
      );
      const sender = await senderFor(res, { native });
      expect(sender.kind).toBe(kind);
      for (const [i, piece] of pieces.entries()) {
        while (['softLimit', 'hardLimit'].includes(sender.state())) await sender.hint();
        if (i % 2 === 0) sender.enqueue({ kind: 'bytes', data: piece });
        else sender.enqueue({ kind: 'file', file: shared, offset: 1000 * i, length: piece.length });
      }
      shared.release();
      await sender.drained();
      expect(sender.sent()).toBe(res.getHeader('Content-Length'));
      sender.close();
      res.end();
    });
    for (let i = 0; i < 60; i++) {
      const length = (i * 7919) % 300_000;
      pieces.push(i % 2 === 0 ? Buffer.alloc(length, i) : file.data.subarray(1000 * i, 1000 * i + length));
    }
    expect((await get(running.port)).sha256).toBe(digest(...pieces));
    await running.handled();
  });

  test('sends a file in pieces that continue each other', async () => {
    await using running = await serve(async (_req, res) => {
      res.setHeader('Content-Length', file.data.length);
      const sender = await senderFor(res, { native });
      const shared = file.open();
      await sendFile(sender, shared, file.data.length, 100_000);
      shared.release();
      sender.close();
      res.end();
    });
    expect((await get(running.port)).sha256).toBe(digest(file.data));
    await running.handled();
  });

  test('reports ready, overloaded, softLimit, and refuses with hardLimit, on a client that reads nothing', async () => {
    await using rig = await stalled(native, { softBarrier: 2 << 20, hardBarrier: 4 << 20 });
    const { sender } = rig;
    const piece = { kind: 'bytes', data: file.data.subarray(0, 64 << 10) } as const;
    expect(sender.state()).toBe('ready');
    const states: string[] = [];
    let taken = 0;
    for (let state = ''; state !== 'hardLimit';) {
      state = sender.enqueue(piece);
      if (state !== 'hardLimit') taken += piece.data.length;
      if (states.at(-1) !== state) states.push(state);
      await new Promise(setImmediate);
    }
    expect(states).toEqual(['ready', 'overloaded', 'softLimit', 'hardLimit']);
    expect(sender.state()).toBe('hardLimit');
    expect(sender.fill()).toBeGreaterThanOrEqual(4 << 20);
    const received = await receive(rig.client, taken);
    expect(received.length).toBe(taken);
    await sender.drained();
    expect(sender.sent()).toBe(taken);
    expect(sender.state()).toBe('ready');
    sender.close();
  });

  test('hints when the queue falls below the soft barrier, and when it is empty', async () => {
    await using rig = await stalled(native, { softBarrier: 1 << 20, hardBarrier: 64 << 20 });
    const shared = file.open();
    rig.sender.enqueue({ kind: 'file', file: shared, offset: 0, length: file.data.length });
    shared.release();
    await until('softLimit', () => rig.sender.state() === 'softLimit');
    let hints = 0;
    const watching = (async () => {
      for (; rig.sender.sent() < file.data.length; hints++) await rig.sender.hint();
    })();
    const received = await receive(rig.client, file.data.length);
    expect(digest(received)).toBe(digest(file.data));
    await rig.sender.drained();
    await watching;
    expect(hints).toBeGreaterThan(0);
    rig.sender.close();
  });

  test('ends with E_SENDER when a file ends before its range', async () => {
    const name = path.join(tmpdir(), `footage-short-${process.pid}-${kind}`);
    await fs.writeFile(name, file.data.subarray(0, 1000));
    await using rig = await stalled(native);
    const shared = await openShared(name);
    rig.sender.enqueue({ kind: 'file', file: shared, offset: 0, length: 2000 });
    shared.release();
    await expect(rig.sender.drained()).rejects.toMatchObject({ code: 'E_SENDER' });
    expect(rig.sender.state()).toBe('closed');
    expect(rig.sender.enqueue({ kind: 'bytes', data: Buffer.from('x') })).toBe('closed');
    expect(rig.socket.destroyed).toBe(true);
    await fs.unlink(name);
  });

  test('ends with E_SENDER when a queued file is cut meanwhile', async () => {
    const name = path.join(tmpdir(), `footage-cut-${process.pid}-${kind}`);
    await fs.writeFile(name, file.data);
    await using rig = await stalled(native, { softBarrier: 1 << 20, hardBarrier: 64 << 20 });
    const shared = await openShared(name);
    rig.sender.enqueue({ kind: 'file', file: shared, offset: 0, length: file.data.length });
    shared.release();
    await until('full', () => rig.sender.sent() > 0);
    await sleep(50);
    truncateSync(name, 1000);
    rig.client.resume();
    await expect(rig.sender.drained()).rejects.toMatchObject({ code: 'E_SENDER' });
    await fs.unlink(name);
  });

  test('ends with E_CLIENT_GONE when the client takes nothing for idleTimeoutMs', async () => {
    await using rig = await stalled(native, { idleTimeoutMs: 200 });
    const shared = file.open();
    rig.sender.enqueue({ kind: 'file', file: shared, offset: 0, length: file.data.length });
    shared.release();
    const hint = rig.sender.hint();
    await expect(rig.sender.drained()).rejects.toMatchObject({ code: 'E_CLIENT_GONE' });
    await hint;
    expect(rig.sender.error()).toMatchObject({ code: 'E_CLIENT_GONE' });
    await rig.sender.hint();
  });

  test('does not take a slow client for an idle one', async () => {
    await using rig = await stalled(native, { idleTimeoutMs: 1500, softBarrier: 32 << 20, hardBarrier: 64 << 20 });
    const shared = file.open();
    rig.sender.enqueue({ kind: 'file', file: shared, offset: 0, length: file.data.length });
    shared.release();
    for (let i = 0; i < 8; i++) {
      await readSome(rig.client, 1 << 20);
      await sleep(300);
    }
    expect(rig.sender.error()).toBeUndefined();
    rig.client.resume();
    await rig.sender.drained();
    rig.sender.close();
  });

  test('client RST: ends with E_CLIENT_GONE', async () => {
    await using rig = await stalled(native, { softBarrier: 32 << 20, hardBarrier: 64 << 20 });
    const shared = file.open();
    rig.sender.enqueue({ kind: 'file', file: shared, offset: 0, length: file.data.length });
    shared.release();
    await sleep(50);
    rig.client.resetAndDestroy();
    await expect(rig.sender.drained()).rejects.toMatchObject({ code: 'E_CLIENT_GONE' });
    expect(rig.sender.state()).toBe('closed');
  });

  test('close() with everything drained keeps the connection, with bytes outstanding it destroys it', async () => {
    await using kept = await stalled(native);
    kept.sender.enqueue({ kind: 'bytes', data: Buffer.from('all') });
    await kept.sender.drained();
    kept.sender.close();
    kept.sender.close();
    expect(kept.socket.destroyed).toBe(false);
    expect(kept.sender.state()).toBe('closed');
    await kept.sender.drained();

    await using lost = await stalled(native, { softBarrier: 32 << 20, hardBarrier: 64 << 20 });
    const shared = file.open();
    lost.sender.enqueue({ kind: 'file', file: shared, offset: 0, length: file.data.length });
    shared.release();
    const drained = lost.sender.drained();
    lost.sender.close();
    await expect(drained).rejects.toMatchObject({ code: 'E_SENDER' });
    expect(lost.socket.destroyed).toBe(true);
  });

  test('takes empty pieces and sends nothing for them', async () => {
    await using rig = await stalled(native);
    const shared = file.open();
    expect(rig.sender.enqueue({ kind: 'bytes', data: new Uint8Array(0) })).toBe('ready');
    expect(rig.sender.enqueue({ kind: 'file', file: shared, offset: 5, length: 0 })).toBe('ready');
    shared.release();
    await rig.sender.drained();
    expect(rig.sender.sent()).toBe(0);
    rig.sender.close();
  });

  test('refuses unknown and wrong options', async () => {
    await using rig = await stalled(native);
    const { socket } = rig;
    await expect(senderFor(socket, { native, soft: 1 } as never)).rejects.toThrow(/unknown option.*soft/);
    await expect(senderFor(socket, { native, softBarrier: 'x' } as never)).rejects.toThrow(TypeError);
    await expect(senderFor(socket, { native, softBarrier: 0 })).rejects.toThrow(RangeError);
    await expect(senderFor(socket, { native, softBarrier: 10, hardBarrier: 5 })).rejects.toThrow(RangeError);
    await expect(senderFor(socket, { native, idleTimeoutMs: -1 })).rejects.toThrow(RangeError);
  });

  test('releases every descriptor', async () => {
    await stalled(native).then((rig) => rig[Symbol.asyncDispose]());
    const before = await settledDescriptors();
    for (let i = 0; i < 5; i++) {
      const rig = await stalled(native, { softBarrier: 32 << 20, hardBarrier: 64 << 20 });
      const shared = file.open();
      rig.sender.enqueue({ kind: 'file', file: shared, offset: 0, length: file.data.length });
      rig.sender.enqueue({ kind: 'file', file: shared, offset: 7, length: 5000 });
      shared.release();
      await sleep(i * 5);
      rig.socket.destroy();
      await until('closed', () => rig.sender.state() === 'closed');
      await rig[Symbol.asyncDispose]();
    }
    await until('as many descriptors as before', () => openDescriptors() <= before);
  });
});

test('writes into a file like into any Writable, never far above its high-water mark', async () => {
  const name = path.join(tmpdir(), `footage-out-${process.pid}`);
  const out = createWriteStream(name);
  const sender = await senderFor(out, { native: twin });
  const shared = file.open();
  await sendFile(sender, shared, file.data.length);
  shared.release();
  sender.close();
  out.end();
  await once(out, 'close');
  expect(digest(readFileSync(name))).toBe(digest(file.data));
  await fs.unlink(name);
});

test('buffers at most one chunk beyond the high-water mark of a slow Writable', async () => {
  let most = 0;
  const slow: Writable = new Writable({
    highWaterMark: 100_000,
    write(_chunk, _encoding, done) {
      most = Math.max(most, slow.writableLength);
      setImmediate(done);
    },
  });
  const sender = await senderFor(slow);
  const shared = file.open();
  await sendFile(sender, shared, file.data.length);
  sender.enqueue({ kind: 'bytes', data: file.data });
  await sender.drained();
  shared.release();
  sender.close();
  expect(most).toBeLessThanOrEqual(100_000 + (256 << 10));
});

test('a Writable that fails ends the sender with its error as the cause', async () => {
  const failing = new Writable({ write: (_chunk, _encoding, done) => done(new Error('disk on fire')) });
  const sender = await senderFor(failing);
  sender.enqueue({ kind: 'bytes', data: file.data });
  await expect(sender.drained()).rejects.toMatchObject({ code: 'E_SENDER', cause: { message: 'disk on fire' } });
});
