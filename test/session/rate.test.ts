/** The token bucket: a burst at once, then the rate; the clock is an argument, so nothing here waits. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { rateLimiter, type RateOptions } from '../../src/session/rate.ts';
import { bytesBetween, simulate } from './simulate.ts';

const RATE = 100_000;

test('without a rate there is no wait, whatever was sent', () => {
  const limiter = rateLimiter({ bytesPerSecond: 0, burstBytes: 1 });
  expect(limiter.spend(1e12, 0)).toBe(0);
  expect(limiter.pieceBytes).toBeGreaterThanOrEqual(2 ** 20);
});

describe('a bucket', () => {
  test('lets the burst go at once, and then waits for exactly what is owed', () => {
    const limiter = rateLimiter({ bytesPerSecond: RATE, burstBytes: 50_000 });
    expect(limiter.spend(30_000, 1000)).toBe(0);
    expect(limiter.spend(20_000, 1000)).toBe(0);
    expect(limiter.spend(10_000, 1000)).toBeCloseTo(100, 6);
    // The wait pays the debt, and nothing more.
    expect(limiter.spend(10_000, 1100)).toBeCloseTo(100, 6);
  });

  test('never saves more than the burst: a client that paused gets no flood', () => {
    const limiter = rateLimiter({ bytesPerSecond: RATE, burstBytes: 50_000 });
    limiter.spend(50_000, 0);
    // Or what comes in 0.6 s, if that is more: who is woken late loses nothing.
    expect(limiter.spend(70_000, 3_600_000)).toBeCloseTo(100, 6);
  });

  test('a slow session that is woken half a second late each time has all of its rate', () => {
    // 16 KiB in 2.05 s: due shortly behind the grid of 500 ms.
    const rate = 16_384 / 2.05;
    const [sent] = simulate([{ limiter: rateLimiter({ bytesPerSecond: rate, burstBytes: 0 }) }], 1_000_000);
    expect((sent?.bytes ?? 0) / (1000 * rate)).toBeGreaterThan(0.995);
  });

  test('a burst of 0 waits from the first byte on', () => {
    expect(rateLimiter({ bytesPerSecond: RATE, burstBytes: 0 }).spend(1000, 0)).toBeCloseTo(10, 6);
  });

  test('a megabyte goes at once by default', () => {
    const limiter = rateLimiter({ bytesPerSecond: RATE });
    expect(limiter.spend(2 ** 20, 0)).toBe(0);
    expect(limiter.spend(1000, 0)).toBeCloseTo(10, 6);
  });

  test('over any time, a session that obeys gets at most burst + rate · time + one piece, and not less than half of it', () => {
    const pieces = fc.array(fc.tuple(fc.integer({ min: 1, max: 100_000 }), fc.nat({ max: 500 })), { minLength: 1 });
    fc.assert(
      fc.property(pieces, fc.nat({ max: 200_000 }), (steps, burstBytes) => {
        const limiter = rateLimiter({ bytesPerSecond: RATE, burstBytes });
        let nowMs = 0;
        let sent = 0;
        let idleMs = 0;
        for (const [bytes, dawdleMs] of steps) {
          const before = sent;
          sent += bytes;
          nowMs += limiter.spend(bytes, nowMs);
          expect(before).toBeLessThanOrEqual(burstBytes + (RATE * nowMs) / 1000 + 1);
          nowMs += dawdleMs;
          idleMs += dawdleMs;
        }
        // All waiting was for bytes: the limiter never made it slower than the rate.
        expect(((nowMs - idleMs) * RATE) / 1000).toBeLessThanOrEqual(sent + 1);
      }),
    );
  });
});

describe.each([20_000, 100_000, 250_000, 1_000_000, 5e7, 1e9])('at %d B/s', (rate) => {
  const limiter = () => rateLimiter({ bytesPerSecond: rate, burstBytes: 0 });

  test('a piece is a fraction of a second, and a small one costs hardly less than a large one', () => {
    const { pieceBytes } = limiter();
    expect(Number.isInteger(pieceBytes)).toBe(true);
    expect(pieceBytes).toBeGreaterThanOrEqual(16 * 2 ** 10);
    expect(pieceBytes).toBeLessThanOrEqual(Math.max(16 * 2 ** 10, Math.min(0.95 * rate, 32 * 2 ** 20)));
    if (rate < 400_000) expect(rate / pieceBytes).toBeLessThan(1.6);
  });

  test('every 10 s have the bytes of 10 s within 10 %, though it is woken late', () => {
    const [sent] = simulate([{ limiter: limiter() }], 40_000);
    for (let fromMs = 0; fromMs <= 29_000; fromMs += 700) {
      const bytes = sent === undefined ? 0 : bytesBetween(sent, fromMs, fromMs + 10_000);
      expect(Math.abs(bytes / (10 * rate) - 1)).toBeLessThan(0.1);
    }
  });
});

test.each([
  { bytesPerSecond: -1 },
  { bytesPerSecond: Number.NaN },
  { bytesPerSecond: Infinity },
  { bytesPerSecond: 1, burstBytes: -1 },
  { bytesPerSecond: 1, burstBytes: Infinity },
])('%o is refused', (options) => {
  expect(() => rateLimiter(options)).toThrow(RangeError);
});

test('a key that is none is refused', () => {
  expect(() => rateLimiter({ bytesPerSecond: 1, burst: 5 } as RateOptions)).toThrow(TypeError);
});
