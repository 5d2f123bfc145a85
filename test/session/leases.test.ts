/** Leases are written once a minute, and hold ten minutes from any moment at which they were wanted. */
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { Leases } from '../../src/session/leases.ts';

const MINUTE_MS = 60_000;

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

const leased = (id: string, now: () => number) => ({ id, segments: ['s'], now });
const clock = () => performance.now();

function rig(fails: () => boolean = () => false) {
  const written: { id: string; minute: number; untilUtcMs: number }[] = [];
  const leases = new Leases((id, _segments, nowUtcMs, untilUtcMs) => {
    if (fails()) throw new Error('database or disk is full');
    written.push({ id, minute: nowUtcMs / MINUTE_MS, untilUtcMs });
  });
  return {
    written,
    leases,
    renew: (id: string, minute: number) => leases.renew(leased(id, () => minute * MINUTE_MS)),
  };
}

test('a lease that is wanted again and again is written once a minute, and never ends too soon', () => {
  const { written, renew } = rig();
  for (let second = 0; second <= 300; second++) {
    renew('a', second / 60);
    const untilUtcMs = written.at(-1)?.untilUtcMs ?? 0;
    expect(untilUtcMs).toBeGreaterThanOrEqual((second / 60 + 10) * MINUTE_MS);
  }
  expect(written.map(({ minute }) => minute)).toEqual([0, 1, 2, 3, 4, 5]);
});

test('each answer has its own', () => {
  const { written, renew } = rig();
  for (const id of ['a', 'b', 'a', 'c', 'b']) renew(id, 0);
  renew('a', 2);
  expect(written.map(({ id }) => id)).toEqual(['a', 'b', 'c', 'a']);
});

test('a clock that is stepped back makes them anew', () => {
  const { written, renew } = rig();
  renew('a', 100);
  renew('a', 10);
  renew('a', 10.5);
  expect(written.map(({ minute }) => minute)).toEqual([100, 10]);
});

test('one that could not be written is tried again at once', () => {
  const warnings = vi.spyOn(process, 'emitWarning').mockReturnValue();
  onTestFinished(() => warnings.mockRestore());
  let full = true;
  const { written, renew } = rig(() => full);
  renew('a', 0);
  full = false;
  renew('a', 0.1);
  expect(warnings).toHaveBeenCalledOnce();
  expect(written.map(({ minute }) => minute)).toEqual([0.1]);
});

test('what is held does not lapse while nothing moves, and leaves no timer', () => {
  const { written, leases } = rig();
  const release = leases.hold(leased('a', clock));
  for (let minute = 0; minute < 30; minute++) {
    vi.advanceTimersByTime(MINUTE_MS);
    const leftMs = (written.at(-1)?.untilUtcMs ?? clock()) - clock();
    if (minute > 0) expect(leftMs).toBeGreaterThan(9 * MINUTE_MS);
  }
  expect(vi.getTimerCount()).toBe(1);
  release();
  expect(vi.getTimerCount()).toBe(0);
  expect((written.at(-1)?.untilUtcMs ?? 0) - clock()).toBeGreaterThanOrEqual(10 * MINUTE_MS);
});
