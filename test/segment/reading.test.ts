/**
 * A segment can be read three ways (by scanning its delimiters, from the pseudo-header and the tail, from the sealed
 * `moov`), and all give the tables of what was written.
 */
import { open, rm, stat, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { readIndexBlocks } from '../../src/format/index-block.ts';
import { seedOf } from '../../src/format/records.ts';
import { native, twin } from '../../src/native.ts';
import type { Native } from '../../src/native-types.ts';
import type { SegmentContents } from '../../src/segment/contents.ts';
import { DATA_START, indexPathOf, OPEN_PREFIX } from '../../src/segment/layout.ts';
import { hasSealedPrefix, OpenSegmentReader, readSealed, readTrailer } from '../../src/segment/reader.ts';
import { verifySegment } from '../../src/segment/verify.ts';
import { packets, probe } from '../support/ffmpeg.ts';
import {
  Author,
  expected,
  framesOf,
  HEAD,
  openBytes,
  PICTURE_TICKS,
  quickFlusher,
  readOpen,
  restore,
  tellStory,
  io,
} from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

async function sealedContents(path: string, layer: Native = native): Promise<SegmentContents> {
  const file = await open(path);
  try {
    const trailer = await readTrailer(file, layer);
    if (trailer === undefined) throw new Error('no trailer');
    expect(await hasSealedPrefix(file, trailer)).toBe(true);
    return await readSealed(file, trailer, layer);
  } finally {
    await file.close();
  }
}

describe('three ways to the same tables', () => {
  test('scan, pseudo-header and moov give what was written, on a segment with every kind of record', async () => {
    const story = await tellStory(await temporaryFolder());
    const wanted = expected(story.frames);
    const fromIndex = await readOpen(story.path);
    await rm(indexPathOf(story.path));
    const fromScan = await readOpen(story.path);
    const fromMoov = await sealedContents(story.path);
    for (const contents of [fromIndex, fromScan, fromMoov]) {
      expect(framesOf(contents)).toEqual(wanted);
      expect(contents.anchors).toEqual(story.anchors);
      expect(contents.head).toEqual(HEAD);
      expect(contents.tracks.map(({ track }) => track)).toEqual(fromMoov.tracks.map(({ track }) => track));
      expect(contents.tracks.map(({ endDts, estimated }) => [endDts, estimated])).toEqual([
        [40 * PICTURE_TICKS, false],
        [(10 * 7 - 1 + 5) * 1024, false],
      ]);
    }
  });

  test('addon and twin read the same', async () => {
    const story = await tellStory(await temporaryFolder());
    expect(framesOf(await sealedContents(story.path, twin))).toEqual(expected(story.frames));
    expect((await verifySegment(story.path, { ...io, native: twin })).problems).toEqual([]);
  });

  test('the pseudo-header is really used: what only it says of its stretch is believed', async () => {
    const story = await tellStory(await temporaryFolder());
    const seed = seedOf(HEAD.segment, native.crc32c);
    const { to } = readIndexBlocks(story.index.subarray(128), DATA_START, seed, native.crc32c);
    expect(to).toBeGreaterThan(DATA_START + 1000);
    // With the delimiters of the stretch gone, a scan would find nothing.
    const blank = openBytes(story, story.endAt);
    const first = story.frames[0]?.offset ?? 0;
    blank.fill(0, first - 32, to);
    await restore(story.path, blank, story.index);
    const video = framesOf(await readOpen(story.path)).filter(({ track }) => track === 0);
    expect(video.length).toBe(39);
    await rm(indexPathOf(story.path));
    expect(framesOf(await readOpen(story.path))).toEqual([]);
  });

  test('a pseudo-header of another segment, or one that reaches beyond the file, is not believed', async () => {
    const folder = await temporaryFolder();
    const story = await tellStory(folder);
    const other = await tellOther(await temporaryFolder());
    await restore(story.path, openBytes(story, story.endAt), other);
    expect(framesOf(await readOpen(story.path, true)).length).toBe(story.frames.length);
    const cut = story.frames[3]?.recordEnd ?? 0;
    await restore(story.path, openBytes(story, cut), story.index);
    expect(framesOf(await readOpen(story.path, true)).length).toBe(4);
  });
});

/** A pseudo-header of another segment. */
async function tellOther(folder: string): Promise<Buffer> {
  const author = await Author.begin(folder, { head: { ...HEAD, segment: 'ff'.repeat(16) } });
  await author.story(20);
  await author.writer.close();
  const file = await open(indexPathOf(author.writer.path));
  try {
    return await file.readFile();
  } finally {
    await file.close();
  }
}

describe('an open segment', () => {
  test('is read on as it grows, each time without the last picture, whose length nobody knows yet', async () => {
    const author = await Author.begin(await temporaryFolder());
    author.picture();
    await author.writer.written();
    const file = await open(author.writer.path);
    const reader = await OpenSegmentReader.open(file, author.writer.path, io);
    const counts: number[] = [];
    for (let i = 0; i < 5; i++) {
      await reader?.refresh();
      counts.push(reader?.contents(false).tracks[0]?.samples.count ?? -1);
      author.picture();
      if (i === 2) author.picture();
      await author.flush();
    }
    expect(counts).toEqual([0, 1, 2, 4, 5]);
    expect(reader?.contents(false).tracks[0]?.endDts).toBe(5 * PICTURE_TICKS);
    await reader?.close();
    await author.writer.close();
  });

  test('half a record is no record: it is read once its rest is there', async () => {
    const story = await tellStory(await temporaryFolder());
    const last = story.frames.filter(({ track }) => track === 0).at(-1);
    const bytes = openBytes(story, story.endAt);
    for (const cut of [(last?.offset ?? 0) - 31, (last?.offset ?? 0) - 1, (last?.offset ?? 0) + 5]) {
      await restore(story.path, bytes.subarray(0, cut), undefined);
      const file = await open(story.path);
      const reader = await OpenSegmentReader.open(file, story.path, io);
      await reader?.refresh();
      expect(reader?.position).toBe((last?.offset ?? 0) - 32);
      expect(framesOf(reader?.contents(true) ?? raise())).not.toContainEqual(
        expect.objectContaining({ dts: last?.dts, track: 0 }),
      );
      await writeFile(story.path, bytes);
      await reader?.refresh();
      expect(framesOf(reader?.contents(true) ?? raise()).length).toBe(story.frames.length);
      await reader?.close();
    }
  });

  test('sub-blocks stay right when flushes overlap', async () => {
    const author = await Author.begin(await temporaryFolder(), { flusher: quickFlusher(20) });
    for (let round = 0; round < 6; round++) {
      author.picture();
      author.picture();
      await author.writer.written();
      const first = author.writer.flush();
      author.picture();
      await author.writer.written();
      await Promise.all([first, author.writer.flush(), author.writer.flush()]);
    }
    expect(framesOf(await readOpen(author.writer.path, true)).map(({ dts }) => dts / PICTURE_TICKS)).toEqual(
      Array.from({ length: 18 }, (_, i) => i),
    );
    await author.writer.close();
  });
});

function raise(): never {
  throw new Error('there is no reader');
}

describe('a sealed segment is an ordinary MP4', () => {
  test('FFmpeg finds every frame at its time and size', async () => {
    const story = await tellStory(await temporaryFolder());
    const { streams } = await probe(story.path);
    expect(streams.map(({ codec_tag_string, nb_frames }) => [codec_tag_string, nb_frames])).toEqual([
      ['avc1', '40'],
      ['mp4a', '70'],
    ]);
    const found = await packets(story.path);
    const sizes = (stream: number) =>
      found.filter((one) => one.stream === stream).map(({ size, position }) => [size, position]);
    const wanted = (track: number) =>
      story.frames.filter((one) => one.track === track).map(({ size, offset }) => [size, offset]);
    expect(sizes(0)).toEqual(wanted(0));
    expect(sizes(1)).toEqual(wanted(1));
  });

  test('the prefix of an open one is one, too: free, then an mdat to the end of the file', () => {
    expect(Buffer.from(OPEN_PREFIX.subarray(-16)).toString('latin1')).toBe('\0\0\0\bfree\0\0\0\0mdat');
    // The 16 bytes that sealing overwrites lie inside one sector.
    expect(DATA_START).toBeLessThanOrEqual(512);
  });

  test('verify finds any byte that changed between the first record and the trailer', async () => {
    const story = await tellStory(await temporaryFolder(), 12);
    expect((await verifySegment(story.path, io)).problems).toEqual([]);
    const { size } = await stat(story.path);
    const missed: number[] = [];
    for (let at = DATA_START - 16; at < size; at += 41) {
      const bytes = Buffer.from(story.sealed);
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      await writeFile(story.path, bytes);
      const report = await verifySegment(story.path, io);
      if (report.state === 'sealed' && report.problems.length === 0) missed.push(at);
    }
    expect(missed).toEqual([]);
  });
});
