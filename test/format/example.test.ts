/**
 * The worked example of docs/format.md: the page's hex dump is what the product writes, byte for byte, and what it says
 * of the dump is what the product reads.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { encodeRecord, RecordFlag, RecordType } from '../../src/format/delimiter.ts';
import { encodeIndexBlock } from '../../src/format/index-block.ts';
import {
  encodeConfiguration,
  encodeEnd,
  encodeGroupTable,
  encodeHead,
  type Head,
  seedOf,
} from '../../src/format/records.ts';
import { native } from '../../src/native.ts';
import { DATA_START, OPEN_PREFIX } from '../../src/segment/layout.ts';
import { framesOf, readOpen } from '../support/segment.ts';

const { crc32c } = native;
const PAGE = join(import.meta.dirname, '..', '..', 'docs', 'format.md');

const HEAD: Head = {
  segment: '00112233445566778899aabbccddeeff',
  camera: 'c0c1c2c3c4c5c6c7c8c9cacbcccdcecf',
  run: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf',
  sequence: 0,
  anchor: { track: 0, dts: 0, utcMs: Date.parse('2026-01-31T12:00:00Z'), discontinuity: false },
  tracks: [
    { kind: 'video', timescale: 90_000 },
    { kind: 'audio', timescale: 48_000 },
  ],
};
const SEED = seedOf(HEAD.segment, crc32c);

/** The parts of the example, in the order of the page. */
function parts(): Uint8Array[] {
  const video = { kind: 'video', codec: 'avc1.640028', timescale: 90_000, width: 640, height: 360 } as const;
  const audio = { kind: 'audio', codec: 'mp4a.40.2', timescale: 48_000, sampleRate: 48_000, channels: 1 } as const;
  const none = { flags: 0, configuration: 0, compositionOffset: 0, dts: 0 };
  const frame = { ...none, type: RecordType.frame, flags: RecordFlag.sync, track: 0, compositionOffset: 3600 };
  const group = { ...none, type: RecordType.group, flags: RecordFlag.sync, track: 1, dts: -1024 };
  const table = encodeGroupTable([
    { size: 3, durationTicks: 1024 },
    { size: 2, durationTicks: 1024 },
  ]);
  return [
    OPEN_PREFIX,
    encodeHead(HEAD, crc32c),
    encodeConfiguration(0, { ...video, config: Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0) }, SEED, crc32c),
    encodeConfiguration(1, { ...audio, config: Uint8Array.of(0, 0, 0, 0) }, SEED, crc32c),
    encodeRecord(frame, Uint8Array.of(0, 0, 0, 1, 0x65), SEED, crc32c),
    encodeRecord(group, Buffer.concat([table, Uint8Array.of(0x21, 0x10, 4, 0x21, 0x10)]), SEED, crc32c),
    encodeEnd(
      [
        { endDts: 3600, estimated: true },
        { endDts: 1024, estimated: false },
      ],
      SEED,
      crc32c,
    ),
  ];
}

/** The bytes of the dump, whose lines are an offset, up to 16 bytes in hex, and a remark. */
async function dumped(fence: string): Promise<Buffer> {
  const page = await readFile(PAGE, 'utf8');
  const block = page.split(`\`\`\`${fence}\n`)[1]?.split('```')[0] ?? '';
  const lines = [...block.matchAll(/^([0-9a-f]{4}) {2}((?:[0-9a-f]{2} ?)+)/gm)];
  let at = 0;
  const bytes = lines.map(([, offset, hex]) => {
    expect(Number.parseInt(offset ?? '', 16)).toBe(at);
    const line = Buffer.from((hex ?? '').replaceAll(' ', ''), 'hex');
    at += line.length;
    return line;
  });
  return Buffer.concat(bytes);
}

test('the segment in docs/format.md is what is written', async () => {
  expect((await dumped('segment')).toString('hex')).toBe(Buffer.concat(parts()).toString('hex'));
});

test('the pseudo-header in docs/format.md is what is written', async () => {
  const records = parts().slice(1);
  const kept = records.map((record, i) =>
    i === 3 ? record.subarray(0, 32) : i === 4 ? record.subarray(0, 52) : record,
  );
  const to = DATA_START + records.slice(0, 5).reduce((sum, record) => sum + record.byteLength, 0);
  const block = { from: DATA_START, to, records: new Uint8Array(Buffer.concat(kept.slice(0, 5))) };
  const block32 = encodeIndexBlock(block, SEED, crc32c).subarray(0, 32);
  expect((await dumped('idx')).toString('hex')).toBe(Buffer.from(block32).toString('hex'));
});

test('the segment in docs/format.md reads as the page says', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'footage-example-'));
  try {
    const path = join(folder, `120000.000Z-${HEAD.segment}.mp4`);
    await writeFile(path, await dumped('segment'));
    const contents = await readOpen(path);
    expect(framesOf(contents)).toEqual([
      { track: 0, dts: 0, duration: 3600, compositionOffset: 3600, size: 5, sync: true, offset: 0x14f },
      { track: 1, dts: -1024, duration: 1024, compositionOffset: 0, size: 3, sync: true, offset: 0x188 },
      { track: 1, dts: 0, duration: 1024, compositionOffset: 0, size: 2, sync: true, offset: 0x18b },
    ]);
    expect(contents.tracks.map(({ endDts, estimated }) => [endDts, estimated])).toEqual([
      [3600, true],
      [1024, false],
    ]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
