/** Leases are written once a minute, and hold ten minutes from any moment at which they were wanted. */
import { expect, test } from 'vitest';
import { Leases } from '../../src/session/leases.ts';

const MINUTE_MS = 60_000;

function rig() {
  const written: { id: string; nowUtcMs: number; untilUtcMs: number }[] = [];
  const leases = new Leases((id, _segments, nowUtcMs, untilUtcMs) => written.push({ id, nowUtcMs, untilUtcMs }));
  return { written, renew: (id: string, minutes: number) => leases.renew(id, ['s'], minutes * MINUTE_MS) };
}

test('a lease that is wanted again and again is written once a minute, and never ends too soon', () => {
  const { written, renew } = rig();
  for (let second = 0; second <= 300; second++) {
    renew('a', second / 60);
    const untilUtcMs = written.at(-1)?.untilUtcMs ?? 0;
    expect(untilUtcMs).toBeGreaterThanOrEqual((second / 60 + 10) * MINUTE_MS);
  }
  expect(written.map(({ nowUtcMs }) => nowUtcMs / MINUTE_MS)).toEqual([0, 1, 2, 3, 4, 5]);
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
  expect(written.map(({ nowUtcMs }) => nowUtcMs / MINUTE_MS)).toEqual([100, 10]);
});
