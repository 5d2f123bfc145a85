/** A virtual file: whatever range is asked for, its slices are exactly those bytes, in order, and none is empty. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  partOf,
  type Slice,
  sliceLength,
  type StoredSlice,
  type ByteRange,
  VirtualFile,
} from '../../src/session/virtual-file.ts';

/** What the paths of the slices stand for: the byte at `offset` of a file. */
const byteOf = (path: string, offset: number) => (path.charCodeAt(0) * 31 + offset * 7) & 0xff;

function bytesOf(slices: readonly StoredSlice[]): number[] {
  return slices.flatMap((slice) =>
    slice.kind === 'bytes'
      ? [...slice.data]
      : Array.from({ length: slice.length }, (_, i) => byteOf(slice.path, slice.offset + i)),
  );
}

async function slicesOf(file: VirtualFile, range: ByteRange): Promise<StoredSlice[]> {
  const slices: StoredSlice[] = [];
  for await (const slice of file.slices(range)) slices.push(slice);
  return slices;
}

const anyStored: fc.Arbitrary<StoredSlice> = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((data): StoredSlice => ({ kind: 'bytes', data })),
  fc
    .tuple(fc.constantFrom('a', 'b'), fc.nat({ max: 2 ** 40 }), fc.nat({ max: 40 }))
    .map(([path, offset, length]): StoredSlice => ({ kind: 'file', path, offset, length })),
);

/** A slice and the bytes it stands for. */
interface Known {
  readonly slice: Slice;
  readonly bytes: readonly number[];
}

/** The parts of `stored` that lie in [from, to), by going through all of it; empty ones too. */
function cut(stored: readonly StoredSlice[], from: number, to: number): StoredSlice[] {
  let at = 0;
  return stored.map((slice) => {
    const within = (position: number) => Math.min(Math.max(position - at, 0), sliceLength(slice));
    const part = partOf(slice, within(from), within(to));
    at += sliceLength(slice);
    return part;
  });
}

async function* later(slices: readonly StoredSlice[]): AsyncGenerator<StoredSlice, void, undefined> {
  for (const slice of slices) yield await Promise.resolve(slice);
}

const anyComputed = fc.tuple(fc.array(anyStored, { maxLength: 4 }), fc.boolean()).map(([stored, isAsync]): Known => {
  const bytes = bytesOf(stored);
  const read = (from: number, to: number) => (isAsync ? later(cut(stored, from, to)) : cut(stored, from, to));
  return { slice: { kind: 'computed', length: bytes.length, read }, bytes };
});
const anySlice = fc.oneof(
  anyStored.map((slice): Known => ({ slice, bytes: bytesOf([slice]) })),
  anyComputed,
);
const anyFile = fc.array(anySlice, { maxLength: 30 }).map((known) => ({
  file: new VirtualFile(
    known.map(({ slice }) => slice),
    '"x"',
    0,
  ),
  bytes: known.flatMap((one) => one.bytes),
}));
const share = fc.double({ min: 0, max: 1, noNaN: true });

test('the slices of a range are the bytes of that range', async () => {
  await fc.assert(
    fc.asyncProperty(anyFile, share, share, async ({ file, bytes }, a, b) => {
      expect(file.length).toBe(bytes.length);
      const [start = 0, end = 0] = [a, b].map((part) => Math.round(part * bytes.length)).toSorted((x, y) => x - y);
      expect(bytesOf(await slicesOf(file, { start, end }))).toEqual(bytes.slice(start, end));
    }),
    { numRuns: 500 },
  );
});

test('no slice of a range is empty, and neighbouring ranges meet without overlap', async () => {
  await fc.assert(
    fc.asyncProperty(anyFile, fc.array(fc.nat(1200), { maxLength: 6 }), async ({ file, bytes }, cuts) => {
      const borders = [0, ...cuts.map((at) => Math.min(at, file.length)), file.length].toSorted((a, b) => a - b);
      const parts: StoredSlice[] = [];
      for (const [i, end] of borders.slice(1).entries()) {
        parts.push(...(await slicesOf(file, { start: borders[i] ?? 0, end })));
      }
      expect(parts.every((part) => sliceLength(part) > 0)).toBe(true);
      expect(bytesOf(parts)).toEqual(bytes);
    }),
  );
});

