/**
 * Every record and block: what is encoded is decoded, any flipped byte is noticed, and golden bytes pin the version: a
 * change of them is a change of the format, and needs a new FORMAT_VERSION.
 */
import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { getInt64, setInt64, viewOf } from '../../src/format/bytes.ts';
import {
  type Delimiter,
  encodeRecord,
  isDelimiter,
  keptPayloadBytes,
  readDelimiter,
  RecordType,
  writeDelimiter,
} from '../../src/format/delimiter.ts';
import { encodeIndexBlock, type IndexBlock, readIndexBlocks, recordOffsets } from '../../src/format/index-block.ts';
import {
  type Anchor,
  decodeAnchor,
  decodeCameraClock,
  decodeConfiguration,
  decodeEnd,
  decodeHead,
  encodeAnchor,
  encodeCameraClock,
  encodeConfiguration,
  encodeEnd,
  encodeGroupTable,
  encodeHead,
  FORMAT_VERSION,
  type Head,
  readHead,
  seedOf,
} from '../../src/format/records.ts';
import { decodeSegmentIndex, encodeSegmentIndex, type SegmentIndex } from '../../src/format/segment-index.ts';
import {
  decodeTrailer,
  encodeTrailer,
  NO_TABLE,
  type TablePosition,
  type Trailer,
  type TrackSummary,
} from '../../src/format/trailer.ts';
import type { Track } from '../../src/media.ts';
import { native } from '../../src/native.ts';

const { crc32c } = native;

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const i32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
/** What a clock can reach: the format's readers refuse more. */
const ticks = fc.integer({ min: -(2 ** 52), max: 2 ** 52 });
const offset = fc.maxSafeNat();
const uuid = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'));
/** Wall times are kept in microseconds. */
const utcMs = fc.integer({ min: 0, max: 4e15 }).map((micros) => micros / 1000);

const anchor = fc.record<Anchor>({ track: u8, dts: ticks, utcMs, discontinuity: fc.boolean() });
const headTrack = fc.record({
  kind: fc.constantFrom('video' as const, 'audio' as const),
  timescale: fc.integer({ min: 1, max: 0xffff_ffff }),
});
const head = fc.array(headTrack, { minLength: 1, maxLength: 8 }).chain((tracks) =>
  fc.record<Head>({
    segment: uuid,
    camera: uuid,
    run: uuid,
    sequence: u32,
    anchor: fc.record({ track: fc.nat(tracks.length - 1), dts: ticks, utcMs, discontinuity: fc.constant(false) }),
    tracks: fc.constant(tracks),
  }),
);
const table = fc.record<TablePosition>({ offset, length: u32, count: u32, crc: u32 });
const trailer = head.chain((one) =>
  fc.record<Trailer>({
    head: fc.constant(one),
    repairGeneration: u32,
    recovered: fc.boolean(),
    discontinuous: fc.boolean(),
    payload: fc.record({ offset, end: offset }),
    moov: fc.record({ offset, length: offset, crc: u32 }),
    startUtcMs: utcMs,
    endUtcMs: utcMs,
    index: table,
    tracks: fc.array(
      fc.record({
        ...{ firstDts: ticks, endDts: ticks, firstPts: ticks, endPts: ticks },
        ...{ estimated: fc.boolean(), firstSync: fc.boolean(), negativeOffsets: fc.boolean() },
        samples: fc.integer({ min: 1, max: 0xffff_ffff }),
        ...{ syncSamples: u32, breaks: u32, frameTicks: u32, lastTicks: u32 },
        ...{ payloadBytes: offset, syncBytes: offset },
        tables: fc.record({
          stsd: table,
          stts: table,
          ctts: table,
          stss: table,
          stsz: table,
          stsc: table,
          co64: table,
        }),
      }),
      { minLength: one.tracks.length, maxLength: one.tracks.length },
    ),
  }),
);

const HEAD: Head = {
  segment: '00112233445566778899aabbccddeeff',
  camera: 'c0c1c2c3c4c5c6c7c8c9cacbcccdcecf',
  run: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf',
  sequence: 3,
  anchor: { track: 0, dts: -5, utcMs: 1_769_860_800_000.125, discontinuity: false },
  tracks: [
    { kind: 'video', timescale: 90_000 },
    { kind: 'audio', timescale: 48_000 },
  ],
};
const SEED = seedOf(HEAD.segment, crc32c);

