/**
 * Recovery from every state a crash can leave: nothing that was recorded is lost or deleted, what it makes is a sound
 * sealed segment, and doing it again changes nothing.
 */
import { existsSync } from 'node:fs';
import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeAnchor, seedOf } from '../../src/format/records.ts';
import { TRAILER_BYTES } from '../../src/format/trailer.ts';
import { native } from '../../src/native.ts';
import { DATA_START, indexPathOf } from '../../src/segment/layout.ts';
import { readSealed, readTrailer } from '../../src/segment/reader.ts';
import { type Recovery, recoverSegment } from '../../src/segment/recover.ts';
import { verifySegment } from '../../src/segment/verify.ts';
import {
  Author,
  expected,
  framesOf,
  HEAD,
  openBytes,
  PICTURE_TICKS,
  quickFlusher,
  restore,
  type Story,
  tellStory,
  type Written,
  io,
} from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

type Sealed = Extract<Recovery, { outcome: 'sealed' }>;

/** Recovers, checks all that every recovery promises, and gives the frames that the segment holds now. */
async function recovered(path: string): Promise<{ recovery: Sealed; frames: ReturnType<typeof framesOf> }> {
  const before = await readFile(path);
  const options = { ...io, flusher: quickFlusher() };
  const recovery = await recoverSegment(path, options);
  if (recovery.outcome !== 'sealed') throw new Error(`the outcome is ${recovery.outcome}`);
  const after = await readFile(path);
  const kept = Math.min(before.length, recovery.trailer.moov.offset);
  expect(after.subarray(DATA_START, kept).equals(before.subarray(DATA_START, kept)), 'recorded bytes are kept').toBe(
    true,
  );
  expect(existsSync(indexPathOf(path)), 'the pseudo-header is gone').toBe(false);
  expect(await verifySegment(path, io)).toMatchObject({ state: 'sealed', problems: [], frames: recovery.frames });
  const again = await recoverSegment(path, options);
  expect(again).toMatchObject({ outcome: 'sealed', frames: recovery.frames });
  expect((await readFile(path)).equals(after), 'recovering again changes nothing').toBe(true);
  const file = await open(path);
  try {
    const trailer = await readTrailer(file, native);
    if (trailer === undefined) throw new Error('no trailer');
    expect(trailer).toEqual(recovery.trailer);
    return { recovery, frames: framesOf(await readSealed(file, trailer, native)) };
  } finally {
    await file.close();
  }
}

/** What is left of `frames` when the file ends at `cut`: the last picture lasts as long as the one before. */
function upTo(frames: readonly Written[], cut: number): Written[] {
  return frames.filter(({ recordEnd }) => recordEnd <= cut);
}

const namesBelow = (folder: string) => readdir(folder, { recursive: true });

