/** Rates that sessions share: equal bytes, nothing left unused, clients by address. The clock is the test's. */
import { describe, expect, test } from 'vitest';
import { ClientRates, Share, SharedRate } from '../../src/session/shares.ts';
import { bytesBetween, type Simulated, simulate } from './simulate.ts';

const RATE = 5_000_000;

function sharing(count: number, rest: (i: number) => Partial<Simulated> = () => ({}), rate = RATE): Simulated[] {
  const shared = new SharedRate(rate, 0);
  return Array.from({ length: count }, (_, i) => ({
    limiter: new Share(shared, { cause: 'serverRate', beganMs: 0 }),
    ...rest(i),
  }));
}

/** Expects that a is within `part` of b. */
function near(a: number, b: number, part: number): void {
  expect(a).toBeGreaterThan(b * (1 - part));
  expect(a).toBeLessThan(b * (1 + part));
}

describe('sessions that always have something to send', () => {
  test('share equally, whatever the size of their pieces, and together have the whole rate', () => {
    const sent = simulate(
      sharing(2, (i) => (i === 0 ? { appetiteBytes: 8_000 } : { appetiteBytes: 80_000 })),
      30_000,
    );
    const [small = 0, large = 0] = sent.map((one) => bytesBetween(one, 5000, 30_000));
    near(small, large, 0.05);
    near(small + large, 25 * RATE, 0.05);
  });

  test('share equally with those that began long before', () => {
    const sent = simulate(
      sharing(4, (i) => ({ startMs: i * 10_000 })),
      60_000,
    );
    const shares = sent.map((one) => bytesBetween(one, 35_000, 60_000));
    for (const bytes of shares) near(bytes, (25 * RATE) / 4, 0.05);
  });

  test.each([2, 20, 500])('%d of them: each has its share within 10 % over any 10 s', (count) => {
    const rate = Math.max(RATE, 100_000 * count);
    const sent = simulate(
      sharing(count, () => ({}), rate),
      20_000,
    );
    for (const one of sent) {
      for (const from of [5000, 7300, 9999]) near(bytesBetween(one, from, from + 10_000), (10 * rate) / count, 0.1);
    }
  });

  test('fast ones keep the rate too, where a round is hardly longer than the grid of time', () => {
    const sent = simulate(
      sharing(3, () => ({}), 2_000_000_000),
      5000,
    );
    for (const one of sent) near(bytesBetween(one, 1000, 5000), (4 * 2_000_000_000) / 3, 0.05);
  });
});

test('many that go by in one piece take nothing of the shares of others, nor of their fairness', () => {
  const shared = new SharedRate(1_000_000_000, 0);
  const long = [0, 1, 2].map((): Simulated => ({ limiter: new Share(shared, { cause: 'serverRate', beganMs: 0 }) }));
  const lengthBytes = 2000;
  const short = Array.from({ length: 3000 }, (_, i): Simulated => {
    return { limiter: new Share(shared, { cause: 'serverRate', beganMs: i, lengthBytes }), lengthBytes, startMs: i };
  });
  for (const one of simulate([...long, ...short], 3000).slice(0, 3)) {
    near(bytesBetween(one, 1000, 3000), (2 * 1_000_000_000) / 3, 0.05);
  }
});

describe('what one cannot take', () => {
  test('goes to the others', () => {
    const slow = { clientBytesPerSecond: 100_000 };
    const sent = simulate(
      sharing(3, (i) => (i === 0 ? slow : {})),
      40_000,
    );
    const [blocked = 0, ...others] = sent.map((one) => bytesBetween(one, 10_000, 40_000));
    near(blocked, 30 * 100_000, 0.1);
    for (const bytes of others) near(bytes, (30 * (RATE - 100_000)) / 2, 0.05);
  });

  test('goes to the others also where hundreds have begun and stand still', () => {
    const still = { appetiteBytes: 1000, clientBytesPerSecond: 0.001 };
    const sent = simulate(
      sharing(302, (i) => (i < 300 ? still : {})),
      20_000,
    );
    for (const one of sent.slice(300)) near(bytesBetween(one, 5000, 20_000), (15 * RATE) / 2, 0.05);
  });

  test('and what a short one has reserved and not used is given back', () => {
    const shared = new SharedRate(RATE, 0);
    const long: Simulated = { limiter: new Share(shared, { cause: 'serverRate', beganMs: 0 }) };
    const short = Array.from({ length: 2000 }, (_, i) => {
      const limiter = new Share(shared, { cause: 'serverRate', beganMs: 0 });
      return { limiter, lengthBytes: 500, startMs: i * 10 };
    });
    const [own] = simulate([long, ...short], 20_000);
    expect(own?.bytes).toBeGreaterThan(20 * RATE * 0.95 - 2000 * 500);
  });
});

test('a round is short: who comes last waits for its second piece no longer than a second', () => {
  const sessions = sharing(50, (i) => ({ startMs: i === 49 ? 10_000 : 0 }));
  const last = simulate(sessions, 15_000).at(-1);
  const [first, second] = last?.pieces ?? [];
  expect((second?.atMs ?? Infinity) - (first?.atMs ?? 0)).toBeLessThan(1000);
});

test('pieces get smaller with the number of sessions, down to a floor', () => {
  const sizes = [1, 10, 100, 10_000].map((count) => {
    const shared = new SharedRate(RATE, 0);
    const shares = Array.from({ length: count }, () => new Share(shared, { cause: 'serverRate', beganMs: 0 }));
    for (const share of shares) share.spend(1, 0);
    return shares[0]?.pieceBytes ?? 0;
  });
  expect(sizes.toSorted((a, b) => b - a)).toEqual(sizes);
  expect(sizes[0]).toBeGreaterThan(sizes[2] ?? 0);
  expect(sizes.at(-1)).toBe(16 * 2 ** 10);
});