/** Every position at which flipping one bit is not noticed by `holds`. */
function blindSpots(bytes: Uint8Array, holds: (bytes: Uint8Array) => boolean): number[] {
  expect(holds(bytes)).toBe(true);
  return Array.from(bytes.keys()).filter((at) => {
    const changed = bytes.slice();
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    return holds(changed);
  });
}

/** Whether a whole record stands in `bytes`: header and payload CRC hold. */
function isRecord(bytes: Uint8Array): boolean {
  if (!isDelimiter(bytes, 0, SEED, crc32c)) return false;
  const { length, payloadCrc } = readDelimiter(viewOf(bytes), 0);
  return 32 + length === bytes.byteLength && crc32c(bytes.subarray(32)) === payloadCrc;
}

describe('64-bit fields', () => {
  test('hold every safe integer, big-endian and signed', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        const view = new DataView(new ArrayBuffer(8));
        setInt64(view, 0, value);
        expect(view.getBigInt64(0)).toBe(BigInt(value));
        expect(getInt64(view, 0)).toBe(value);
      }),
      { examples: [[0], [-1], [2 ** 32], [-(2 ** 32)], [-(2 ** 32) - 1], [2 ** 31], [Number.MAX_SAFE_INTEGER]] },
    );
  });
});

describe('round trips', () => {
  test('delimiter', () => {
    const fields = fc.record<Delimiter>({
      ...{ type: u8, flags: u8, track: u8, configuration: u8, length: u32 },
      ...{ compositionOffset: i32, dts: ticks, payloadCrc: u32 },
    });
    fc.assert(
      fc.property(fields, u32, fc.nat(5), (delimiter, seed, at) => {
        const bytes = new Uint8Array(40);
        writeDelimiter(bytes, at, delimiter, seed, crc32c);
        expect(readDelimiter(viewOf(bytes), at)).toEqual(delimiter);
        expect(isDelimiter(bytes, at, seed, crc32c)).toBe(true);
        expect(isDelimiter(bytes, at, (seed ^ 1) >>> 0, crc32c)).toBe(false);
      }),
    );
  });

  test('head', () => {
    fc.assert(
      fc.property(head, fc.nat(50), (one, rest) => {
        const bytes = encodeHead(one, crc32c);
        expect(readHead(Buffer.concat([bytes, Buffer.alloc(rest, 7)]), crc32c)).toEqual({
          head: one,
          lengthBytes: bytes.byteLength,
        });
        expect(readHead(bytes.subarray(0, -1), crc32c)).toBeUndefined();
      }),
    );
  });

  test('configuration', () => {
    const codec = fc.string({ unit: 'grapheme-ascii', maxLength: 40 });
    const config = fc.uint8Array({ maxLength: 300 });
    const shared = { codec, config, timescale: u32 };
    const track: fc.Arbitrary<Track> = fc.oneof(
      fc.record({ kind: fc.constant('video' as const), ...shared, width: u16, height: u16 }),
      fc.record({ kind: fc.constant('audio' as const), ...shared, channels: u16, sampleRate: u32 }),
    );
    fc.assert(
      fc.property(track, fc.nat(7), (one, index) => {
        const record = encodeConfiguration(index, one, SEED, crc32c);
        expect(readDelimiter(viewOf(record), 0)).toMatchObject({ type: RecordType.configuration, track: index });
        expect(decodeConfiguration(record.subarray(32), one.timescale)).toEqual(one);
      }),
    );
  });

  test('anchor', () => {
    fc.assert(
      fc.property(anchor, (one) => {
        const record = encodeAnchor(one, SEED, crc32c);
        const { type, track, dts, flags } = readDelimiter(viewOf(record), 0);
        expect(type).toBe(RecordType.anchor);
        expect(decodeAnchor(track, dts, flags, record.subarray(32))).toEqual(one);
      }),
    );
  });

  test('camera clock: nothing of its payload goes into an index, and what is no time is none', () => {
    fc.assert(
      fc.property(u8, ticks, utcMs, (track, dts, cameraUtcMs) => {
        const record = encodeCameraClock({ track, dts, utcMs: cameraUtcMs }, SEED, crc32c);
        const fields = { type: RecordType.cameraClock, flags: 0, track, dts, length: 8 };
        expect(readDelimiter(viewOf(record), 0)).toMatchObject(fields);
        expect(keptPayloadBytes(viewOf(record), 0)).toBe(0);
        expect(decodeCameraClock(record.subarray(32))).toBe(cameraUtcMs);
      }),
    );
    expect(decodeCameraClock(new Uint8Array(7))).toBeUndefined();
    expect(decodeCameraClock(Uint8Array.of(0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0))).toBeUndefined();
  });

  test('end', () => {
    const end = fc.record({ endDts: fc.option(ticks, { nil: undefined }), estimated: fc.boolean() });
    fc.assert(
      fc.property(fc.array(end, { maxLength: 8 }), (ends) => {
        expect(decodeEnd(encodeEnd(ends, SEED, crc32c).subarray(32))).toEqual(ends);
      }),
    );
  });

  test('segment index', () => {
    const item = fc.record({ track: u32, sample: u32, durationTicks: ticks });
    fc.assert(
      fc.property(fc.array(anchor), fc.array(item), (anchors, breaks) => {
        const bytes = encodeSegmentIndex({ anchors, breaks });
        expect(decodeSegmentIndex(bytes, crc32c(bytes), crc32c)).toEqual({ anchors, breaks });
      }),
    );
  });

  test('trailer', () => {
    fc.assert(
      fc.property(trailer, (one) => {
        expect(decodeTrailer(encodeTrailer(one, crc32c), crc32c)).toEqual(one);
      }),
      { numRuns: 40 },
    );
  });

  test('a track without samples keeps no times in the trailer', () => {
    const none = { firstDts: undefined, endDts: undefined, estimated: false, samples: 0, syncSamples: 0 };
    const decoded = decodeTrailer(encodeTrailer(withTrack(none), crc32c), crc32c);
    expect(decoded?.tracks[0]).toMatchObject(none);
  });

  test('the counters of a trailer stand where docs/format.md says', () => {
    const view = viewOf(encodeTrailer(withTrack({}), crc32c));
    expect([view.getUint8(27), view.getBigUint64(104), view.getBigUint64(112)]).toEqual([3, 200n, 2n ** 33n + 40n]);
    const track = 384 + 256;
    expect([48, 52, 56, 60].map((at) => view.getUint32(track + at))).toEqual([7, 3, 3600, 1800]);
    expect(view.getBigUint64(track + 64)).toBe(2n ** 32n + 1n);
  });

  test('index blocks, one behind the other', () => {
    const record = fc.oneof(
      anchor.map((one) => encodeAnchor(one, SEED, crc32c)),
      fc.array(fc.record({ size: fc.nat(999), durationTicks: u32 }), { maxLength: 8 }).map(groupStub),
      fc.nat(99_999).map((length) => stub(RecordType.frame, length)),
      fc.nat(99_999).map((length) => stub(99, length)),
    );
    fc.assert(
      fc.property(fc.array(fc.array(record, { minLength: 1 }), { maxLength: 6 }), fc.nat(2 ** 40), (all, start) => {
        let to = start;
        const offsets: number[] = [];
        const blocks = all.map((records): IndexBlock => {
          const from = to;
          for (const one of records) {
            offsets.push(to);
            to += 32 + readDelimiter(viewOf(one), 0).length;
          }
          return { from, to, records: new Uint8Array(Buffer.concat(records)) };
        });
        const bytes = Buffer.concat(blocks.map((block) => encodeIndexBlock(block, SEED, crc32c)));
        const read = readIndexBlocks(new Uint8Array(bytes), start, SEED, crc32c);
        expect(read.blocks.map((block) => ({ ...block, records: Buffer.from(block.records) }))).toEqual(
          blocks.map((block) => ({ ...block, records: Buffer.from(block.records) })),
        );
        expect([read.lengthBytes, read.to]).toEqual([bytes.byteLength, to]);
        expect(read.blocks.flatMap((block) => [...recordOffsets(block)])).toEqual(offsets);
      }),
      { numRuns: 50 },
    );
  });
});

