/**
 * Wall times as users write them: RFC 3339, or Unix seconds, both with fractions. Inside they are Unix milliseconds.
 */
import { FootageError } from './errors.ts';

/** A wall time: RFC 3339 text or Unix seconds as text, Unix seconds as a number, or a Date. */
export type Time = string | number | Date;

const RFC_3339 = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;
const UNIX_SECONDS = /^-?\d+(\.\d+)?$/;
/** What Date can hold. */
const MAX_UTC_MS = 8.64e15;
/** The year 5138; 1973 in milliseconds. */
const MAX_UNIX_SECONDS = 1e11;

/** Unix milliseconds of a time. @throws FootageError E_TIME */
export function parseTime(time: Time, what: string): number {
  const utcMs = toUtcMs(time);
  if (Math.abs(utcMs) <= MAX_UTC_MS) return utcMs;
  throw new FootageError(
    'E_TIME',
    `The ${what} "${String(time).slice(0, 60)}" is no time: write 2026-01-31T12:00:00Z, or Unix seconds (not milliseconds).`,
  );
}

function toUtcMs(time: Time): number {
  if (time instanceof Date) return time.getTime();
  if (typeof time === 'number') return fromUnixSeconds(time);
  if (UNIX_SECONDS.test(time)) return fromUnixSeconds(Number(time));
  return fromRfc3339(time);
}

/** To the microsecond; NaN for what is no time. Leap seconds have no Unix time. */
function fromRfc3339(text: string): number {
  const [, date = '', time = '', fraction = '', zone = ''] = RFC_3339.exec(text) ?? [];
  const localMs = Date.parse(`${date}T${time}Z`);
  // Date takes 30 February, and 24:00, for a time of the next day (RFC 3339 5.6 and 5.7 do not).
  if (Number.isNaN(localMs) || new Date(localMs).toISOString() !== `${date}T${time}.000Z`) return Number.NaN;
  const wholeMs = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  return wholeMs + Math.round(Number(`0${fraction}`) * 1e6) / 1000;
}

/** What would be milliseconds of our time is no time: as seconds it lies thousands of years ahead. */
function fromUnixSeconds(seconds: number): number {
  return Math.abs(seconds) < MAX_UNIX_SECONDS ? fromSeconds(seconds) : Number.NaN;
}

/** To the microsecond: 0.1 s are 100 ms, not 100.00000000000001. */
function fromSeconds(seconds: number): number {
  return Math.round(seconds * 1e6) / 1000;
}

/** A positive length of time in seconds, as milliseconds. @throws FootageError E_TIME */
export function parseDuration(seconds: string | number, what: string): number {
  const text = String(seconds);
  const ms = UNIX_SECONDS.test(text) ? fromSeconds(Number(text)) : Number.NaN;
  if (ms > 0 && ms <= MAX_UTC_MS) return ms;
  throw new FootageError(
    'E_TIME',
    `The ${what} "${text.slice(0, 60)}" is no length of time: write seconds, such as 90 or 2.5.`,
  );
}

/** The span that `start` and `end` or `duration` ask for. @throws FootageError E_TIME, E_RANGE_ORDER, E_QUERY */
export function parseSpan(query: {
  start?: Time | undefined;
  end?: Time | undefined;
  duration?: string | number | undefined;
}): {
  startUtcMs: number;
  endUtcMs: number;
} {
  const { start, end, duration } = query;
  if (start === undefined || (end === undefined) === (duration === undefined)) {
    throw new FootageError('E_QUERY', 'A range needs a start, and an end or a duration, not both.');
  }
  const startUtcMs = parseTime(start, 'start');
  const endUtcMs = end === undefined ? startUtcMs + parseDuration(duration ?? '', 'duration') : parseTime(end, 'end');
  if (endUtcMs > MAX_UTC_MS) {
    throw new FootageError(
      'E_TIME',
      'The range ends behind the last time there is: give an earlier start or a shorter duration.',
    );
  }
  if (endUtcMs > startUtcMs) return { startUtcMs, endUtcMs };
  throw new FootageError('E_RANGE_ORDER', 'The range ends before it begins: give an end after the start.');
}