describe('a crash while sealing', () => {
  const STATES: readonly [string, (story: Story) => Buffer][] = [
    ['before the end record', (story) => openBytes(story, story.endAt)],
    ['in the middle of the end record', (story) => openBytes(story, story.endAt + 40)],
    ['after the end record', (story) => openBytes(story, story.dataEnd)],
    ['in the middle of moov', (story) => openBytes(story, story.dataEnd + 700)],
    ['after moov, before the trailer', (story) => openBytes(story, story.sealed.length - TRAILER_BYTES)],
    ['in the middle of the trailer', (story) => openBytes(story, story.sealed.length - 1)],
    [
      'with a moov that never reached the disk',
      (story) => openBytes(story, story.sealed.length).fill(0, story.dataEnd, story.dataEnd + 512),
    ],
    ['after the trailer, before the 16 bytes', (story) => openBytes(story, story.sealed.length)],
    [
      'in the middle of the 16 bytes',
      (story) => openBytes(story, story.sealed.length).fill(story.sealed.subarray(32, 40), 32, 40),
    ],
    ['after the 16 bytes, before the pseudo-header was removed', (story) => Buffer.from(story.sealed)],
  ];

  test.each(STATES)('%s', async (_, state) => {
    const story = await tellStory(await temporaryFolder());
    const indexes = [story.index, undefined, story.index.subarray(0, 300), Buffer.from(story.index).fill(0, 200, 210)];
    for (const index of indexes) {
      await rm(indexPathOf(story.path), { force: true });
      await restore(story.path, state(story), index);
      const { frames, recovery } = await recovered(story.path);
      expect(frames).toEqual(expected(story.frames));
      expect(recovery.unreferenced).toBe(0);
      expect(recovery.trailer.head).toEqual(HEAD);
    }
  });

  test('what is sealed again after the end record is byte for byte what its recorder would have written', async () => {
    const story = await tellStory(await temporaryFolder());
    await restore(story.path, openBytes(story, story.dataEnd + 700), story.index);
    const { recovery } = await recovered(story.path);
    const moov = story.sealed.subarray(story.dataEnd, story.sealed.length - TRAILER_BYTES);
    const after = await readFile(story.path);
    expect(
      after
        .subarray(0, story.sealed.length - TRAILER_BYTES)
        .equals(story.sealed.subarray(0, story.sealed.length - TRAILER_BYTES)),
    ).toBe(true);
    expect(recovery.trailer.moov.length).toBe(moov.length);
    expect(recovery.damaged).toEqual([]);
  });
});

describe('a torn tail', () => {
  test('wherever the file was cut, all whole records before the cut are there', async () => {
    const story = await tellStory(await temporaryFolder());
    const from = story.frames.at(-14)?.offset ?? 0;
    expect(story.endAt - from).toBeGreaterThan(600);
    for (let cut = from; cut < story.endAt; cut += 23) {
      await restore(story.path, openBytes(story, cut), cut % 2 === 0 ? story.index : undefined);
      const { frames, recovery } = await recovered(story.path);
      const wanted = upTo(story.frames, cut);
      expect(frames, `cut at ${cut}`).toEqual(expected(wanted));
      expect(recovery.frames).toBe(wanted.length);
      expect(recovery.trailer.tracks[0]?.estimated).toBe(true);
      const whole = Math.max(...wanted.map(({ recordEnd }) => recordEnd));
      const torn = recovery.damaged.map(([begin, end]) => [begin, end]);
      // An anchor or nothing may stand between the last frame and the cut.
      expect(torn.length === 0 || (torn[0]?.[0] ?? 0) >= whole).toBe(true);
      if (torn.length > 0) expect(torn.at(-1)?.[1]).toBe(cut);
    }
  });

  test('a file that has its length but not the last bytes of it gives up the torn frame alone', async () => {
    const story = await tellStory(await temporaryFolder());
    const last = story.frames.findLast(({ track }) => track === 0);
    if (last === undefined) throw new Error('no picture');
    for (const blank of [1, 40, last.size]) {
      const bytes = openBytes(story, last.recordEnd).fill(0, last.recordEnd - blank);
      await restore(story.path, bytes, undefined);
      const { frames, recovery } = await recovered(story.path);
      expect(frames).toEqual(expected(upTo(story.frames, last.recordEnd - 1)));
      expect(recovery.damaged).toEqual([[last.offset - 32, last.recordEnd]]);
    }
  });

  test('a pseudo-header cut or damaged at any place costs no frame', async () => {
    const story = await tellStory(await temporaryFolder());
    const wanted = expected(upTo(story.frames, story.endAt));
    for (let at = 0; at <= story.index.length; at += 67) {
      const flipped = Buffer.from(story.index);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      for (const index of [story.index.subarray(0, at), flipped]) {
        await restore(story.path, openBytes(story, story.endAt), index);
        expect((await recovered(story.path)).frames, `at ${at}`).toEqual(wanted);
      }
    }
  });

  test('a crash of the recovery itself, before its trailer, is recovered as well', async () => {
    const story = await tellStory(await temporaryFolder());
    const cut = (story.frames.at(-2)?.recordEnd ?? 0) + 11;
    await restore(story.path, openBytes(story, cut), undefined);
    const first = await recovered(story.path);
    const sealed = await readFile(story.path);
    const { offset } = first.recovery.trailer.moov;
    for (const length of [offset, offset + 100, sealed.length - 7]) {
      await restore(story.path, openBytes({ sealed }, length), undefined);
      const { frames, recovery } = await recovered(story.path);
      expect(frames).toEqual(first.frames);
      expect(recovery.trailer.moov.offset).toBe(offset);
      expect(recovery.trailer.tracks[0]?.estimated).toBe(true);
    }
  });
});

