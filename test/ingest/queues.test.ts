/** Bytes and frames that wait: in order, none lost, counted. */
import { describe, expect, test } from 'vitest';
import { ByteQueue } from '../../src/ingest/byte-queue.ts';
import { FrameQueue } from '../../src/ingest/frame-queue.ts';
import type { Frame } from '../../src/media.ts';
import { Random } from '../fuzz/random.ts';

describe('bytes', () => {
  test('come out as they went in, whatever the pieces', () => {
    const random = new Random(3);
    const bytes = Uint8Array.from({ length: 20_000 }, () => random.below(256));
    const queue = new ByteQueue();
    const taken: number[] = [];
    for (let at = 0; at < bytes.length || taken.length < bytes.length;) {
      const piece = bytes.subarray(at, at + random.below(random.oneIn(3) ? 2 : 700));
      queue.push(piece);
      at += piece.length;
      const wanted = random.below(900);
      const peeked = Uint8Array.from(queue.peek(wanted));
      expect(peeked).toEqual(bytes.subarray(taken.length, taken.length + Math.min(wanted, at - taken.length)));
      const got = queue.take(wanted);
      expect(got === undefined).toBe(wanted > at - taken.length);
      if (got !== undefined) expect(got).toEqual(peeked);
      taken.push(...(got ?? []));
      if (at === bytes.length) taken.push(...(queue.take(Math.min(100, bytes.length - taken.length)) ?? []));
    }
    expect(Uint8Array.from(taken)).toEqual(bytes);
    expect(queue.peek(1)).toEqual(new Uint8Array(0));
    expect(queue.take(1)).toBeUndefined();
  });

  test('of one piece are not copied', () => {
    const queue = new ByteQueue();
    const piece = Uint8Array.of(1, 2, 3, 4);
    queue.push(piece);
    queue.take(1);
    expect(queue.take(2)?.buffer).toBe(piece.buffer);
  });
});

const frame = (dts: number, bytes = 10): Frame => ({
  ...{ track: 0, data: new Uint8Array(bytes), dts, compositionOffset: 0, sync: true },
});

async function all(queue: FrameQueue<Frame>): Promise<number[]> {
  const taken: number[] = [];
  for await (const { dts } of queue) taken.push(dts);
  return taken;
}

describe('frames', () => {
  test('are taken in order, those that wait and those that are waited for, until the end', async () => {
    const queue = new FrameQueue<Frame>();
    for (let i = 0; i < 5; i++) queue.push(frame(i));
    const taking = all(queue);
    await new Promise(setImmediate);
    for (let i = 5; i < 9; i++) {
      queue.push(frame(i));
      if (i % 2 === 0) await new Promise(setImmediate);
    }
    queue.end();
    queue.push(frame(99));
    expect(await taking).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect((await queue.next()).done).toBe(true);
  });

  test('that wait are still taken before a failure is told', async () => {
    const queue = new FrameQueue<Frame>();
    queue.push(frame(1));
    queue.fail(new Error('lost'));
    queue.fail(new Error('another'));
    queue.end();
    expect((await queue.next()).value?.dts).toBe(1);
    await expect(queue.next()).rejects.toThrow('lost');
    const waiting = new FrameQueue<Frame>();
    const next = waiting.next();
    waiting.fail(new Error('gone'));
    await expect(next).rejects.toThrow('gone');
  });

  test('are counted in bytes while they wait, and told when taken', async () => {
    const told: number[] = [];
    const queue = new FrameQueue<Frame>((bytes) => told.push(bytes));
    for (let i = 0; i < 4; i++) queue.push(frame(i, 100 + i));
    expect(queue.bytes).toBe(406);
    for (let i = 0; i < 4; i++) await queue.next();
    expect(told).toEqual([306, 205, 103, 0]);
    const waited = queue.next();
    queue.push(frame(5, 1000));
    await waited;
    expect(queue.bytes, 'handed on at once').toBe(0);
  });

  test('that wait are forgotten when nobody wants them', async () => {
    const queue = new FrameQueue<Frame>();
    for (let i = 0; i < 4; i++) queue.push(frame(i));
    for await (const { dts } of queue) if (dts === 1) break;
    expect(queue.bytes).toBe(0);
    queue.push(frame(5));
    expect(queue.bytes).toBe(0);
    expect((await queue.next()).done).toBe(true);
  });
});