const shareOf = (rate: SharedRate) => new Share(rate, { cause: 'serverRate', beganMs: 0 });

test('sessions that have gone long ago make no piece smaller', () => {
  const shared = new SharedRate(RATE, 0);
  const alone = shareOf(shared).pieceBytes;
  for (let i = 0; i < 1000; i++) shareOf(shared).end();
  expect(shareOf(shared).pieceBytes).toBeLessThan(alone);
  expect(new Share(shared, { cause: 'serverRate', beganMs: 60_000 }).pieceBytes).toBe(alone);
});

describe('when the rate changes', () => {
  test('without one nothing is reserved: what went before it came counts no more, and none goes for nothing', () => {
    const shared = new SharedRate(Infinity, 0);
    const one = shareOf(shared);
    expect(one.spend(1000, 0)).toBe(0);
    shared.setRate(1_000_000, 0);
    expect(one.spend(1000, 0)).toBeGreaterThan(0);
  });

  test('what is owed costs what it costs now, and what is given back no more than was paid', () => {
    const shared = new SharedRate(1_000_000, 0);
    const [one, other] = [shareOf(shared), shareOf(shared)];
    const waitMs = one.spend(1, 0);
    shared.setRate(100_000, 0);
    expect(one.owedMs(0)).toBeCloseTo(10 * waitMs, 6);
    shared.setRate(2_000_000, 0);
    expect(one.owedMs(0)).toBeCloseTo(waitMs / 2, 6);
    shared.setRate(100_000, 0);
    one.end();
    expect(other.spend(1, 0)).toBeCloseTo((other.pieceBytes + 1) / 100, 6);
  });

  test('nothing is owed when it is lifted, nor saved for the next', () => {
    const shared = new SharedRate(1000, 0);
    const one = shareOf(shared);
    expect(one.spend(1, 0)).toBeGreaterThan(1000);
    shared.lift();
    expect([one.owedMs(0), one.spend(1e9, 5000)]).toEqual([0, 0]);
    shared.setRate(1000, 10_000);
    expect(one.owedMs(10_000)).toBe(0);
    expect(one.spend(1, 10_000)).toBeGreaterThan(1000);
  });
});

test('who begins waits for what others owe already, and not for what they take while it does', () => {
  const shared = new SharedRate(100_000, 100_000);
  const begin = () => shareOf(shared);
  const [one, other] = [begin(), begin()];
  expect(one.spend(1, 0)).toBe(0);
  // Within the burst.
  expect(begin().owedMs(0)).toBe(0);
  const waitMs = one.spend(200_000, 0);
  expect(waitMs).toBeGreaterThan(0);
  const late = begin();
  expect(late.owedMs(0)).toBeCloseTo(waitMs, 6);
  other.spend(100_000, 0);
  expect(late.owedMs(waitMs / 2)).toBeCloseTo(waitMs / 2, 6);
  expect(late.owedMs(waitMs + 1)).toBe(0);
});

describe('clients', () => {
  const options = { bytesPerSecond: 1_000_000, burstBytes: 300_000 };

  test('the sessions of one address have together what one of another address has', () => {
    const clients = new ClientRates(options);
    const addresses = ['10.0.0.1', '10.0.0.1', '10.0.0.1', '10.0.0.2'];
    const sent = simulate(
      addresses.map((address) => ({ limiter: clients.share(address, 0) })),
      20_000,
    );
    const [a = 0, b = 0, c = 0, alone = 0] = sent.map((one) => bytesBetween(one, 5000, 20_000));
    near(a + b + c, alone, 0.05);
    near(alone, 15 * 1_000_000, 0.05);
    near(a, b, 0.05);
  });

  test('who has no address shares with nobody', () => {
    const clients = new ClientRates(options);
    const sent = simulate(
      ['', ''].map((address) => ({ limiter: clients.share(address, 0) })),
      20_000,
    );
    for (const one of sent) near(bytesBetween(one, 5000, 20_000), 15 * 1_000_000, 0.05);
    expect(clients.size).toBe(0);
  });

  test('one that comes back at once gets no second burst, one that comes later does', () => {
    const clients = new ClientRates(options);
    const waitFor300kB = (nowMs: number) => {
      const share = clients.share('10.0.0.1', nowMs);
      const waitMs = Array.from({ length: 3 }, () => share.spend(100_000, nowMs)).reduce((sum, ms) => sum + ms, 0);
      share.end();
      return waitMs;
    };
    // What is reserved beyond the burst and not used is given back.
    expect(waitFor300kB(0)).toBeLessThan(250);
    expect(waitFor300kB(100)).toBeGreaterThan(250);
    expect(waitFor300kB(10_000)).toBeLessThan(250);
  });

  test('those that have left are forgotten, those that are there are not', () => {
    const clients = new ClientRates(options);
    const there = clients.share('10.0.0.1', 0);
    there.spend(1_000_000, 0);
    for (let i = 0; i < 10_000; i++) {
      const share = clients.share(`10.1.${i >> 8}.${i & 255}`, i * 10);
      share.spend(100_000, i * 10);
      share.end();
    }
    expect(clients.size).toBeLessThan(300);
    // It owes for what it has sent, still: its address was not forgotten.
    const again = clients.share('10.0.0.1', 500);
    expect(again.spend(1, 500)).toBeGreaterThan(100);
  });
});

test.each([{ bytesPerSecond: -1 }, { bytesPerSecond: 1, burstBytes: Number.NaN }])('%o is refused', (options) => {
  expect(() => new ClientRates(options)).toThrow(RangeError);
});