/** Ten bytes, 0 to 9, and which of them were asked for. */
function counting() {
  const asked: [number, number][] = [];
  const data = Uint8Array.from({ length: 10 }, (_, i) => i);
  const read = (from: number, to: number): StoredSlice[] => {
    asked.push([from, to]);
    return [{ kind: 'bytes', data: data.subarray(from, to) }];
  };
  return { asked, slice: { kind: 'computed', length: 10, read } as const };
}

/** A slice that says 10 bytes and gives as many as it is told, in pieces of 4 at most. */
const giving = (bytes: number): Slice => ({
  kind: 'computed',
  length: 10,
  *read() {
    for (let left = bytes; left > 0; left -= 4) yield { kind: 'bytes', data: new Uint8Array(Math.min(4, left)) };
  },
});

describe('computed slices', () => {
  test('only what is asked for is worked out, when it is reached', async () => {
    const [first, second, third] = [counting(), counting(), counting()];
    const file = new VirtualFile([first.slice, second.slice, third.slice], '"x"', 0);
    const slices = file.slices({ start: 8, end: 13 });
    expect([first.asked, second.asked]).toEqual([[], []]);
    await slices.next();
    expect([first.asked, second.asked]).toEqual([[[8, 10]], []]);
    await slices.next();
    expect([first.asked, second.asked, third.asked]).toEqual([[[8, 10]], [[0, 3]], []]);
    expect((await slices.next()).done).toBe(true);
    expect(third.asked).toEqual([]);
  });

  test.each([0, 1, 9, 11])(
    'one that gives %i bytes of 10 is an error, not a shorter or longer answer',
    async (count) => {
      const file = new VirtualFile([{ kind: 'bytes', data: new Uint8Array(3) }, giving(count)], '"x"', 0);
      await expect(slicesOf(file, { start: 0, end: 13 })).rejects.toThrow(RangeError);
      expect(await slicesOf(file, { start: 0, end: 3 })).toHaveLength(1);
    },
  );

  test('one that gives what it said is none', async () => {
    const file = new VirtualFile([giving(10)], '"x"', 0);
    expect((await slicesOf(file, { start: 0, end: 10 })).map(sliceLength)).toEqual([4, 4, 2]);
  });
});

test('positions behind 4 GiB are exact', async () => {
  const huge = 6 * 2 ** 40;
  const file = new VirtualFile(
    [
      { kind: 'bytes', data: Uint8Array.of(1, 2, 3) },
      { kind: 'file', path: 'a', offset: 5, length: huge },
      { kind: 'file', path: 'b', offset: 0, length: 100 },
    ],
    '"x"',
    0,
  );
  expect(file.length).toBe(huge + 103);
  expect(await slicesOf(file, { start: huge + 1, end: huge + 5 })).toEqual([
    { kind: 'file', path: 'a', offset: 5 + huge - 2, length: 2 },
    { kind: 'file', path: 'b', offset: 0, length: 2 },
  ]);
});

test('slices of bytes are views, not copies', async () => {
  const data = new Uint8Array(10);
  const [slice] = await slicesOf(new VirtualFile([{ kind: 'bytes', data }], '"x"', 0), { start: 2, end: 4 });
  expect(slice?.kind === 'bytes' && slice.data.buffer === data.buffer && slice.data.byteOffset).toBe(2);
});

test('a file without slices has no bytes', async () => {
  const file = new VirtualFile([], '"x"', 0);
  expect([file.length, await slicesOf(file, { start: 0, end: 0 })]).toEqual([0, []]);
});
