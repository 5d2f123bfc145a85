/** Numbers of a live playlist, where requests come in another order than their looks at the archive did. */
import { expect, test } from 'vitest';
import { LiveList } from '../../src/session/hls-live.ts';
import type { Entry } from '../../src/session/hls-playlist.ts';

/** Entries [from, to) of a camera, 10 s each, every third of which begins anew. */
function entries(from: number, to: number): Entry[] {
  return Array.from({ length: to - from }, (_, i): Entry => {
    const number = from + i;
    const init = { digest: 'd', bytes: new Uint8Array(0), codecs: [], width: 0, height: 0 };
    const unit = {
      ...{ from: number, to: number + 1, dts: 0, pts: 0, endPts: 10, startUtcMs: 0, endUtcMs: 0, tracks: [0] },
      ...{ stretch: { from: 0, to: 1 }, sync: true, independent: true, joined: true },
    };
    const segment = {
      ...{ id: 'one', run: 'run', sequence: 0, timescale: 1, units: [], rest: undefined, dts: 0, endDts: 0 },
      initOf: () => init,
    };
    return { segment, unit, init, durationS: 10, discontinuity: number % 3 === 0 };
  });
}

const summary = (list: LiveList, found: readonly Entry[], nowUtcMs: number) => {
  const { entries: shown, sequence, discontinuities } = list.update(found, nowUtcMs);
  return { shown: shown.map(({ unit }) => unit.from), sequence, discontinuities };
};

test('who looked earlier and comes later changes nothing', () => {
  const list = new LiveList(6);
  summary(list, entries(0, 6), 1000);
  const newest = summary(list, entries(1, 8), 2000);
  expect(newest).toEqual({ shown: [2, 3, 4, 5, 6, 7], sequence: 12, discontinuities: 0 });
  expect(summary(list, entries(0, 6), 3000)).toEqual(newest);
  expect(summary(list, entries(2, 8), 4000)).toEqual(newest);
});

test('discontinuities count when the first behind them becomes the first of all', () => {
  const list = new LiveList(6);
  summary(list, entries(0, 6), 1000);
  expect(summary(list, entries(0, 9), 2000)).toMatchObject({ sequence: 13, discontinuities: 1 });
  expect(summary(list, entries(0, 11), 2000)).toMatchObject({ sequence: 15, discontinuities: 1 });
  expect(summary(list, entries(0, 12), 2000)).toMatchObject({ sequence: 16, discontinuities: 2 });
});

test('a list that nobody has asked for goes on behind its last number', () => {
  const list = new LiveList(6);
  expect(summary(list, entries(0, 6), 1000).sequence).toBe(10);
  // No entry of then is left, and the clock of the server has been set back.
  expect(summary(list, entries(100, 106), 500)).toEqual({
    shown: [100, 101, 102, 103, 104, 105],
    sequence: 16,
    discontinuities: 1,
  });
});

test('a list begins with the time: after a restart no number is used again', () => {
  const before = summary(new LiveList(6), entries(0, 6), 1_800_000_000_000);
  const after = summary(new LiveList(6), entries(0, 6), 1_800_000_002_000);
  expect(after.sequence).toBeGreaterThan(before.sequence + before.shown.length);
});
