/** One timer for all who sleep: who is woken when, and that nothing of it is left. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { FEW_SLEEPERS, type Sleeper, Wakeups } from '../src/wakeups.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

/** Longest lateness on a clock that is never late itself: of who sleeps for less than half a second, than two, and of others. */
const [GRID_MS, LONG_GRID_MS, LONGEST_GRID_MS] = [20, 60, 500];
/** Of who sleeps for less than two seconds, while few do. */
const GRID_OF_FEW_MS = 240;

function sleeper(onWake: () => void = () => undefined) {
  const woken: number[] = [];
  const wake = () => {
    woken.push(performance.now());
    onWake();
  };
  return { woken, wakeTick: undefined, wake } satisfies Sleeper & { woken: number[] };
}

test('each is woken once, never too early, hardly too late, with one timer for all', () => {
  const wakeups = new Wakeups({ keepsProcess: true });
  const dues = Array.from({ length: 500 }, (_, i) => performance.now() + ((i * 37) % 3000) + 0.3);
  const sleepers = dues.map((dueMs) => {
    const one = sleeper();
    wakeups.add(one, dueMs, performance.now());
    return one;
  });
  expect([wakeups.size, vi.getTimerCount()]).toEqual([500, 1]);
  while (wakeups.size > 0) {
    vi.advanceTimersToNextTimer();
    expect(vi.getTimerCount()).toBe(wakeups.size > 0 ? 1 : 0);
  }
  sleepers.forEach(({ woken }, i) => {
    expect(woken).toHaveLength(1);
    expect(woken[0]).toBeGreaterThanOrEqual(dues[i] ?? Infinity);
    const sleptMs = ((i * 37) % 3000) + 0.3;
    const longMs = i < FEW_SLEEPERS ? GRID_OF_FEW_MS : LONG_GRID_MS;
    const latestMs = sleptMs < 500 ? GRID_MS : sleptMs < 2000 ? longMs : LONGEST_GRID_MS;
    expect(woken[0]).toBeLessThanOrEqual((dues[i] ?? 0) + latestMs + 2);
  });
});

test('thousands that sleep half a second cost a timer per step of the grid, not one each', () => {
  const wakeups = new Wakeups({ keepsProcess: true });
  const begunMs = performance.now();
  let timers = 0;
  for (let i = 0; i < 2000; i++) {
    const again = sleeper(
      () => performance.now() < begunMs + 10_000 && wakeups.add(again, performance.now() + 500, performance.now()),
    );
    wakeups.add(again, begunMs + i / 4, begunMs);
  }
  while (wakeups.size > 0) {
    vi.advanceTimersToNextTimer();
    timers++;
  }
  expect(timers).toBeLessThan(1.2 * (500 / GRID_MS + 10_500 / LONG_GRID_MS));
});

test('few that sleep half a second share their wake-ups, whenever they began', () => {
  const wakeups = new Wakeups({ keepsProcess: true });
  const sleepers = Array.from({ length: 10 }, () => sleeper());
  sleepers.forEach((one, i) => wakeups.add(one, 600 + 90 * i, 0));
  let timers = 0;
  for (; wakeups.size > 0; timers++) vi.advanceTimersToNextTimer();
  expect(sleepers.every(({ woken }, i) => woken.length === 1 && (woken[0] ?? 0) >= 600 + 90 * i)).toBe(true);
  expect(timers).toBeLessThanOrEqual(Math.ceil((90 * 9) / GRID_OF_FEW_MS) + 1);
});

test('one that throws keeps nobody else asleep', () => {
  const wakeups = new Wakeups({ keepsProcess: true });
  const failing = () =>
    sleeper(() => {
      throw new Error('on purpose');
    });
  const others = [sleeper(), sleeper(), sleeper()];
  const [first, second, later] = others;
  const dueMs = performance.now() + 100;
  for (const one of [failing(), first, failing(), second]) if (one) wakeups.add(one, dueMs, performance.now());
  if (later) wakeups.add(later, dueMs + 1000, performance.now());
  // The clock of the test rings on, and throws the first error at the end.
  expect(() => vi.advanceTimersByTime(200)).toThrow('on purpose');
  vi.advanceTimersByTime(2000);
  expect(others.map(({ woken }) => woken.length)).toEqual([1, 1, 1]);
  expect([wakeups.size, vi.getTimerCount()]).toEqual([0, 0]);
});

test('who comes later and is due earlier is woken first', () => {
  const wakeups = new Wakeups({ keepsProcess: true });
  const [late, early] = [sleeper(), sleeper()];
  wakeups.add(late, performance.now() + 5000, performance.now());
  wakeups.add(early, performance.now() + 50, performance.now());
  vi.advanceTimersByTime(100);
  expect([late.woken.length, early.woken.length]).toEqual([0, 1]);
});

describe('a sleeper that is forgotten', () => {
  test('is not woken, and with the last the timer goes', () => {
    const wakeups = new Wakeups({ keepsProcess: true });
    const [one, other] = [sleeper(), sleeper()];
    for (const each of [one, other]) wakeups.add(each, performance.now() + 100, performance.now());
    wakeups.cancel(one);
    expect(vi.getTimerCount()).toBe(1);
    wakeups.cancel(one);
    wakeups.cancel(other);
    expect([wakeups.size, vi.getTimerCount()]).toEqual([0, 0]);
    vi.advanceTimersByTime(1000);
    expect([...one.woken, ...other.woken]).toEqual([]);
  });

  test('by another that is woken with it, is not woken either', () => {
    const wakeups = new Wakeups({ keepsProcess: true });
    const victim = sleeper();
    wakeups.add(
      sleeper(() => wakeups.cancel(victim)),
      performance.now() + 100,
      performance.now(),
    );
    wakeups.add(victim, performance.now() + 100, performance.now());
    vi.advanceTimersByTime(1000);
    expect(victim.woken).toEqual([]);
    expect([wakeups.size, vi.getTimerCount()]).toEqual([0, 0]);
  });
});

test('who sleeps for longer than a timer of Node can is not woken before', () => {
  const wakeups = new Wakeups({ keepsProcess: true });
  const one = sleeper();
  const days = 60 * 86_400_000;
  wakeups.add(one, performance.now() + days, performance.now());
  vi.advanceTimersByTime(days - 1000);
  expect(one.woken).toEqual([]);
  vi.advanceTimersByTime(2000);
  expect(one.woken).toHaveLength(1);
});
