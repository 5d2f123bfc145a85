/** Recording first, against a disk that is a formula: its flushes take long while the exports are fast. */
import { describe, expect, test } from 'vitest';
import { UNLIMITED } from '../../src/session/rate.ts';
import { RecordingFirst } from '../../src/session/recording-first.ts';
import { bytesBetween, simulate } from './simulate.ts';

const INTERVAL_MS = 1000;
/** What the exports read when nothing holds them up. */
const DISK_BYTES_PER_S = 100_000_000;
const PIECE_BYTES = 4 * 2 ** 20;

/**
 * Two exports that read as fast as they may, while a flush begins each second and takes what `flushMs` makes of the bytes
 * that the exports sent in the second before.
 */
function run(policy: RecordingFirst, endMs: number, flushMs: (bytesPerSecond: number, nowMs: number) => number) {
  const exports = [0, 1].map(() => ({ limiter: policy.share(0), clientBytesPerSecond: DISK_BYTES_PER_S / 2 }));
  const budgets: { readonly atMs: number; readonly budget: number | null }[] = [];
  const sent: { atMs: number; bytes: number }[] = [];
  let [nextMs, endsMs] = [0, Infinity];
  const watched = exports.map((one) => ({
    ...one,
    limiter: {
      get pieceBytes() {
        return one.limiter.pieceBytes;
      },
      spend(bytes: number, nowMs: number) {
        sent.push({ atMs: nowMs, bytes });
        return one.limiter.spend(bytes, nowMs);
      },
      owedMs: (nowMs: number) => one.limiter.owedMs?.(nowMs) ?? 0,
    },
  }));
  const results = simulate(watched, endMs, (nowMs) => {
    if (nowMs >= endsMs) {
      policy.ended(endsMs);
      endsMs = Infinity;
      budgets.push({ atMs: nowMs, budget: policy.state().budgetBytesPerSecond });
    }
    if (nowMs < nextMs || endsMs !== Infinity) return;
    nextMs += INTERVAL_MS;
    policy.began(nowMs, INTERVAL_MS);
    const lately = sent.filter(({ atMs }) => atMs > nowMs - 1000).reduce((sum, { bytes }) => sum + bytes, 0);
    endsMs = nowMs + flushMs(lately, nowMs);
  });
  const total = (fromMs: number, toMs: number) =>
    results.reduce((sum, one) => sum + bytesBetween(one, fromMs, toMs), 0);
  return { total, budgets };
}

/** A disk on which the recorder has room beside 30 MB/s of exports, and not beside more. */
const busyDisk = (bytesPerSecond: number) => (bytesPerSecond > 30_000_000 ? 700 : 60);

test('while nothing is recorded there is no limit, however long a flush takes', () => {
  const policy = new RecordingFirst();
  const { total } = run(policy, 20_000, () => 900);
  expect(total(5000, 20_000)).toBeGreaterThan(0.95 * 15 * DISK_BYTES_PER_S);
  expect(policy.state()).toMatchObject({ recordings: 0, budgetBytesPerSecond: null });
});

test('flushes that are quick put no limit on anything', () => {
  const policy = new RecordingFirst();
  policy.recording();
  const { total } = run(policy, 20_000, () => 200);
  expect(total(5000, 20_000)).toBeGreaterThan(0.95 * 15 * DISK_BYTES_PER_S);
  expect(policy.state()).toMatchObject({ recordings: 1, budgetBytesPerSecond: null, flushMs: { max: 200 } });
});

describe('while a recording waits for the disk', () => {
  test('the exports slow down to what the disk can bear, and do not stop', () => {
    const policy = new RecordingFirst();
    policy.recording();
    const { total, budgets } = run(policy, 60_000, busyDisk);
    const perSecond = total(20_000, 60_000) / 40;
    expect(perSecond).toBeLessThan(40_000_000);
    expect(perSecond).toBeGreaterThan(10_000_000);
    // From what they had sent in the last second, not from any number.
    const [first] = budgets.filter(({ budget }) => budget !== null);
    expect(first?.budget).toBeLessThan(0.65 * DISK_BYTES_PER_S);
    expect(first?.atMs).toBeLessThan(3000);
  });

  test('it gets better with the first second in which they are slow', () => {
    const policy = new RecordingFirst();
    policy.recording();
    const { total } = run(policy, 5000, busyDisk);
    expect(total(4000, 5000)).toBeLessThan(0.5 * DISK_BYTES_PER_S);
  });

  test('a flush that hangs slows them down before it has ended', () => {
    const policy = new RecordingFirst();
    policy.recording();
    const { total } = run(policy, 10_000, (_, nowMs) => (nowMs < 3000 ? 50 : 60_000));
    expect(total(2000, 3000)).toBeGreaterThan(0.9 * DISK_BYTES_PER_S);
    expect(total(7000, 10_000) / 3).toBeLessThan(6_000_000);
  });

  test('they keep a minimum, which can be set', () => {
    const [usual, own] = [{}, { minBytesPerSecond: 1_000_000 }].map((options) => {
      const policy = new RecordingFirst(options);
      policy.recording();
      return run(policy, 40_000, () => 900).total(20_000, 40_000) / 20;
    });
    expect(usual).toBeGreaterThan(3_600_000);
    expect(usual).toBeLessThan(4_800_000);
    expect(own).toBeGreaterThan(900_000);
    expect(own).toBeLessThan(1_200_000);
  });

  test('a tenth of the interval can be too long as well', () => {
    const policy = new RecordingFirst({ flushShare: 0.05 });
    policy.recording();
    expect(run(policy, 20_000, () => 100).total(10_000, 20_000) / 10).toBeLessThan(6_000_000);
  });
});

