/** Times as users write them: what is accepted, to which millisecond, and what is refused with which code. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '../src/errors.ts';
import { parseDuration, parseSpan, parseTime, type Time } from '../src/time.ts';

const two = (value: number) => String(Math.trunc(value)).padStart(2, '0');

const NOON = 1_769_860_800_000; // 2026-01-31T12:00:00Z

function code(run: () => unknown): ErrorCode | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    return (error as { code: ErrorCode }).code;
  }
}

describe('a time', () => {
  test.each<readonly [Time, number]>([
    ['2026-01-31T12:00:00Z', NOON],
    ['2026-01-31t12:00:00z', NOON],
    ['2026-01-31 12:00:00Z', NOON],
    ['2026-01-31T13:30:00+01:30', NOON],
    ['2026-01-31T00:00:00-12:00', NOON],
    ['2026-01-31T12:00:00.5Z', NOON + 500],
    ['2026-01-31T12:00:00.000250Z', NOON + 0.25],
    ['2026-01-31T12:00:00.1239999999Z', NOON + 124],
    ['2024-02-29T23:59:59.999Z', Date.UTC(2024, 1, 29, 23, 59, 59, 999)],
    ['2026-02-01T00:30:00+01:00', Date.UTC(2026, 0, 31, 23, 30)],
    ['1769860800', NOON],
    ['1769860800.1', NOON + 100],
    ['-1.5', -1500],
    [1_769_860_800.25, NOON + 250],
    [0, 0],
    [new Date(NOON), NOON],
  ])('%s', (time, utcMs) => {
    expect(parseTime(time, 'start')).toBe(utcMs);
  });

  test.each<Time>([
    '',
    ' ',
    'yesterday',
    '2026-01-31',
    '2026-01-31T12:00Z',
    '2026-01-31T12:00:00', // of which zone?
    '2026-13-01T00:00:00Z',
    '2026-02-30T12:00:00Z',
    '2025-02-29T12:00:00Z',
    '2026-01-31T24:00:00Z',
    '2026-01-31T23:59:60Z',
    '2026-01-31T12:00:00+24:00',
    '2026-01-31T12:00:00.Z',
    '2026-01-31T12:00:00Z ',
    '1e9',
    '0x10',
    '1.',
    '99999999999999999999',
    Number.NaN,
    Infinity,
    new Date(Number.NaN),
  ])('"%s" is refused', (time) => {
    expect(code(() => parseTime(time, 'start'))).toBe('E_TIME');
  });

  test('the message names what was asked for and quotes a long text only in part', () => {
    expect(() => parseTime('x'.repeat(5000), '--start')).toThrow(/^The --start "x{60}" is no time: .{1,80}$/);
  });

  test('every instant of Date survives its own text, in any zone', () => {
    const minutes = fc.integer({ min: -23 * 60 - 59, max: 23 * 60 + 59 });
    const years = { min: new Date('0002-01-01'), max: new Date('9998-12-31'), noInvalidDate: true };
    fc.assert(
      fc.property(fc.date(years), minutes, (date, offset) => {
        const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, -1);
        const zone = `${offset < 0 ? '-' : '+'}${two(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`;
        expect(parseTime(`${local}${zone}`, 'start')).toBe(date.getTime());
      }),
    );
  });
});

describe('a duration', () => {
  test.each([
    ['90', 90_000],
    ['2.5', 2500],
    [0.1, 100],
    ['0.000001', 0.001],
  ])('%s s', (seconds, ms) => {
    expect(parseDuration(seconds, 'duration')).toBe(ms);
  });

  test.each(['', '0', '-1', '1m', 'Infinity', '1e3', Number.NaN, 1e300])('"%s" is refused', (seconds) => {
    expect(code(() => parseDuration(seconds, 'duration'))).toBe('E_TIME');
  });
});

describe('a span', () => {
  const start = '2026-01-31T12:00:00Z';

  test('of start and end, or of start and duration', () => {
    const span = { startUtcMs: NOON, endUtcMs: NOON + 1500 };
    expect(parseSpan({ start, end: '2026-01-31T12:00:01.5Z' })).toEqual(span);
    expect(parseSpan({ start, duration: '1.5' })).toEqual(span);
  });

  test.each([
    ['no start', { end: start }, 'E_QUERY'],
    ['a start alone', { start }, 'E_QUERY'],
    ['end and duration', { start, end: start, duration: 1 }, 'E_QUERY'],
    ['an end at the start', { start, end: start }, 'E_RANGE_ORDER'],
    ['an end before the start', { start, end: '2026-01-31T11:59:59Z' }, 'E_RANGE_ORDER'],
    ['a bad end', { start, end: 'later' }, 'E_TIME'],
    ['no length', { start, duration: '0' }, 'E_TIME'],
    ['an end that no Date can hold', { start: '8640000000000', duration: 5 }, 'E_TIME'],
    ['a length that leads there', { start, duration: '8640000000000' }, 'E_TIME'],
  ] as const)('%s is refused', (_what, query, expected) => {
    expect(code(() => parseSpan(query))).toBe(expected);
  });
});
