/** Segments on disk: the bytes of the format, the scan of addon and twin, and archives of hostile files. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import { FootageError } from '../../../src/errors.ts';
import { readIndexBlocks, recordOffsets } from '../../../src/format/index-block.ts';
import { hexOfUuid } from '../../../src/format/bytes.ts';
import { readHead } from '../../../src/format/records.ts';
import { decodeSegmentIndex } from '../../../src/format/segment-index.ts';
import { decodeTrailer, TRAILER_BYTES } from '../../../src/format/trailer.ts';
import { type Archive, openArchive, type SessionRequest } from '../../../src/index.ts';
import { loadAddon, native, twin } from '../../../src/native.ts';
import type { Native, ScanRequest } from '../../../src/native-types.ts';
import { ContentsBuilder, clocksOf } from '../../../src/segment/contents.ts';
import { DATA_START, indexPathOf, segmentPath } from '../../../src/segment/layout.ts';
import { extentOf } from '../../../src/segment/summary.ts';
import type { FuzzTarget } from '../target.ts';
import { finishSegment, INDEX_MAGIC, MAGIC, split, TRAILER_TYPE } from './checksums.ts';
import { expectThat } from './expect.ts';
import { scratchFolder } from './scratch.ts';

const WORDS = [
  MAGIC,
  INDEX_MAGIC,
  TRAILER_TYPE,
  'stts',
  'ctts',
  'stss',
  'stsz',
  'stsc',
  'co64',
  'moov',
  'trak',
  'uuid',
];
const { crc32c } = native;

/** The pure functions of src/format, and the tables that come of a pseudo-header. */
export const format: FuzzTarget = {
  name: 'format',
  corpora: ['segment'],
  words: WORDS,
  finish: finishSegment,
  run: (input) => {
    const { segment, index } = split(input);
    const trailer = segment.length < TRAILER_BYTES ? undefined : segment.subarray(segment.length - TRAILER_BYTES);
    const decoded = trailer === undefined ? undefined : decodeTrailer(trailer, crc32c);
    if (decoded !== undefined) {
      const { offset, length, crc } = decoded.index;
      decodeSegmentIndex(segment.subarray(offset, offset + length), crc, crc32c);
    }
    const found = readHead(segment.subarray(DATA_START), crc32c);
    if (found === undefined) return;
    const builder = new ContentsBuilder(found.head, crc32c);
    const { blocks, to } = readIndexBlocks(index.subarray(found.lengthBytes), DATA_START, builder.seed, crc32c);
    expectThat(to >= DATA_START, 'blocks do not go back');
    for (const block of blocks) builder.addAll(block.records, recordOffsets(block));
    const contents = builder.contents(true);
    clocksOf(contents);
    extentOf(contents);
  },
};

let folder = '';
const inFolder = {
  open: async () => {
    folder = await scratchFolder();
  },
  close: () => rm(folder, { recursive: true }),
};

async function scanned(layer: Native, request: ScanRequest) {
  const batches = [];
  let next = request.from;
  for (let stop = 'limit'; stop === 'limit';) {
    const batch = await layer.scan({ ...request, from: next });
    batches.push(batch);
    ({ next, stop } = batch);
  }
  return batches;
}

/** The scan of the addon and that of the twin are one. */
export const scan: FuzzTarget = {
  name: 'scan-twin',
  corpora: ['segment'],
  words: [MAGIC],
  finish: finishSegment,
  ...inFolder,
  run: async (input) => {
    const { segment, index } = split(input);
    const head = readHead(segment.subarray(DATA_START), crc32c);
    const options = index.at(-1) ?? segment.at(-1) ?? 0;
    const path = join(folder, 'segment.mp4');
    writeFileSync(path, segment);
    const fd = openSync(path, 'r');
    try {
      const request = {
        ...{
          fd,
          from: options % 3 === 0 ? 0 : DATA_START,
          to: segment.length + (options % 7) - 3,
          limit: 1 + (options % 50),
        },
        seed: head === undefined ? 0 : crc32c(Buffer.from(head.head.segment, 'hex')),
        ...{ verify: options % 2 === 0, resync: options % 5 > 0 },
      };
      if (request.to < 0) return;
      const [ours, theirs] = [await scanned(loadAddon(), request), await scanned(twin, request)];
      expectThat(isDeepStrictEqual(ours, theirs), 'addon and twin give the same');
    } finally {
      closeSync(fd);
    }
  },
};

const START_UTC_MS = Date.parse('2026-01-31T12:00:00Z');
const RANGE = { camera: 'door', start: '2026-01-31T11:59:59.9Z', duration: 1 };
const REQUESTS: readonly SessionRequest[] = [
  RANGE,
  { ...RANGE, start: '2026-01-31T12:00:00.130Z', duration: 0.2 },
  { ...RANGE, start: '2026-01-31T12:00:00.130Z', duration: 0.2, format: 'fmp4' },
  { ...RANGE, gaps: 'freeze', tracks: 'video' },
  { ...RANGE, keyframes: true, speed: 2 },
  { ...RANGE, tracks: 'audio', begin: 'next' },
  // All that a segment can claim: from the year 68 to 4821.
  { camera: 'door', start: -6e10, end: 9e10 },
];
/** Of each answer; what a file claims may be endless. */
const MOST_BYTES = 2 ** 19;

function nowhere(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() });
}

/** A FootageError is an answer. */
async function attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof FootageError) return undefined;
    throw error;
  }
}

/** The timeline, HLS, and some of the requests. */
async function ask(archive: Archive, which: number): Promise<void> {
  await archive.cameras();
  await attempt(() => archive.timeline('door'));
  for (const request of REQUESTS.filter((_, i) => (i + which) % 3 === 0)) {
    const session = await attempt(() => archive.session(request));
    if (session === undefined) continue;
    expectThat(Number.isSafeInteger(session.length) && session.length > 0, 'an answer has a length');
    const range = { start: 0, end: Math.min(session.length, MOST_BYTES) };
    await attempt(() => session.send(nowhere(), { range }));
  }
  const span = { startUtcMs: START_UTC_MS - 1000, endUtcMs: START_UTC_MS + 2000 };
  await attempt(() => archive.hls({ camera: 'door', tracks: 'all', kind: 'vod', span }));
}

async function withArchive(readOnly: boolean, use: (archive: Archive) => Promise<void>): Promise<void> {
  await attempt(async () => {
    const archive = await openArchive(folder, { readOnly });
    try {
      await use(archive);
    } finally {
      await archive.close();
    }
  });
}

/** An archive of one hostile segment: read, recovered, verified, exported. */
export const archives: FuzzTarget = {
  name: 'archive',
  corpora: ['segment'],
  words: WORDS,
  finish: finishSegment,
  ...inFolder,
  run: async (input) => {
    const { segment, index } = split(input);
    await rm(folder, { recursive: true, force: true });
    const id = hexOfUuid(segment.subarray(DATA_START + 40, DATA_START + 56));
    const path = join(folder, 'door', segmentPath(START_UTC_MS, id));
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, segment);
    if (index.length > 0) await writeFile(indexPathOf(path), index);
    await withArchive(true, (archive) => ask(archive, input.length));
    await withArchive(false, async (archive) => {
      await ask(archive, input.length + 1);
      for await (const report of archive.verify()) expectThat(report.frames >= 0, 'a report counts frames');
    });
  },
};
