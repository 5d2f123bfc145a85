import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { Native, ScanRequest, ScanResult } from '../../src/native-types.ts';
import { loadAddon, twin } from '../../src/native.ts';
import { groupPayload, noise, record, SEED, TYPE } from './build-records.ts';
import { LAYERS } from './layers.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'footage-scan-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;

/** Writes the parts to a file and scans it from 0 to its end. */
async function scanOf(
  native: Native,
  parts: readonly Uint8Array[],
  options: Partial<ScanRequest> = {},
): Promise<ScanResult> {
  const data = Buffer.concat(parts);
  const name = path.join(folder, `${files++}.bin`);
  writeFileSync(name, data);
  const fd = openSync(name, 'r');
  try {
    return await native.scan({ ...request(fd, data.length), ...options });
  } finally {
    closeSync(fd);
  }
}

function request(fd: number, to: number): ScanRequest {
  return { fd, from: 0, to, seed: SEED, verify: false, resync: false, limit: 1_000_000 };
}

function offsetsOf(parts: readonly Uint8Array[]): number[] {
  let offset = 0;
  return parts.map((part) => (offset += part.length) - part.length);
}

const head = record(TYPE.head, noise(300, 1));
const anchor = record(TYPE.anchor, noise(24, 2));
const group = record(TYPE.group, groupPayload([100, 200, 33]));
const frames = Array.from({ length: 20 }, (_, i) => record(TYPE.frame, noise(i * 997, 10 + i), { dts: BigInt(i) }));
const end = record(TYPE.end, noise(16, 3));
const SEGMENT = [
  head,
  anchor,
  ...frames.slice(0, 10),
  group,
  record(TYPE.void, noise(5000, 4)),
  record(TYPE.unknown, noise(2_000_000, 5)),
  ...frames.slice(10),
  end,
];
const SHOWN = Buffer.concat([
  head,
  anchor,
  ...frames.slice(0, 10).map((frame) => frame.subarray(0, 32)),
  group.subarray(0, 32 + 4 + 8 * 3),
  (SEGMENT[13] as Buffer).subarray(0, 32),
  (SEGMENT[14] as Buffer).subarray(0, 32),
  ...frames.slice(10).map((frame) => frame.subarray(0, 32)),
  end,
]);

