/** Limits that many sendings share, on whole sendings: one that is over leaves what it owes to the next. The clock is the test's. */
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Piece, Sender } from '../../src/sender/sender.ts';
import type { RateLimiter } from '../../src/session/rate.ts';
import { sendRange } from '../../src/session/send.ts';
import { ClientRates, Share, SharedRate } from '../../src/session/shares.ts';
import { VirtualFile } from '../../src/session/virtual-file.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

/** Takes everything at once. */
class Taking implements Sender {
  readonly kind = 'stream';
  bytes = 0;
  enqueue(piece: Piece) {
    this.bytes += piece.kind === 'bytes' ? piece.data.length : piece.length;
    return 'ready' as const;
  }
  state = () => 'ready' as const;
  hint = () => new Promise<void>(() => undefined);
  fill = () => 0;
  sent = () => this.bytes;
  drained = () => Promise.resolve();
  error = () => undefined;
  close = () => undefined;
}

const fileOf = (bytes: number) => new VirtualFile([{ kind: 'bytes', data: new Uint8Array(bytes) }], '"x"', 0);

/** `count` sendings, one after the other. */
async function sendRanges(count: number, bytes: number, limiter: () => RateLimiter): Promise<void> {
  const file = fileOf(bytes);
  for (let i = 0; i < count; i++) {
    const own = limiter();
    await sendRange(file, { start: 0, end: bytes }, { sender: new Taking(), limiter: own });
    own.end?.();
  }
}

async function pass(ms: number): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += 20) {
    await vi.advanceTimersByTimeAsync(20);
    await turn();
  }
}

describe('a client that asks for one small range after another', () => {
  test('gets its rate, and no more', async () => {
    const [rate, bytes, count] = [100_000, 20_000, 50];
    const clients = new ClientRates({ bytesPerSecond: rate, burstBytes: 0 });
    const beganMs = performance.now();
    const ended = { atMs: Infinity };
    void sendRanges(count, bytes, () => clients.share('10.0.0.1', performance.now(), bytes)).then(
      () => (ended.atMs = performance.now()),
    );
    await pass(15_000);
    const tookMs = ended.atMs - beganMs;
    // The last piece is not waited for.
    expect(tookMs).toBeGreaterThan((((count - 1) * bytes) / rate) * 1000 - 1);
    expect(tookMs).toBeLessThan(((count * bytes) / rate) * 1000 * 1.1);
  });
});

describe('a long session beside many small ones', () => {
  test('has its share of the rate of the server', async () => {
    const [rate, bytes] = [1_000_000, 100_000];
    const shared = new SharedRate(rate, 0);
    const share = (lengthBytes: number) =>
      new Share(shared, { cause: 'serverRate', beganMs: performance.now(), lengthBytes });
    const sender = new Taking();
    const file = fileOf(40_000_000);
    const stop = new AbortController();
    const { length } = file;
    const long = sendRange(
      file,
      { start: 0, end: length },
      { sender, limiter: share(length), signal: stop.signal },
    ).catch(() => undefined);
    const small = Array.from({ length: 10 }, () => sendRanges(40, bytes, () => share(bytes)));
    await pass(20_000);
    // 11 sessions; a small one sends less in a round than this one.
    expect(sender.bytes).toBeGreaterThan((20 * rate) / 11);
    expect(sender.bytes).toBeLessThan(10 * rate);
    stop.abort();
    await pass(60_000);
    await Promise.all([long, ...small]);
  });
});
