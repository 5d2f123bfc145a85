/** The first times of an RTSP stream, as FFmpeg 5.1 guesses them, and times that are left alone. */
import { describe, expect, test } from 'vitest';
import { FirstTimes } from '../../src/ingest/first-times.ts';
import type { SourceFrame } from '../../src/ingest/source.ts';

const PICTURE = 3600;

/** Pictures at these decode and presentation times, in pictures, 40 ms apart in arrival. */
function frames(times: readonly (readonly [dts: number, pts: number])[], gapMs = 40): SourceFrame[] {
  return times.map(([dts, pts], i) => ({
    ...{ track: 0, data: new Uint8Array(1), sync: i === 0, arrivalMs: i * gapMs },
    ...{ dts: Math.round(dts * PICTURE), compositionOffset: Math.round((pts - dts) * PICTURE) },
  }));
}

function through(given: readonly SourceFrame[]): (readonly [dts: number, pts: number])[] {
  const first = new FirstTimes();
  const out = [...given.flatMap((frame) => first.take(frame)), ...first.finish()];
  expect(out.map(({ data }) => data)).toEqual(given.map(({ data }) => data));
  return out.map(({ dts, compositionOffset }) => [dts / PICTURE, (dts + compositionOffset) / PICTURE]);
}

/** Pictures with two B-frames from the one of number `from` on, as they are decoded: rightly. */
const withB = (count: number): [number, number][] =>
  Array.from({ length: count }, (_, i) => [
    i,
    2 + (i === 0 ? 0 : [3, 1, 2][(i - 1) % 3]! + 3 * Math.floor((i - 1) / 3)),
  ]);

describe('the first times', () => {
  test('with B-frames are those that the pictures behind them tell', () => {
    const right = withB(30);
    // FFmpeg: the first three are decoded two pictures too early, and the very first is presented when it is decoded.
    const guessed = right.map(([dts, pts], i): [number, number] => [i < 3 ? dts - 2 : dts, i === 0 ? -2 : pts]);
    expect(through(frames(guessed))).toEqual(right);
  });

  test('without B-frames are a picture apart, where the first two came at once', () => {
    const tick = 1 / PICTURE;
    const [first, second, third] = through(
      frames([
        [1, 1],
        [1 + tick, 1 + tick],
        [2, 2],
        [3, 3],
      ]),
    );
    expect(first?.[0]).toBeCloseTo((second?.[0] ?? 0) - ((third?.[0] ?? 0) - (second?.[0] ?? 0)), 5);
  });

  test.each([
    [
      'regular ones',
      [
        [0, 0],
        [1, 1],
        [2, 2],
        [3, 3],
      ],
    ],
    [
      'a key frame that came from a cache',
      [
        [0, 0],
        [75, 75],
        [76, 76],
        [77, 77],
      ],
    ],
    [
      'a picture that is missing',
      [
        [0, 0],
        [2, 2],
        [3, 3],
        [4, 4],
      ],
    ],
  ] as const)('are left alone, and given at once: %s', (_, times) => {
    expect(through(frames(times))).toEqual(times);
    const first = new FirstTimes();
    const [one, two] = frames(times);
    if (one === undefined || two === undefined) throw new RangeError('there are two');
    expect([first.take(one).length, first.take(two).length]).toEqual([0, 2]);
  });

  test('of a camera with a picture in four seconds are not waited for', () => {
    const first = new FirstTimes();
    const given = frames(
      [
        [0, 0],
        [100, 102],
        [200, 201],
      ],
      4000,
    );
    expect(given.map((frame) => first.take(frame).length)).toEqual([0, 2, 1]);
  });
});
