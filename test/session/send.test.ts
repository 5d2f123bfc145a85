/**
 * Pass 2 against a sender that does only what the test says: stale hints, refusals, closings, and the order of limits.
 * Nothing here waits for real time.
 */
import { EventEmitter, getEventListeners, once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { FootageError } from '../../src/errors.ts';
import type { Piece, Sender, SenderState, SharedFile } from '../../src/sender/sender.ts';
import { rateLimiter, type RateLimiter } from '../../src/session/rate.ts';
import { SendingCounters } from '../../src/session/sending-stats.ts';
import { sendRange } from '../../src/session/send.ts';
import { type Slice, VirtualFile } from '../../src/session/virtual-file.ts';
import { openDescriptors, settledDescriptors, until } from '../sender/rig.ts';
import { temporaryFolder } from '../support/tmp.ts';

/** Takes pieces in memory; its states are set by the test, its hints are sent by the test. */
class FakeSender implements Sender {
  readonly kind = 'stream';
  /** Calls in order. */
  readonly calls: string[] = [];
  readonly taken: Piece[] = [];
  /** State after the next enqueues; then, and for `state()`, `now`. */
  readonly answers: SenderState[] = [];
  now: SenderState = 'ready';
  failure: Error | undefined;
  drainedWith: Promise<void> = Promise.resolve();
  #waiting: (() => void)[] = [];

  enqueue(piece: Piece): SenderState {
    this.calls.push('enqueue');
    const state = this.answers.shift() ?? this.now;
    this.now = state;
    if (state !== 'hardLimit' && state !== 'closed') this.taken.push(piece);
    return state;
  }
  state(): SenderState {
    this.calls.push('state');
    return this.now;
  }
  hint(): Promise<void> {
    this.calls.push('hint');
    if (this.now === 'closed') return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
  /** Sends a hint to those who wait, and lets them act on it. */
  async ring(): Promise<void> {
    for (const resolve of this.#waiting.splice(0)) resolve();
    for (let turns = 0; turns < 5; turns++) await turn();
  }
  fill = () => 0;
  sent = () => 0;
  drained(): Promise<void> {
    this.calls.push('drained');
    return this.drainedWith;
  }
  error = () => this.failure;
  close(): void {
    this.calls.push('close');
    this.now = 'closed';
    void this.ring();
  }
  count(call: string): number {
    return this.calls.filter((one) => one === call).length;
  }
  /** The bytes taken, those of files as zeros. */
  get bytes(): number[] {
    return this.taken.flatMap((piece) =>
      piece.kind === 'bytes' ? [...piece.data] : Array<number>(piece.length).fill(0),
    );
  }
}

const noLimit: RateLimiter = { pieceBytes: 4, spend: () => 0 };
const data = Uint8Array.from({ length: 16 }, (_, i) => i + 1);

function virtualFile(slices: readonly Slice[] = [{ kind: 'bytes', data }]): VirtualFile {
  return new VirtualFile(slices, '"x"', 0);
}

function send(sender: Sender, options: { limiter?: RateLimiter; signal?: AbortSignal; file?: VirtualFile } = {}) {
  const { limiter = noLimit, signal, file = virtualFile() } = options;
  const sending = sendRange(file, { start: 0, end: file.length }, { sender, limiter, signal });
  // A test that awaits it later must not be told of an unhandled rejection before.
  sending.catch(() => undefined);
  return sending;
}

test('pieces are in order, whole, and no larger than the limiter allows', async () => {
  const sender = new FakeSender();
  const slices = [data.subarray(0, 3), data.subarray(3, 12), data.subarray(12)];
  await send(sender, { file: virtualFile(slices.map((part) => ({ kind: 'bytes', data: part }))) });
  expect(sender.bytes).toEqual([...data]);
  expect(sender.taken.map((piece) => (piece.kind === 'bytes' ? piece.data.length : -1))).toEqual([3, 4, 4, 1, 4]);
  expect(sender.calls.at(-1)).toBe('drained');
});

test('it has not ended before the sender has handed everything over', async () => {
  const sender = new FakeSender();
  const drain = new EventEmitter();
  sender.drainedWith = once(drain, 'now').then(() => undefined);
  let ended = false;
  const sending = send(sender).then(() => (ended = true));
  await until('everything was queued', () => sender.count('drained') === 1);
  await turn();
  expect(ended).toBe(false);
  drain.emit('now');
  await sending;
});

describe('at the soft barrier', () => {
  test('nothing is sent on a stale hint: only the real state counts', async () => {
    const sender = new FakeSender();
    sender.answers.push('softLimit');
    const sending = send(sender);
    await turn();
    for (let stale = 1; stale <= 5; stale++) {
      await sender.ring();
      expect(sender.count('enqueue')).toBe(1);
      expect(sender.count('hint')).toBe(1 + stale);
    }
    sender.now = 'hardLimit';
    await sender.ring();
    expect(sender.count('enqueue')).toBe(1);
    sender.now = 'overloaded';
    await sender.ring();
    await sending;
    expect(sender.bytes).toEqual([...data]);
  });

  test('without a hint nothing is sent, even if the state has changed', async () => {
    const sender = new FakeSender();
    sender.answers.push('softLimit');
    const sending = send(sender);
    await turn();
    sender.now = 'ready';
    for (let turns = 0; turns < 10; turns++) await turn();
    expect(sender.count('enqueue')).toBe(1);
    await sender.ring();
    await sending;
  });

  test('"overloaded" is no reason to wait', async () => {
    const sender = new FakeSender();
    sender.now = 'overloaded';
    await send(sender);
    expect(sender.count('hint')).toBe(0);
    expect(sender.bytes).toEqual([...data]);
  });
});

describe('at the hard barrier', () => {
  test('a refused piece is sent again, not lost and not doubled', async () => {
    const sender = new FakeSender();
    sender.answers.push('ready', 'hardLimit', 'hardLimit', 'ready', 'hardLimit');
    const sending = send(sender);
    for (let rings = 0; rings < 3; rings++) {
      await until('the session waits', () => sender.calls.at(-1) === 'hint');
      sender.now = 'ready';
      await sender.ring();
    }
    await sending;
    expect(sender.bytes).toEqual([...data]);
    expect(sender.count('enqueue')).toBe(7);
  });

  test('it is not sent again while the sender still refuses', async () => {
    const sender = new FakeSender();
    sender.answers.push('hardLimit');
    const sending = send(sender);
    for (const state of ['hardLimit', 'softLimit', 'hardLimit'] as const) {
      sender.now = state;
      await sender.ring();
      expect(sender.count('enqueue')).toBe(1);
    }
    sender.now = 'ready';
    await sender.ring();
    await sending;
    expect(sender.bytes).toEqual([...data]);
  });
});

describe('a sender that closes', () => {
  const reason = new FootageError('E_SENDER', 'on purpose');

  test('refuses the next piece: its own error is the reason', async () => {
    const sender = new FakeSender();
    sender.answers.push('ready', 'closed');
    sender.failure = reason;
    await expect(send(sender)).rejects.toBe(reason);
    expect(sender.count('enqueue')).toBe(2);
  });

  test('without an error of its own means that the client has gone', async () => {
    const sender = new FakeSender();
    sender.answers.push('closed');
    await expect(send(sender)).rejects.toMatchObject({ code: 'E_CLIENT_GONE' });
  });

  test.each(['softLimit', 'hardLimit'] as const)('ends a wait at %s', async (state) => {
    const sender = new FakeSender();
    sender.answers.push(state);
    const sending = send(sender);
    await turn();
    sender.failure = reason;
    sender.now = 'closed';
    await sender.ring();
    await expect(sending).rejects.toBe(reason);
    expect(sender.count('enqueue')).toBe(1);
  });

  test('ends the wait of the limiter at once, while other hints do not', async () => {
    const sender = new FakeSender();
    const sending = send(sender, { limiter: { pieceBytes: 4, spend: () => 3_600_000 } });
    await turn();
    await sender.ring();
    await sender.ring();
    expect(sender.count('enqueue')).toBe(1);
    sender.failure = reason;
    sender.now = 'closed';
    await sender.ring();
    await expect(sending).rejects.toBe(reason);
  });

  test('during the last wait, for the queue to drain', async () => {
    const sender = new FakeSender();
    sender.drainedWith = Promise.reject(reason);
    await expect(send(sender)).rejects.toBe(reason);
  });
});

describe('the order of limits', () => {
  test('the soft barrier first, then the limiter, who is told of every byte', async () => {
    const sender = new FakeSender();
    sender.answers.push('softLimit');
    const spent: number[] = [];
    const limiter: RateLimiter = {
      pieceBytes: 6,
      spend: (bytes) => {
        sender.calls.push('spend');
        spent.push(bytes);
        return 0;
      },
    };
    const sending = send(sender, { limiter });
    await turn();
    expect(sender.calls).toEqual(['enqueue', 'hint']);
    sender.now = 'ready';
    await sender.ring();
    await sending;
    const first = sender.calls.indexOf('spend');
    expect(sender.calls.slice(0, first).filter((call) => call !== 'state')).toEqual(['enqueue', 'hint']);
    expect(sender.calls.slice(first).filter((call) => call !== 'state')).toEqual([
      'spend',
      'enqueue',
      'spend',
      'enqueue',
      'spend',
      'drained',
    ]);
    expect(spent).toEqual([6, 6, 4]);
  });

  describe('with a clock of the test', () => {
    beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
    afterEach(() => void vi.useRealTimers());

    test('a limited session sends the burst, then the rate: no faster, and no slower', async () => {
      const [rate, burst, length] = [200_000, 100_000, 1_000_000];
      const sender = new FakeSender();
      const limiter = rateLimiter({ bytesPerSecond: rate, burstBytes: burst });
      const file = virtualFile([{ kind: 'bytes', data: new Uint8Array(length) }]);
      const startMs = performance.now();
      const progress = { ended: false };
      const sending = send(sender, { limiter, file }).then(() => (progress.ended = true));
      const taken = () =>
        sender.taken.reduce((sum, piece) => sum + (piece.kind === 'bytes' ? piece.data.length : 0), 0);
      await turn();
      while (!progress.ended) {
        const allowed = burst + (rate * (performance.now() - startMs)) / 1000;
        expect(taken()).toBeLessThanOrEqual(allowed + limiter.pieceBytes + 1);
        expect(taken()).toBeGreaterThanOrEqual(Math.min(allowed, length) - limiter.pieceBytes);
        await vi.advanceTimersByTimeAsync(50);
        await turn();
      }
      await sending;
      expect(taken()).toBe(length);
      // The last piece is not waited for.
      expect(performance.now() - startMs).toBeGreaterThan((1000 * (length - burst - limiter.pieceBytes)) / rate);
      expect(performance.now() - startMs).toBeLessThan((1000 * (length - burst)) / rate + 200);
    });

    test('a limiter that fails when a sleep is over ends the session, and keeps no other asleep', async () => {
      const reason = new Error('on purpose');
      const failing: RateLimiter = {
        pieceBytes: 8,
        spend: () => 100,
        get cause(): 'policy' {
          throw reason;
        },
      };
      const [sender, other] = [new FakeSender(), new FakeSender()];
      const meter = new SendingCounters().begin();
      const file = virtualFile();
      const failed = sendRange(file, { start: 0, end: file.length }, { sender, limiter: failing, meter });
      const sent = send(other, { limiter: { pieceBytes: 8, spend: () => 100 } });
      const ends = [expect(failed).rejects.toBe(reason), sent];
      await turn();
      await vi.advanceTimersByTimeAsync(200);
      await Promise.all(ends);
      expect(other.bytes).toEqual([...data]);
    });

    test('a wait longer than a timer of Node can be does not end at once', async () => {
      const sender = new FakeSender();
      const days = 60 * 86_400_000;
      const sending = send(sender, { limiter: { pieceBytes: 8, spend: () => days } });
      for (const [passedMs, pieces] of [
        [1000, 1],
        [days - 2000, 1],
        [2000, 2],
      ] as const) {
        await turn();
        await vi.advanceTimersByTimeAsync(passedMs);
        await turn();
        expect(sender.taken).toHaveLength(pieces);
      }
      await sending;
    });
  });
});

describe('an abort', () => {
  test('before the start sends nothing', async () => {
    const sender = new FakeSender();
    const reason = new Error('enough');
    await expect(send(sender, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(sender.taken).toEqual([]);
  });

  test.each([
    ['at the soft barrier', 'softLimit', noLimit],
    ['in the wait of the limiter', 'ready', { pieceBytes: 4, spend: () => 3_600_000 }],
  ] as const)('%s closes the sender, and its reason is the reason', async (_where, state, limiter) => {
    const sender = new FakeSender();
    sender.answers.push(state);
    const controller = new AbortController();
    const sending = send(sender, { limiter, signal: controller.signal });
    await turn();
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(sending).rejects.toBe(reason);
    expect([sender.count('close'), sender.count('enqueue')]).toEqual([1, 1]);
  });

  test('leaves no listener on the signal, whether it came or not', async () => {
    const controller = new AbortController();
    await send(new FakeSender(), { signal: controller.signal });
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });
});

async function twoFiles(): Promise<[string, string]> {
  const folder = await temporaryFolder();
  const paths: [string, string] = [join(folder, 'a'), join(folder, 'b')];
  for (const path of paths) writeFileSync(path, 'x'.repeat(100));
  return paths;
}

const slicesOf = ([a, b]: readonly [string, string]): Slice[] => [
  { kind: 'file', path: a, offset: 0, length: 10 },
  { kind: 'bytes', data },
  { kind: 'file', path: a, offset: 20, length: 5 },
  { kind: 'file', path: b, offset: 7, length: 9 },
];

describe('slices of files', () => {
  test('go out as ranges of files that are open once each, and closed at the end', async () => {
    const file = virtualFile(slicesOf(await twoFiles()));
    const before = await settledDescriptors();
    const sender = new FakeSender();
    await send(sender, { file, limiter: { pieceBytes: 8, spend: () => 0 } });
    const parts = sender.taken.flatMap((piece) => (piece.kind === 'file' ? [[piece.offset, piece.length]] : []));
    expect(parts).toEqual([
      [0, 8],
      [8, 2],
      [20, 5],
      [7, 8],
      [15, 1],
    ]);
    const files = new Set(sender.taken.flatMap((piece): SharedFile[] => (piece.kind === 'file' ? [piece.file] : [])));
    expect(files.size).toBe(2);
    await until('both are closed', () => openDescriptors() <= before);
  });

  test('are closed as well when the sender closes, or a file is not there', async () => {
    const paths = await twoFiles();
    const file = virtualFile(slicesOf(paths));
    const before = await settledDescriptors();
    const closing = new FakeSender();
    closing.answers.push('ready', 'closed');
    await expect(send(closing, { file })).rejects.toMatchObject({ code: 'E_CLIENT_GONE' });
    rmSync(paths[1]);
    await expect(send(new FakeSender(), { file })).rejects.toMatchObject({
      code: 'E_IO',
      message: expect.stringContaining(paths[1]),
    });
    await until('all are closed', () => openDescriptors() <= before);
  });
});