/** What an index keeps of a record of `length` payload bytes that it keeps nothing of. */
function stub(type: number, length: number): Uint8Array {
  const bytes = new Uint8Array(32);
  const fields = { type, flags: 0, track: 0, configuration: 0, length, compositionOffset: 0, dts: 0, payloadCrc: 0 };
  writeDelimiter(bytes, 0, fields, SEED, crc32c);
  return bytes;
}

/** What an index keeps of a group: delimiter and table. */
function groupStub(entries: readonly { size: number; durationTicks: number }[]): Uint8Array {
  const groupTable = encodeGroupTable(entries);
  const length = groupTable.byteLength + entries.reduce((sum, { size }) => sum + size, 0);
  return new Uint8Array(Buffer.concat([stub(RecordType.group, length), groupTable]));
}

function withTrack(counters: Partial<TrackSummary>): Trailer {
  const tables = { stsd: table1, stts: table1, ctts: table1, stss: NO_TABLE, stsz: table1, stsc: table1, co64: table1 };
  const track = {
    ...{ firstDts: -5, endDts: 95, firstPts: 0, endPts: 99 },
    ...{ samples: 9, syncSamples: 2, payloadBytes: 2 ** 33, syncBytes: 2 ** 32 + 1 },
    ...{ breaks: 3, frameTicks: 3600, lastTicks: 1800 },
    ...{ estimated: true, firstSync: true, negativeOffsets: true },
    tables,
  };
  return {
    ...{
      head: HEAD,
      repairGeneration: 1,
      recovered: true,
      discontinuous: true,
      startUtcMs: 1_769_860_800_000.5,
      endUtcMs: 1_769_860_801_000,
    },
    moov: { offset: 2 ** 33 + 48, length: 700, crc: 0xdeadbeef },
    index: table1,
    payload: { offset: 200, end: 2 ** 33 + 40 },
    tracks: [{ ...track, ...counters }, track],
  };
}