/** The story with large frames, so that 4 KiB lie within a few of them. */
async function largeFrames(folder: string): Promise<{ path: string; frames: readonly Written[]; bytes: Buffer }> {
  const author = await Author.begin(folder);
  for (let i = 0; i < 40; i++) {
    author.picture(1500);
    if (i % 4 === 3) author.audio(7);
  }
  await author.writer.close();
  const { path } = author.writer;
  await rm(indexPathOf(path));
  return { path, frames: author.frames, bytes: await readFile(path) };
}

describe('a hole in the tail', () => {
  test.each([5, 8, 11, 17])(
    'behind picture %i: sound goes on, pictures from the next sync sample on',
    async (picture) => {
      const { path, frames, bytes } = await largeFrames(await temporaryFolder());
      const pictures = frames.filter(({ track }) => track === 0);
      const from = (pictures[picture]?.recordEnd ?? 0) - 700;
      bytes.fill(0, from, from + 4096);
      await writeFile(path, bytes);
      const found = await recovered(path);
      const intact = frames.filter(({ offset, recordEnd }) => recordEnd <= from || offset - 92 >= from + 4096);
      const sync = pictures.findIndex((one, i) => i % 10 === 0 && one.offset - 32 >= from + 4096);
      const audio = expected(intact.filter(({ track }) => track === 1));
      const wanted = expected([...pictures.slice(0, picture), ...pictures.slice(sync)]);
      expect(found.frames.filter(({ track }) => track === 0)).toEqual(wanted);
      expect(found.frames.filter(({ track }) => track === 1)).toEqual(audio);
      const lost = pictures.filter((one) => one.offset - 32 >= from + 4096).length - (40 - sync);
      expect(found.recovery.unreferenced).toBe(lost);
      expect(found.recovery.damaged.length).toBe(1);
      expect(found.recovery.damaged[0]?.[0]).toBeLessThanOrEqual(from);
      expect(found.recovery.damaged[0]?.[1]).toBeGreaterThanOrEqual(from + 4096);
    },
  );

  test('inside one payload: that frame is no frame any more, even though its delimiter is whole', async () => {
    const author = await Author.begin(await temporaryFolder());
    for (let i = 0; i < 25; i++) author.picture(i === 12 ? 9000 : 200);
    await author.writer.close();
    const { path } = author.writer;
    await rm(indexPathOf(path));
    const bytes = await readFile(path);
    const torn = author.frames[12]?.offset ?? 0;
    await writeFile(path, bytes.fill(0, torn + 1000, torn + 5096));
    const { frames, recovery } = await recovered(path);
    expect(frames.map(({ dts }) => dts / PICTURE_TICKS)).toEqual([...range(0, 12), ...range(20, 25)]);
    expect(recovery.unreferenced).toBe(7);
  });

  test('the discontinuity is flagged by an anchor in the file, and kept in the sealed index', async () => {
    const { path, frames, bytes } = await largeFrames(await temporaryFolder());
    const pictures = frames.filter(({ track }) => track === 0);
    const at = pictures[5]?.offset ?? 0;
    await writeFile(path, bytes.fill(0, at, at + 4096));
    await recovered(path);
    const file = await open(path);
    const trailer = await readTrailer(file, native);
    const sealed = trailer && (await readSealed(file, trailer, native));
    await file.close();
    const anchor = { track: 0, dts: 10 * PICTURE_TICKS, utcMs: HEAD.anchor.utcMs + 400, discontinuity: true };
    expect(sealed?.anchors).toEqual([anchor]);
    expect(trailer?.discontinuous).toBe(true);
    expect(trailer?.tracks.map(({ breaks }) => breaks)).toEqual([1, 0]);
    const record = encodeAnchor(anchor, seedOf(HEAD.segment, native.crc32c), native.crc32c);
    expect((await readFile(path)).includes(Buffer.from(record))).toBe(true);
  });
});

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe('what cannot be recovered', () => {
  test('a segment of a newer format is refused and not touched', async () => {
    const story = await tellStory(await temporaryFolder());
    const bytes = withVersion(openBytes(story, story.endAt), 2);
    await restore(story.path, bytes, story.index);
    const recovering = recoverSegment(story.path, { ...io, flusher: quickFlusher() });
    await expect(recovering).rejects.toMatchObject({ code: 'E_FORMAT_VERSION' });
    expect((await readFile(story.path)).equals(bytes)).toBe(true);
    expect((await readFile(indexPathOf(story.path))).equals(story.index)).toBe(true);
  });

  test.each([
    ['head', 40],
    ['configuration', 180],
  ])('with a damaged %s it is set aside, with its pseudo-header, and nothing of it is lost', async (_, from) => {
    const folder = await temporaryFolder();
    const story = await tellStory(folder);
    const bytes = openBytes(story, story.endAt);
    bytes.fill(0xee, DATA_START + from, DATA_START + from + 4);
    await restore(story.path, bytes, undefined);
    await writeFile(indexPathOf(story.path), story.index.subarray(0, 128));
    const recovery = await recoverSegment(story.path, { ...io, flusher: quickFlusher() });
    expect(recovery).toEqual({ outcome: 'set-aside', path: `${story.path}.unreadable` });
    expect((await readFile(`${story.path}.unreadable`)).equals(bytes)).toBe(true);
    const names = (await namesBelow(dirname(story.path))).toSorted();
    expect(names).toHaveLength(2);
    expect(names.every((name) => name.endsWith('.unreadable'))).toBe(true);
  });

  test.each([
    ['nothing at all', 0],
    ['half a prefix', 20],
    ['a prefix', DATA_START],
    ['a head', DATA_START + 128],
  ])('a file with %s and no more holds no recording: it is removed', async (_, length) => {
    const folder = await temporaryFolder();
    const story = await tellStory(folder);
    await restore(story.path, openBytes(story, length), story.index.subarray(0, 128));
    const recovery = await recoverSegment(story.path, { ...io, flusher: quickFlusher() });
    const left = (await namesBelow(folder)).filter((name) => name.includes('Z-'));
    expect([recovery.outcome, left]).toEqual(['empty', []]);
  });

  test('a file with head and configurations and no frame holds no recording: it is removed', async () => {
    const folder = await temporaryFolder();
    const author = await Author.begin(folder);
    await author.writer.close();
    const recovery = await recoverSegment(author.writer.path, { ...io, flusher: quickFlusher() });
    expect(recovery).toEqual({ outcome: 'empty' });
    expect((await namesBelow(folder)).filter((name) => name.includes('Z-'))).toEqual([]);
  });

  test('a file with nothing but priming is sealed with what it has', async () => {
    const author = await Author.begin(await temporaryFolder());
    author.audio(1);
    await author.writer.close();
    const recovery = await recoverSegment(author.writer.path, { ...io, flusher: quickFlusher() });
    expect(recovery).toMatchObject({ outcome: 'sealed', frames: 1 });
  });
});

/** The head with another format version, its CRCs right. */
function withVersion(bytes: Buffer, version: number): Buffer {
  const head = bytes.subarray(DATA_START, DATA_START + 128);
  head.writeUInt16BE(version, 32);
  head.writeUInt32BE(native.crc32c(head.subarray(32)), 24);
  const seed = native.crc32c(Buffer.from(HEAD.segment, 'hex'));
  head.writeUInt32BE(native.crc32c(head.subarray(0, 28), seed), 28);
  return bytes;
}
