/** The body of a multipart/byteranges answer: an independent reader finds the bytes asked for, and nothing else. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { multipartOf } from '../../src/session/multipart.ts';
import { type ByteRange, VirtualFile } from '../../src/session/virtual-file.ts';
import { partsOf } from '../support/http-client.ts';

/** 1000 bytes in memory, in pieces of 70. */
const DATA = Buffer.from(Array.from({ length: 1000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
const PIECES = Array.from({ length: 15 }, (_, i) => DATA.subarray(i * 70, (i + 1) * 70));
const fileWith = (etag: string) =>
  new VirtualFile(
    PIECES.map((data) => ({ kind: 'bytes', data })),
    etag,
    5000,
  );
const FILE = fileWith('"x"');

async function bytesOf(file: VirtualFile, range: ByteRange = { start: 0, end: file.length }): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const slice of file.slices(range)) {
    if (slice.kind !== 'bytes') throw new Error('there are no files here');
    parts.push(slice.data);
  }
  return Buffer.concat(parts);
}

const anyRange = fc
  .tuple(fc.nat(999), fc.integer({ min: 1, max: 300 }))
  .map(([start, length]): ByteRange => ({ start, end: Math.min(1000, start + length) }));
const anyRanges = fc.array(anyRange, { minLength: 1, maxLength: 8 });

test('every range is a part, in order, with its place and its type; the length is exact', async () => {
  await fc.assert(
    fc.asyncProperty(anyRanges, async (ranges) => {
      const { contentType, body } = multipartOf(FILE, ranges, 'video/mp4');
      const bytes = await bytesOf(body);
      expect(body.length).toBe(bytes.length);
      const parts = partsOf(contentType, bytes);
      expect(parts.map(({ headers }) => headers)).toEqual(
        ranges.map(({ start, end }) => ({
          'content-type': 'video/mp4',
          'content-range': `bytes ${start}-${end - 1}/1000`,
        })),
      );
      expect(parts.map((part) => part.body.toString('hex'))).toEqual(
        ranges.map(({ start, end }) => DATA.subarray(start, end).toString('hex')),
      );
    }),
  );
});

test('any range of the body is a slice of the whole', async () => {
  await fc.assert(
    fc.asyncProperty(anyRanges, fc.nat(2000), fc.nat(2000), async (ranges, a, b) => {
      const { body } = multipartOf(FILE, ranges, 'video/mp4');
      const [start = 0, end = 0] = [a, b].map((at) => Math.min(at, body.length)).toSorted((x, y) => x - y);
      expect((await bytesOf(body, { start, end })).equals((await bytesOf(body)).subarray(start, end))).toBe(true);
    }),
  );
});

test('the same ranges of the same answer have the same boundary; of others, another', () => {
  const ranges = [
    { start: 0, end: 2 },
    { start: 5, end: 9 },
  ];
  const { contentType } = multipartOf(FILE, ranges, 'video/mp4');
  expect(multipartOf(fileWith('"x"'), [...ranges], 'video/mp4').contentType).toBe(contentType);
  expect(multipartOf(fileWith('"y"'), ranges, 'video/mp4').contentType).not.toBe(contentType);
  expect(multipartOf(FILE, ranges.toReversed(), 'video/mp4').contentType).not.toBe(contentType);
});

test('the validators are those of the answer', () => {
  const { body } = multipartOf(FILE, [{ start: 0, end: 1 }], 'video/mp4');
  expect([body.etag, body.lastModifiedUtcMs]).toEqual(['"x"', 5000]);
});

test.each([
  [[]],
  [[{ start: 5, end: 5 }]],
  [
    [
      { start: 0, end: 1 },
      { start: 6, end: 5 },
    ],
  ],
  [[{ start: -1, end: 5 }]],
  [[{ start: 990, end: 1001 }]],
  [[{ start: Number.NaN, end: 5 }]],
])('no body is made of %j', (ranges) => {
  expect(() => multipartOf(FILE, ranges, 'video/mp4')).toThrow(RangeError);
});