const table1: TablePosition = { offset: 2 ** 33 + 100, length: 16, count: 2, crc: 0x01020304 };

describe('any flipped bit is noticed', () => {
  test('in a record', () => {
    const payload = Uint8Array.from({ length: 100 }, (_, i) => i);
    const fields = { type: RecordType.frame, flags: 1, track: 0, configuration: 0, compositionOffset: 7200, dts: 3600 };
    expect(blindSpots(encodeRecord(fields, payload, SEED, crc32c), isRecord)).toEqual([]);
  });

  test('in a head', () => {
    expect(blindSpots(encodeHead(HEAD, crc32c), (bytes) => readHead(bytes, crc32c) !== undefined)).toEqual([]);
  });

  test('in an index block, and behind the first bad block nothing is taken', () => {
    const records = encodeAnchor(HEAD.anchor, SEED, crc32c);
    const first = encodeIndexBlock({ from: 48, to: 88, records }, SEED, crc32c);
    const second = encodeIndexBlock({ from: 88, to: 128, records }, SEED, crc32c);
    const count = (bytes: Uint8Array) => readIndexBlocks(bytes, 48, SEED, crc32c).blocks.length;
    expect(blindSpots(first, (bytes) => count(bytes) === 1)).toEqual([]);
    const both = new Uint8Array(Buffer.concat([first, second]));
    expect(count(both)).toBe(2);
    for (let at = 0; at < both.length; at++) {
      const changed = both.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(count(changed)).toBe(at < first.length ? 0 : 1);
    }
    // A block that does not begin where its forerunner ended is none.
    expect(count(second)).toBe(0);
    expect(readIndexBlocks(first, 48, SEED ^ 1, crc32c).blocks).toEqual([]);
  });

  test('in a trailer', () => {
    const bytes = encodeTrailer(withTrack({}), crc32c);
    expect(blindSpots(bytes, (changed) => decodeTrailer(changed, crc32c) !== undefined)).toEqual([]);
  });

  test('in a segment index', () => {
    const index: SegmentIndex = { anchors: [HEAD.anchor], breaks: [{ track: 1, sample: 7, durationTicks: 1024 }] };
    const bytes = encodeSegmentIndex(index);
    const crc = crc32c(bytes);
    expect(blindSpots(bytes, (changed) => decodeSegmentIndex(changed, crc, crc32c) !== undefined)).toEqual([]);
  });
});