describe.each(LAYERS)('scan of the %s', (_name, native) => {
  test.each([
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ])('finds every record of a whole segment (verify %s, resync %s)', async (verify, resync) => {
    const result = await scanOf(native, SEGMENT, { verify, resync });
    expect(result.stop).toBe('end');
    expect(result.next).toBe(Buffer.concat(SEGMENT).length);
    expect([...result.offsets]).toEqual(offsetsOf(SEGMENT));
    expect(Buffer.from(result.records).equals(SHOWN)).toBe(true);
    expect([...result.damaged]).toEqual([]);
  });

  test.each([1, 31, 32, 33, 500])('stops before a tail torn to %i bytes', async (kept) => {
    const parts = [head, frames[3] as Buffer, (frames[9] as Buffer).subarray(0, kept)];
    const expected = head.length + (frames[3] as Buffer).length;
    const result = await scanOf(native, parts);
    expect(result).toMatchObject({ stop: 'damage', next: expected });
    const resynced = await scanOf(native, parts, { resync: true });
    expect(resynced).toMatchObject({ stop: 'end', next: expected + kept });
    expect([...resynced.damaged]).toEqual([expected, expected + kept]);
  });

  test.each([
    ['header', 12],
    ['magic', 0],
  ])('passes over a record with a damaged %s and says what it passed over', async (_what, at) => {
    const broken = Buffer.from(frames[5] as Buffer);
    broken.writeUInt8((broken[at] as number) ^ 1, at);
    const parts = [head, frames[4] as Buffer, broken, frames[6] as Buffer, end];
    const offsets = offsetsOf(parts);
    const stopped = await scanOf(native, parts);
    expect(stopped).toMatchObject({ stop: 'damage', next: offsets[2] });
    const result = await scanOf(native, parts, { resync: true });
    expect(result.stop).toBe('end');
    expect([...result.offsets]).toEqual([offsets[0], offsets[1], offsets[3], offsets[4]]);
    expect([...result.damaged]).toEqual([offsets[2], offsets[3]]);
  });

  test('sees a damaged payload with verify only', async () => {
    const broken = Buffer.from(frames[5] as Buffer);
    broken.writeUInt8((broken[1000] as number) ^ 1, 1000);
    const parts = [head, broken, end];
    expect((await scanOf(native, parts)).offsets).toHaveLength(3);
    expect(await scanOf(native, parts, { verify: true })).toMatchObject({ stop: 'damage', next: head.length });
    const result = await scanOf(native, parts, { verify: true, resync: true });
    expect([...result.damaged]).toEqual([head.length, head.length + broken.length]);
  });

  test('does not take a record of another segment', async () => {
    const stale = record(TYPE.frame, noise(100, 1), { seed: SEED + 1 });
    const parts = [head, stale, stale, end];
    expect(await scanOf(native, parts)).toMatchObject({ stop: 'damage', next: head.length });
    const result = await scanOf(native, parts, { resync: true });
    expect([...result.offsets]).toEqual([0, head.length + 2 * stale.length]);
  });

  test('does not take payload bytes that look like a delimiter', async () => {
    const inner = record(TYPE.frame, noise(100, 1), { seed: 0 });
    const lying = record(TYPE.frame, noise(100, 1));
    lying.writeUInt8((lying[50] as number) ^ 1, 50); // the header holds, the payload does not
    const broken = Buffer.concat([record(TYPE.frame, noise(10, 1)).subarray(1), inner, lying]);
    const result = await scanOf(native, [head, broken, end], { resync: true });
    expect([...result.offsets]).toEqual([0, head.length + broken.length]);
    expect([...result.damaged]).toEqual([head.length, head.length + broken.length]);
  });

  test('finds a magic that lies across two windows of the search', async () => {
    for (const shift of [-3, -2, -1, 0, 1]) {
      const gap = Buffer.alloc((512 << 10) + shift);
      const result = await scanOf(native, [gap, end], { resync: true });
      expect([...result.offsets]).toEqual([gap.length]);
      expect([...result.damaged]).toEqual([0, gap.length]);
    }
  });

  test.each([
    ['a count that leaves no room for its table', Buffer.from([0, 0, 0, 9, 1, 2, 3, 4])],
    ['a huge count', Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4])],
    ['sizes that do not sum up', Buffer.concat([groupPayload([10, 20]), Buffer.alloc(1)])],
    ['no count', Buffer.alloc(3)],
  ])('takes a group with %s for damage', async (_what, payload) => {
    const result = await scanOf(native, [head, record(TYPE.group, payload), end], { resync: true });
    expect([...result.offsets]).toEqual([0, head.length + 32 + payload.length]);
  });

  test('takes a configuration above 1 MiB for damage, and one of 1 MiB not', async () => {
    const fits = record(TYPE.configuration, noise(1 << 20, 1));
    expect(await scanOf(native, [fits, end])).toMatchObject({ stop: 'end' });
    expect(await scanOf(native, [fits, end], { verify: true })).toMatchObject({ stop: 'end' });
    const tooLong = record(TYPE.configuration, noise((1 << 20) + 1, 1));
    expect(await scanOf(native, [tooLong, end])).toMatchObject({ stop: 'damage', next: 0 });
  });

  test('can be taken up again at the limit', async () => {
    const whole = await scanOf(native, SEGMENT);
    const offsets: number[] = [];
    let from = 0;
    for (;;) {
      const part = await scanOf(native, SEGMENT, { from, limit: 3 });
      offsets.push(...part.offsets);
      from = part.next;
      if (part.stop === 'end') break;
      expect(part.stop).toBe('limit');
      expect(part.offsets).toHaveLength(3);
    }
    expect(offsets).toEqual([...whole.offsets]);
  });

  test('reads nothing at or behind `to`, and ends with a shorter file', async () => {
    const short = await scanOf(native, SEGMENT, { to: head.length + 10, resync: true });
    expect([...short.offsets]).toEqual([0]);
    expect([...short.damaged]).toEqual([head.length, head.length + 10]);
    const long = await scanOf(native, SEGMENT, { to: 2 ** 40, resync: true });
    expect(long).toMatchObject({ stop: 'end', next: Buffer.concat(SEGMENT).length });
    const none = await scanOf(native, [], { to: 100 });
    expect(none).toMatchObject({ stop: 'end', next: 0 });
  });

  test('is cancelled', async () => {
    const cancel = new Int32Array(new SharedArrayBuffer(4));
    Atomics.store(cancel, 0, 1);
    await expect(scanOf(native, SEGMENT, { cancel })).rejects.toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
  });

  test('is cancelled while it searches', async () => {
    const name = path.join(folder, 'sparse.bin');
    writeFileSync(name, '');
    const fd = openSync(name, 'r+');
    ftruncateSync(fd, 64 * 2 ** 30);
    const cancel = new Int32Array(1);
    const scanning = native.scan({ ...request(fd, 64 * 2 ** 30), resync: true, cancel });
    setTimeout(() => Atomics.store(cancel, 0, 1), 50);
    await expect(scanning).rejects.toMatchObject({ name: 'AbortError' });
    closeSync(fd);
  });

  test('rejects with the code of a failed read', async () => {
    await expect(native.scan(request(9999, 100))).rejects.toMatchObject({
      code: 'EBADF',
      syscall: expect.any(String),
    });
    const fd = openSync(folder, 'r');
    await expect(native.scan(request(fd, 100))).rejects.toMatchObject({ code: 'EISDIR', syscall: expect.any(String) });
    closeSync(fd);
  });

  test('refuses wrong requests', async () => {
    const good = request(0, 100);
    await expect(native.scan({ ...good, limit: 0 })).rejects.toThrow(RangeError);
    await expect(native.scan({ ...good, from: -1 })).rejects.toThrow(RangeError);
    await expect(native.scan({ ...good, seed: 0.5 })).rejects.toThrow(RangeError);
    await expect(native.scan({ ...good, fd: '3' as never })).rejects.toThrow(TypeError);
    await expect(native.scan({ ...good, verify: 1 as never })).rejects.toThrow(TypeError);
    await expect(native.scan({ ...good, cancel: new Int32Array(0) })).rejects.toThrow(TypeError);
    await expect(native.scan({ ...good, more: 1 } as never)).rejects.toThrow(/unknown key.*more/);
  });
});

test('addon and twin give the same result for random damage', async () => {
  const addon = loadAddon();
  const clean = Buffer.concat([...SEGMENT.slice(0, 14), ...SEGMENT.slice(15)]);
  for (let round = 0; round < 60; round++) {
    const data = Buffer.from(clean);
    const random = noise(24, 1000 + round);
    for (let i = 0; i < 6; i++) data.writeUInt8(random[i] as number, random.readUInt32LE(i * 3) % data.length);
    const options = { verify: round % 2 === 0, resync: round % 3 !== 0 };
    const kept = data.subarray(0, data.length - (round % 5) * 100);
    expect(await scanOf(addon, [kept], options)).toEqual(await scanOf(twin, [kept], options));
  }
});
