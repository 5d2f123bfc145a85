/** Segments whose checksums hold although no recorder wrote them: refused with a sentence, never an error from inside. */
import { describe, expect, test } from 'vitest';
import { encodeRecord, RecordType } from '../../src/format/delimiter.ts';
import { encodeIndexBlock, readIndexBlocks } from '../../src/format/index-block.ts';
import { encodeAnchor, encodeHead, type Head, readHead, seedOf } from '../../src/format/records.ts';
import { decodeTrailer, encodeTrailer, TRAILER_BYTES } from '../../src/format/trailer.ts';
import { native } from '../../src/native.ts';
import { ContentsBuilder } from '../../src/segment/contents.ts';
import { isPlausible } from '../../src/segment/plausible.ts';
import { SealedTables } from '../../src/segment/sealed-tables.ts';
import { HEAD, START_UTC_MS, tellStory } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

const { crc32c } = native;
const SEED = seedOf(HEAD.segment, crc32c);
const DATA_START = 48;
const damaged = (work: () => unknown) => expect(work).toThrow(expect.objectContaining({ code: 'E_DAMAGED' }));

function recordOf(type: number, payload: Uint8Array, dts = 0): Uint8Array {
  const fields = { type, flags: 1, track: 0, configuration: 0, compositionOffset: 0, dts };
  return encodeRecord(fields, payload, SEED, crc32c);
}

/** Adds records as a scan gives them: frames without their payload. */
function build(...records: readonly Uint8Array[]): ContentsBuilder {
  const builder = new ContentsBuilder(HEAD, crc32c);
  for (const record of records) builder.addAll(record, Float64Array.of(DATA_START));
  return builder;
}

const frame = (dts: number) => recordOf(RecordType.frame, new Uint8Array(0), dts);

const readBack = (head: Head) => readHead(encodeHead(head, crc32c), crc32c);

/** How many blocks are taken of a pseudo-header of one. */
function taken(records: Uint8Array, to: number): number {
  const block = encodeIndexBlock({ from: DATA_START, to, records }, SEED, crc32c);
  return readIndexBlocks(block, DATA_START, SEED, crc32c).blocks.length;
}

describe('records', () => {
  test('of a configuration, an anchor and an end that are too short or name no time are refused', () => {
    damaged(() => build(recordOf(RecordType.configuration, new Uint8Array(0))));
    const codecBehindTheEnd = Uint8Array.from({ length: 20 }, (_, i) => (i === 1 ? 200 : 0));
    damaged(() => build(recordOf(RecordType.configuration, codecBehindTheEnd)));
    damaged(() => build(recordOf(RecordType.anchor, new Uint8Array(7))));
    damaged(() => build(encodeAnchor({ track: 0, dts: 0, utcMs: 8.65e15, discontinuity: false }, SEED, crc32c)));
    const never = new Uint8Array(16).fill(0x7f, 0, 8);
    damaged(() => build(recordOf(RecordType.end, never)));
  });

  test('of frames whose times go back, stand still, or lie beyond any clock are refused', () => {
    damaged(() => build(frame(10), frame(9)));
    damaged(() => build(frame(10), frame(10)));
    damaged(() => build(frame(0), frame(2 ** 32)));
    damaged(() => build(frame(2 ** 52 + 1)));
    expect(build(frame(0), frame(2 ** 32 - 1)).frames).toBe(2);
  });

  test('of a head whose anchor has no track, or whose tracks have no clock, are refused', () => {
    expect(readBack(HEAD)?.head).toEqual(HEAD);
    damaged(() => readBack({ ...HEAD, anchor: { ...HEAD.anchor, track: 2 } }));
    damaged(() => readBack({ ...HEAD, tracks: [{ kind: 'video', timescale: 0 }] }));
    damaged(() => readBack({ ...HEAD, anchor: { ...HEAD.anchor, dts: 2 ** 52 + 1 } }));
  });
});

describe('the pseudo-header', () => {
  test('counts only blocks whose records fill them and their stretch', () => {
    const records = frame(0);
    expect(taken(records, DATA_START + 32)).toBe(1);
    expect(taken(records, DATA_START + 33)).toBe(0);
    expect(taken(records, DATA_START - 1)).toBe(0);
    expect(taken(records.subarray(0, 31), DATA_START + 32)).toBe(0);
  });

  test('has no block whose group claims frames that are not in its table', () => {
    const table = new Uint8Array(12);
    table[3] = 1;
    const group = recordOf(RecordType.group, table);
    expect(taken(group, DATA_START + group.byteLength)).toBe(1);
    group[32 + 3] = 200;
    expect(taken(group, DATA_START + group.byteLength)).toBe(0);
    expect(taken(group.subarray(0, 34), DATA_START + group.byteLength)).toBe(0);
  });
});

describe('a trailer', () => {
  test('counts only with tables inside of the moov before it, and times that are times', async () => {
    const { sealed } = await tellStory(await temporaryFolder());
    const trailer = decodeTrailer(sealed.subarray(sealed.length - TRAILER_BYTES), crc32c);
    if (trailer === undefined) throw new Error('a sealed segment has a trailer');
    const [track, ...others] = trailer.tracks;
    if (track === undefined) throw new Error('it has a track');
    const { stsz } = track.tables;
    const holds = (change: object, table: object = {}) => {
      const tables = { ...track.tables, stsz: { ...stsz, ...table } };
      const changed = { ...trailer, tracks: [{ ...track, tables }, ...others], ...change };
      const stored = decodeTrailer(encodeTrailer(changed, crc32c), crc32c);
      return stored !== undefined && isPlausible(stored, sealed.length);
    };
    expect(holds({})).toBe(true);
    expect(holds({ moov: { ...trailer.moov, length: trailer.moov.length + 1 } })).toBe(false);
    expect(holds({ moov: { ...trailer.moov, offset: -1, length: sealed.length - TRAILER_BYTES + 1 } })).toBe(false);
    expect(holds({ endUtcMs: 8.7e15 })).toBe(false);
    expect(holds({}, { offset: trailer.moov.offset - 1 })).toBe(false);
    expect(holds({}, { offset: sealed.length })).toBe(false);
    expect(holds({}, { count: stsz.count + 1 })).toBe(false);
    expect(trailer.startUtcMs).toBe(START_UTC_MS);
  });

  test('whose samples have no sizes or chunks is refused where it is looked into', async () => {
    const { sealed } = await tellStory(await temporaryFolder());
    const trailer = decodeTrailer(sealed.subarray(sealed.length - TRAILER_BYTES), crc32c);
    const [track] = trailer?.tracks ?? [];
    if (trailer === undefined || track === undefined) throw new Error('a sealed segment has a trailer');
    const { offset, length } = trailer.moov;
    const moov = sealed.subarray(offset, offset + length);
    const open = (change: object) => new SealedTables(moov, offset, { ...track, ...change });
    expect(open({}).count).toBe(track.samples);
    damaged(() => open({ samples: 2 ** 32 - 1 }));
    damaged(() => open({ tables: { ...track.tables, stsc: { ...track.tables.stsc, length: 0, count: 0 } } }));
    damaged(() => open({}).chunkOffset(-1));
  });
});
