/** Text that comes from clients and users: fields of HTTP, queries, times, names. */
import { entityTags, judge, parseHttpDate, rangeApplies } from '../../../src/http/conditions.ts';
import { parseExportQuery, queryOfPart, sameQuery } from '../../../src/http/export-query.ts';
import { MAX_PARTS, parseRange } from '../../../src/http/range.ts';
import { checkCameraName, isCameraName, segmentIdOf, segmentPath } from '../../../src/segment/layout.ts';
import { answerPolicy } from '../../../src/session/request.ts';
import { parseDuration, parseSpan, parseTime } from '../../../src/time.ts';
import type { FuzzTarget } from '../target.ts';
import { expectThat } from './expect.ts';

const NUMBERS = ['0', '1', '-1', '9007199254740991', '9007199254740992', '99999999999999999999', '1e9', '0x10', '.5'];
const TIMES = ['2026-01-31T12:00:00Z', '1769860800', '2026-01-31T12:00:00.123456+01:00', '0000-01-01T00:00:00Z'];
const MOST_BYTES = 2048;
/** Largest time that Date can hold. */
const MAX_UTC_MS = 8.64e15;

const seedsOf = (texts: readonly string[]) => () => texts.map((text) => Buffer.from(text));
/** Fields of HTTP are Latin-1. */
const linesOf = (bytes: Buffer) => bytes.toString('latin1').split('\n');

const ETAG = '"4f1a"';

/** Range and conditions: a line each. */
export const fields: FuzzTarget = {
  name: 'http-fields',
  corpora: [],
  maxBytes: MOST_BYTES,
  seeds: seedsOf([
    'bytes=0-99\n"4f1a"\nW/"a", "4f1a"\nSat, 31 Jan 2026 12:00:00 GMT\nSaturday, 31-Jan-26 12:00:00 GMT\n"4f1a"',
    'bytes=-5,10-,20-30\n*\n*\nSat Jan 31 12:00:00 2026\nSun, 06 Nov 1994 08:49:37 GMT\nW/"4f1a"',
    'bytes=5-1, 7-7 ,,9-8\n"a","b"\n,"c" ,\n\n\n',
  ]),
  words: ['bytes=', '-', ',', '"', 'W/', '*', ETAG, ' GMT', 'Feb', '29', '\t', ...NUMBERS],
  run: (bytes) => {
    const [range = '', ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince, ifRange] = linesOf(bytes);
    for (const length of [1, 1000, 2 ** 53 - 1]) checkRange(range, length);
    const now = Date.parse('2026-02-01T00:00:00Z');
    const asked = { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince };
    judge(asked, { etag: ETAG, lastModifiedUtcMs: now }, now);
    judge(asked, { etag: ETAG, lastModifiedUtcMs: undefined }, now);
    rangeApplies(ifRange, ETAG);
    for (const tag of entityTags(ifMatch ?? '')) expectThat(/^(W\/)?".*"$/.test(tag), 'tags are in quotes');
    const date = parseHttpDate(ifModifiedSince ?? '', now);
    expectThat(date === undefined || Number.isSafeInteger(date), 'a date is a time or none');
  },
};

function checkRange(field: string, length: number): void {
  const result = parseRange(field, length);
  if (result.kind !== 'parts') return;
  const { ranges } = result;
  expectThat(ranges.length > 0 && ranges.length <= MAX_PARTS, 'parts are few');
  for (const { start, end } of ranges) expectThat(start >= 0 && start < end && end <= length, 'parts lie inside');
  const sorted = ranges.toSorted((a, b) => a.start - b.start);
  expectThat(
    sorted.every(({ end }, i) => end < (sorted[i + 1]?.start ?? Infinity)),
    'parts do not touch',
  );
}

/** The query of an export, as the address carries it. */
export const queries: FuzzTarget = {
  name: 'export-query',
  corpora: [],
  maxBytes: MOST_BYTES,
  seeds: seedsOf([
    'start=2026-01-31T12:00:00Z&duration=10',
    'start=1769860800&end=1769860900.5&gaps=freeze&tracks=video&changes=split&part=2',
    'stream=door&start=1769860800&duration=5&keyframes=1&speed=8.5&format=fmp4&begin=next',
    'start=next&start=2026-01-31T13:00:00%2B01:00&duration=1&download=x',
  ]),
  words: [
    ...['start=', 'end=', 'duration=', 'gaps=', 'changes=', 'part=', 'begin=', 'tracks=', 'keyframes=', 'speed='],
    ...['format=', 'collapse', 'freeze', 'error', 'split', 'exact', 'next', 'video', 'audio', 'fmp4', '&', '%', '+'],
    ...[...NUMBERS, ...TIMES, 'NaN', 'Infinity', '__proto__=', 'constructor='],
  ],
  run: (bytes) => {
    const query = new URLSearchParams(bytes.toString('latin1'));
    sameQuery(query);
    queryOfPart(query, 7);
    const { start, end, duration, ...options } = parseExportQuery(query);
    const policy = answerPolicy(options);
    expectThat(policy.speed > 0 && policy.part >= 1, 'numbers are positive');
    checkSpan(parseSpan({ start, end, duration }));
  },
};

function checkSpan({ startUtcMs, endUtcMs }: { startUtcMs: number; endUtcMs: number }): void {
  expectThat(startUtcMs < endUtcMs, 'a span has a length');
  expectThat(Math.abs(startUtcMs) <= MAX_UTC_MS && Math.abs(endUtcMs) <= MAX_UTC_MS, 'times can be written');
  new Date(startUtcMs).toISOString();
}

/** Times, lengths of time, and names of cameras and segments: a line each. */
export const times: FuzzTarget = {
  name: 'times-names',
  corpora: [],
  maxBytes: 256,
  seeds: seedsOf([
    '2026-01-31T12:00:00.5+01:00\n10.5\nfront-door',
    '1769860800.123\n1e3\n../../etc/passwd',
    '-62135596800\n0.0000001\n120000.000Z-00112233445566778899aabbccddeeff.mp4',
  ]),
  words: [...NUMBERS, ...TIMES, 'T', 'Z', ':60', '-02-30', '24:00:00', '..', '/', '\0', '%2e', '.mp4', 'é'],
  run: (bytes) => {
    const [time = '', duration = '', name = ''] = bytes.toString('utf8').split('\n');
    if (isCameraName(name)) expectThat(!/[/\\\0]|^\./.test(checkCameraName(name)), 'a name stays inside its folder');
    const id = segmentIdOf(name);
    expectThat(id === undefined || segmentPath(0, id).endsWith(`${id}.mp4`), 'a segment keeps its identity');
    const durationMs = settled(() => parseDuration(duration, 'duration'));
    expectThat(durationMs === undefined || durationMs > 0, 'a length of time is positive');
    const utcMs = parseTime(time, 'start');
    expectThat(Math.abs(utcMs) <= MAX_UTC_MS, 'times can be written');
    checkSpan(parseSpan({ start: time, duration }));
    checkCameraName(name);
  },
};

/** The value, or undefined where it is refused with a FootageError. */
function settled<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof Error && error.name === 'FootageError') return undefined;
    throw error;
  }
}