/** A policy of a recording whose flushes have just taken too long, and a session of it that waits. */
function slowedDown() {
  const policy = new RecordingFirst();
  const ended = policy.recording();
  const share = policy.share(0);
  // Without a budget nothing is reserved that could be used up under one.
  for (let i = 0; i < 10; i++) share.spend(PIECE_BYTES, 0);
  policy.began(0, INTERVAL_MS);
  const judge = (tookMs: number, atMs: number) => {
    policy.began(atMs - tookMs, INTERVAL_MS);
    policy.ended(atMs);
  };
  judge(900, 900);
  return { policy, ended, share, judge };
}

describe('a session that waits for the budget', () => {
  test('waits from the first piece on, whatever went when there was none', () => {
    const { share } = slowedDown();
    expect(share.spend(PIECE_BYTES, 900)).toBeGreaterThan(0);
  });

  test('asks again after a second at the latest, and goes on as soon as the last recording has ended', () => {
    const { share, ended } = slowedDown();
    for (let i = 0; i < 50; i++) share.spend(PIECE_BYTES, 900);
    expect([share.spend(PIECE_BYTES, 900), share.owedMs?.(1900)]).toEqual([1000, 1000]);
    ended();
    expect(share.owedMs?.(2900)).toBe(0);
  });

  test('waits less when the budget grows, and counts as waiting all the while', () => {
    const { share, judge, policy } = slowedDown();
    for (let i = 0; i < 50; i++) share.spend(PIECE_BYTES, 900);
    let waitedMs = 0;
    for (let nowMs = 1900; (share.owedMs?.(nowMs) ?? 0) > 0; nowMs += 1000) {
      waitedMs += 1000;
      judge(20, nowMs);
      expect(policy.state().budgetBytesPerSecond).not.toBeNull();
    }
    // Without growth it would be 8 s and more.
    expect(waitedMs).toBeGreaterThan(2000);
    expect(waitedMs).toBeLessThan(7000);
  });
});

test('flushes count while something is recorded', () => {
  const policy = new RecordingFirst();
  policy.began(0, INTERVAL_MS);
  policy.ended(300);
  expect(policy.state().flushMs).toEqual({ last: 0, max: 0 });
  policy.recording();
  policy.began(1000, INTERVAL_MS);
  policy.ended(1200);
  expect(policy.state().flushMs).toEqual({ last: 200, max: 200 });
});

/** A disk that is busy for 10 s. */
const well = (_: number, nowMs: number) => (nowMs < 10_000 ? 800 : 50);

describe('when the flushes are well again', () => {
  test('the budget grows, step by step, until it is lifted', () => {
    const policy = new RecordingFirst();
    policy.recording();
    const { total, budgets } = run(policy, 60_000, well);
    const growing = budgets.filter(({ atMs, budget }) => atMs > 11_000 && budget !== null).map(({ budget }) => budget);
    expect(growing.length).toBeGreaterThan(5);
    expect(growing.toSorted((a, b) => (a ?? 0) - (b ?? 0))).toEqual(growing);
    expect(policy.state().budgetBytesPerSecond).toBeNull();
    expect(total(50_000, 60_000)).toBeGreaterThan(0.95 * 10 * DISK_BYTES_PER_S);
  });

  test('it is lifted at once when the last recording ends', () => {
    const policy = new RecordingFirst();
    const [one, other] = [policy.recording(), policy.recording()];
    run(policy, 10_000, () => 900);
    expect(policy.state().budgetBytesPerSecond).not.toBeNull();
    one();
    expect(policy.state()).toMatchObject({ recordings: 1, budgetBytesPerSecond: expect.any(Number) });
    other();
    expect(policy.state()).toMatchObject({ recordings: 0, budgetBytesPerSecond: null });
  });

  test('a budget that nobody needs any more is lifted', () => {
    const policy = new RecordingFirst();
    policy.recording();
    run(policy, 10_000, () => 900);
    for (let nowMs = 11_000; nowMs < 16_000; nowMs += 1000) {
      policy.began(nowMs, INTERVAL_MS);
      policy.ended(nowMs + 20);
    }
    expect(policy.state().budgetBytesPerSecond).toBeNull();
  });
});

test('pieces are small while something is recorded: what the sender has cannot be called back', () => {
  const policy = new RecordingFirst();
  const share = policy.share(0);
  expect(share.pieceBytes).toBe(UNLIMITED.pieceBytes);
  expect(share.spend(UNLIMITED.pieceBytes, 0)).toBe(0);
  const ended = policy.recording();
  share.spend(2 ** 20, 0);
  expect(share.pieceBytes).toBe(PIECE_BYTES);
  ended();
  expect(share.pieceBytes).toBe(UNLIMITED.pieceBytes);
});

test.each([{ flushShare: 0 }, { flushShare: 1.1 }, { minBytesPerSecond: 0 }, { minBytesPerSecond: Infinity }])(
  '%o is refused',
  (options) => {
    expect(() => new RecordingFirst(options)).toThrow(RangeError);
  },
);
