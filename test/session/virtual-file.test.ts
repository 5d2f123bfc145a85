/** A virtual file: whatever range is asked for, its slices are exactly those bytes, in order, and none is empty. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Slice, sliceLength, VirtualFile } from '../../src/session/virtual-file.ts';

/** What the paths of the slices stand for: the byte at `offset` of a file. */
const byteOf = (path: string, offset: number) => (path.charCodeAt(0) * 31 + offset * 7) & 0xff;

function bytesOf(slices: Iterable<Slice>): number[] {
  return [...slices].flatMap((slice) =>
    slice.kind === 'bytes'
      ? [...slice.data]
      : Array.from({ length: slice.length }, (_, i) => byteOf(slice.path, slice.offset + i)),
  );
}

const anySlice: fc.Arbitrary<Slice> = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((data): Slice => ({ kind: 'bytes', data })),
  fc
    .tuple(fc.constantFrom('a', 'b'), fc.nat({ max: 2 ** 40 }), fc.nat({ max: 40 }))
    .map(([path, offset, length]): Slice => ({ kind: 'file', path, offset, length })),
);
const anyFile = fc
  .array(anySlice, { maxLength: 30 })
  .map((slices) => ({ slices, file: new VirtualFile(slices, '"x"', 0) }));

test('the slices of a range are the bytes of that range', () => {
  fc.assert(
    fc.property(
      anyFile,
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (made, a, b) => {
        const { file, slices } = made;
        const whole = bytesOf(slices);
        expect(file.length).toBe(whole.length);
        const [start, end] = [a, b].map((part) => Math.round(part * whole.length)).toSorted((x, y) => x - y);
        const range = { start: start ?? 0, end: end ?? 0 };
        expect(bytesOf(file.slices(range))).toEqual(whole.slice(range.start, range.end));
      },
    ),
    { numRuns: 500 },
  );
});

test('no slice of a range is empty, and neighbouring ranges meet without overlap', () => {
  fc.assert(
    fc.property(anyFile, fc.array(fc.nat(1200), { maxLength: 6 }), ({ file, slices }, cuts) => {
      const borders = [0, ...cuts.map((cut) => Math.min(cut, file.length)), file.length].toSorted((a, b) => a - b);
      const parts = borders.slice(1).flatMap((end, i) => [...file.slices({ start: borders[i] ?? 0, end })]);
      expect(parts.every((part) => sliceLength(part) > 0)).toBe(true);
      expect(bytesOf(parts)).toEqual(bytesOf(slices));
    }),
  );
});

test('positions behind 4 GiB are exact', () => {
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
  expect([...file.slices({ start: huge + 1, end: huge + 5 })]).toEqual([
    { kind: 'file', path: 'a', offset: 5 + huge - 2, length: 2 },
    { kind: 'file', path: 'b', offset: 0, length: 2 },
  ]);
});

test('slices of bytes are views, not copies', () => {
  const data = new Uint8Array(10);
  const [slice] = new VirtualFile([{ kind: 'bytes', data }], '"x"', 0).slices({ start: 2, end: 4 });
  expect(slice?.kind === 'bytes' && slice.data.buffer === data.buffer && slice.data.byteOffset).toBe(2);
});

test('a file without slices has no bytes', () => {
  const file = new VirtualFile([], '"x"', 0);
  expect([file.length, [...file.slices({ start: 0, end: 0 })]]).toEqual([0, []]);
});