function headPayload(change: (view: DataView) => void): Uint8Array {
  const payload = encodeHead(HEAD, crc32c).slice(32);
  change(viewOf(payload));
  return payload;
}

describe('what a reader refuses', () => {
  test.each([
    ['a newer version', (view: DataView) => view.setUint16(0, FORMAT_VERSION + 1), 'E_FORMAT_VERSION'],
    ['a feature it does not know', (view: DataView) => view.setUint32(4, 0x8000_0000), 'E_FORMAT_VERSION'],
    ['no track', (view: DataView) => view.setUint8(2, 0), 'E_DAMAGED'],
    ['more tracks than there is room for', (view: DataView) => view.setUint8(2, 3), 'E_DAMAGED'],
    ['more than eight tracks', (view: DataView) => view.setUint8(2, 9), 'E_DAMAGED'],
  ])('a head with %s', (_, change, code) => {
    expect(() => decodeHead(headPayload(change))).toThrow(expect.objectContaining({ code }));
  });

  test('a head of a newer version is refused even if it is shorter than ours', () => {
    const newer = Uint8Array.from([0, 2, 0, 0, 0, 0, 0, 0]);
    expect(() => decodeHead(newer)).toThrow(expect.objectContaining({ code: 'E_FORMAT_VERSION' }));
    expect(() => decodeHead(newer.subarray(0, 7))).toThrow(expect.objectContaining({ code: 'E_DAMAGED' }));
  });

  test('a trailer with another number of tracks than its head', () => {
    const bytes = encodeTrailer(withTrack({}), crc32c);
    const view = viewOf(bytes);
    view.setUint8(26, 1);
    view.setUint32(4092, crc32c(bytes.subarray(0, 4092)));
    expect(decodeTrailer(bytes, crc32c)).toBeUndefined();
  });

  test('an index keeps whole payloads of head, configuration, anchor and end, tables of groups, nothing of the rest', () => {
    const kept = [1, 2, 3, 4, 5, 6, 7, 8, 255].map((type) => {
      const bytes = new Uint8Array(36);
      bytes.set(stub(type, 500));
      viewOf(bytes).setUint32(32, 3);
      return keptPayloadBytes(viewOf(bytes), 0);
    });
    expect(kept).toEqual([500, 500, 500, 0, 28, 0, 500, 0, 0]);
  });
});

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex').slice(0, 16);

describe('golden bytes of format version 1', () => {
  test('the version is 1; other bytes need another version', () => {
    expect(FORMAT_VERSION).toBe(1);
  });

  test.each([
    ['head', encodeHead(HEAD, crc32c), '11bd099da05c3d1b'],
    ['configuration', encodeConfiguration(1, audioTrack(), SEED, crc32c), '54167d847a5ef4ed'],
    ['anchor', encodeAnchor({ ...HEAD.anchor, discontinuity: true }, SEED, crc32c), '160b6c587e81399f'],
    [
      'camera clock',
      encodeCameraClock({ track: 0, dts: -5, utcMs: 1_769_860_800_000.125 }, SEED, crc32c),
      '9cb7a45019557bc8',
    ],
    ['group table', encodeGroupTable([{ size: 300, durationTicks: 1024 }]), '21a6bedf6d1b8746'],
    [
      'end',
      encodeEnd(
        [
          { endDts: 3600, estimated: true },
          { endDts: undefined, estimated: false },
        ],
        SEED,
        crc32c,
      ),
      '594105785a6f7d39',
    ],
    [
      'index block',
      encodeIndexBlock({ from: 48, to: 88, records: Uint8Array.of(1, 2, 3) }, SEED, crc32c),
      'd07d8ece5c433f73',
    ],
    [
      'segment index',
      encodeSegmentIndex({ anchors: [HEAD.anchor], breaks: [{ track: 1, sample: 7, durationTicks: 1024 }] }),
      '33014a5775a34de3',
    ],
    ['trailer', encodeTrailer(withTrack({}), crc32c), '7742ec461d5f1b56'],
  ])('%s', (_, bytes, golden) => {
    expect(digest(bytes)).toBe(golden);
  });
});

function audioTrack(): Track {
  const config = Uint8Array.of(1, 2, 3, 4);
  return { kind: 'audio', codec: 'mp4a.40.2', timescale: 48_000, config, sampleRate: 48_000, channels: 2 };
}
