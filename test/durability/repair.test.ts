/**
 * Repair of one segment: what is made good, from where, and that a repair that is interrupted anywhere is finished by the
 * next one.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeConfiguration, encodeHead, seedOf } from '../../src/format/records.ts';
import { decodeTrailer, TRAILER_BYTES } from '../../src/format/trailer.ts';
import { native } from '../../src/native.ts';
import { type Disk, type DiskFile, nodeDisk } from '../../src/segment/disk.ts';
import type { SegmentProblemCode } from '../../src/segment/examine.ts';
import { DATA_START, indexPathOf, OPEN_PREFIX } from '../../src/segment/layout.ts';
import { readSealed, readTrailer } from '../../src/segment/reader.ts';
import { type Repair, repairSegment } from '../../src/segment/repair.ts';
import { verifySegment } from '../../src/segment/verify.ts';
import {
  Author,
  AUDIO,
  expected,
  framesOf,
  HEAD,
  io,
  openBytes,
  quickFlusher,
  type Story,
  tellStory,
  VIDEO,
} from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';
import { undone } from './damage.ts';

const REPAIR = { ...io, flusher: quickFlusher() };
const HEAD_BYTES = encodeHead(HEAD, native.crc32c).byteLength;
const FIRST_CONFIGURATION = DATA_START + HEAD_BYTES;

async function told(): Promise<Story> {
  const story = await tellStory(await temporaryFolder(), 48);
  await rm(indexPathOf(story.path));
  return story;
}

async function framesIn(path: string) {
  const file = await nodeDisk.open(path, 'r');
  try {
    const trailer = await readTrailer(file, native);
    if (trailer === undefined) throw new Error('no trailer');
    return framesOf(await readSealed(file, trailer, native));
  } finally {
    await file.close();
  }
}

type Harm = (story: Story) => Buffer;

const zeroed =
  (from: (story: Story) => number, length: number): Harm =>
  (story) =>
    Buffer.from(story.sealed).fill(0, from(story), from(story) + length);

const HARMLESS_LOSSES: readonly (readonly [SegmentProblemCode, string, Harm, generation: number])[] = [
  ['header-damaged', 'the boxes in front', zeroed(() => 5, 40), 0],
  ['head-damaged', 'the head, of which the trailer has a copy', zeroed(() => DATA_START + 20, 30), 0],
  ['head-damaged', 'the whole head', zeroed(() => DATA_START, HEAD_BYTES), 0],
  ['configuration-damaged', 'one configuration, which moov knows', zeroed(() => FIRST_CONFIGURATION + 40, 9), 0],
  ['configuration-damaged', 'head and configurations', zeroed(() => DATA_START, HEAD_BYTES + 120), 0],
  ['moov-damaged', 'moov', zeroed(({ dataEnd }) => dataEnd + 600, 400), 1],
  ['trailer-damaged', 'the trailer', zeroed(({ sealed }) => sealed.length - TRAILER_BYTES + 390, 60), 1],
  ['trailer-damaged', 'all behind the records', ({ sealed, dataEnd }) => sealed.subarray(0, dataEnd), 1],
  ['end-missing', 'the end record', zeroed(({ endAt }) => endAt + 4, 20), 1],
];

/** What is known of the beginning stands at an end that is about to be replaced. */
const WITH_END: readonly (readonly [SegmentProblemCode, string, Harm, generation: number])[] = [
  ['head-damaged', 'the head and the end record', withoutEnd(zeroed(() => DATA_START + 20, 30)), 1],
  ['configuration-damaged', 'a configuration and the end record', withoutEnd(zeroed(() => FIRST_CONFIGURATION, 40)), 1],
];
const LOSSES = [...HARMLESS_LOSSES, ...WITH_END];

function withoutEnd(harm: Harm): Harm {
  return (story) => harm(story).fill(0, story.endAt + 4, story.endAt + 24);
}

describe('what costs no frame', () => {
  test.each(LOSSES)('%s: %s', async (code, _, harm, generation) => {
    const story = await told();
    await writeFile(story.path, harm(story));
    expect((await verifySegment(story.path, io)).problems.map((problem) => problem.code)).toContain(code);
    const repair = await repairSegment(story.path, REPAIR);
    expect(repair).toMatchObject({ outcome: 'repaired', unreferenced: 0, trailer: { repairGeneration: generation } });
    expect((await verifySegment(story.path, io)).problems).toEqual([]);
    expect(await framesIn(story.path)).toEqual(expected(story.frames));
    // What could be made good in place is as it was.
    if (generation === 0) expect((await readFile(story.path)).equals(story.sealed)).toBe(true);
  });

  test('an anchor whose record is lost is known from the index of moov', async () => {
    const story = await told();
    const anchor = story.frames.find(({ track, dts }) => track === 0 && dts === 13 * 3600)?.offset ?? 0;
    await writeFile(story.path, Buffer.from(story.sealed).fill(0, anchor - 32 - 40, anchor - 32 - 8));
    const before = (await verifySegment(story.path, io)).problems;
    expect(before.map(({ code }) => code)).toEqual(['record-damaged']);
    const was = decodeTrailer(story.sealed.subarray(-TRAILER_BYTES), native.crc32c);
    const repair = await repairSegment(story.path, REPAIR);
    const { startUtcMs, endUtcMs } = was ?? {};
    const trailer = { startUtcMs, endUtcMs };
    expect(repair).toMatchObject({ outcome: 'repaired', lostFrames: 0, unreferenced: 0, trailer });
    expect(await framesIn(story.path)).toEqual(expected(story.frames));
    expect((await verifySegment(story.path, io)).problems).toEqual([]);
  });

  test('a group of sound that is lost costs no picture', async () => {
    const story = await told();
    const group = story.frames.filter(({ track }) => track === 1).slice(21, 28);
    await writeFile(story.path, Buffer.from(story.sealed).fill(0xaa, group[0]?.offset, (group[0]?.offset ?? 0) + 3));
    const repair = await repairSegment(story.path, REPAIR);
    expect(repair).toMatchObject({ outcome: 'repaired', lostFrames: 7, unreferenced: 0 });
    expect(await framesIn(story.path)).toEqual(expected(story.frames.filter((frame) => !group.includes(frame))));
  });
});

describe('pictures', () => {
  test('that are lost take with them those up to the next sync sample, which are counted', async () => {
    const story = await told();
    const pictures = story.frames.filter(({ track }) => track === 0);
    const lost = pictures[23];
    await writeFile(story.path, Buffer.from(story.sealed).fill(0, lost?.offset, (lost?.offset ?? 0) + 10));
    const { problems } = await verifySegment(story.path, io);
    expect(problems).toMatchObject([{ code: 'frame-damaged', message: '1 frame is damaged' }]);
    expect(problems[0]?.from).toBe((lost?.offset ?? 0) - 32);
    expect(problems[0]?.to).toBe(lost?.recordEnd);
    const repair = await repairSegment(story.path, REPAIR);
    expect(repair).toMatchObject({ outcome: 'repaired', lostFrames: 7, unreferenced: 6 });
    const kept = story.frames.filter((frame) => frame.track === 1 || !pictures.slice(23, 30).includes(frame));
    expect(await framesIn(story.path)).toEqual(expected(kept));
    expect(repair).toMatchObject({ trailer: { discontinuous: true } });
  });

  test('at the end that are lost do not make the last one longer', async () => {
    const story = await told();
    const pictures = story.frames.filter(({ track }) => track === 0);
    const first = (pictures[41]?.offset ?? 0) - 32;
    await writeFile(story.path, Buffer.from(story.sealed).fill(0, first, story.endAt));
    await repairSegment(story.path, REPAIR);
    const video = (await framesIn(story.path)).filter(({ track }) => track === 0);
    expect(video.map(({ dts }) => dts)).toEqual(pictures.slice(0, 41).map(({ dts }) => dts));
    expect(video.at(-1)?.duration).toBe(3600);
    expect((await verifySegment(story.path, io)).problems).toEqual([]);
  });
});

describe('what cannot be made good', () => {
  test('head and its copy lost: set aside, under a name that is free', async () => {
    const story = await told();
    const bytes = zeroed(() => DATA_START, 60)(story).subarray(0, story.dataEnd);
    await writeFile(story.path, bytes);
    await writeFile(`${story.path}.unreadable`, 'of before');
    const repair = await repairSegment(story.path, REPAIR);
    expect(repair).toMatchObject({ outcome: 'set-aside', path: `${story.path}.unreadable-2` });
    expect((await readFile(`${story.path}.unreadable-2`)).equals(bytes)).toBe(true);
    expect(await readFile(`${story.path}.unreadable`, 'utf8')).toBe('of before');
  });

  test('a segment of a newer format is refused, and not touched', async () => {
    const story = await told();
    const bytes = Buffer.from(story.sealed);
    const head = bytes.subarray(DATA_START, DATA_START + HEAD_BYTES);
    head.writeUInt16BE(2, 32);
    head.writeUInt32BE(native.crc32c(head.subarray(32)), 24);
    head.writeUInt32BE(native.crc32c(head.subarray(0, 28), seedOf(HEAD.segment, native.crc32c)), 28);
    await writeFile(story.path, bytes);
    expect((await verifySegment(story.path, io)).problems.map(({ code }) => code)).toEqual(['newer-format']);
    expect(await repairSegment(story.path, REPAIR)).toMatchObject({
      outcome: 'failed',
      error: { code: 'E_FORMAT_VERSION' },
    });
    expect((await readFile(story.path)).equals(bytes)).toBe(true);
  });
});

describe('a segment that was left open', () => {
  test('whose head is lost has it from the pseudo-header, and is recovered', async () => {
    const author = await Author.begin(await temporaryFolder());
    await author.story(30);
    await author.writer.close();
    const { path } = author.writer;
    await writeFile(path, (await readFile(path)).fill(0, DATA_START + 3, DATA_START + 90));
    const repair = await repairSegment(path, REPAIR);
    expect(repair).toMatchObject({ outcome: 'repaired', frames: author.frames.length });
    expect((await verifySegment(path, io)).problems).toEqual([]);
  });

  test('with damage in the stretch that its pseudo-header covers ends with sound tables', async () => {
    const author = await Author.begin(await temporaryFolder());
    await author.story(40);
    await author.writer.close();
    const { path, frames } = { path: author.writer.path, frames: author.frames };
    const lost = frames.filter(({ track }) => track === 0)[12];
    await writeFile(path, (await readFile(path)).fill(0, lost?.offset, (lost?.offset ?? 0) + 5));
    expect((await verifySegment(path, io)).problems.map(({ code }) => code)).toEqual(['frame-damaged']);
    expect(await repairSegment(path, REPAIR)).toMatchObject({ outcome: 'repaired', unreferenced: 7 });
    expect((await verifySegment(path, io)).problems).toEqual([]);
  });

  test('whose pseudo-header does not hold is reported as such', async () => {
    const author = await Author.begin(await temporaryFolder());
    await author.story(40);
    await author.writer.close();
    const { path } = author.writer;
    expect((await verifySegment(path, io)).problems).toEqual([]);
    const index = await readFile(indexPathOf(path));
    await writeFile(indexPathOf(path), Buffer.from(index).fill(0xee, 300, 310));
    expect((await verifySegment(path, io)).problems.map(({ code }) => code)).toEqual(['index-damaged']);
    await writeFile(indexPathOf(path), index.subarray(0, index.length - 7));
    expect((await verifySegment(path, io)).problems, 'a torn last block is no damage').toEqual([]);
  });
});

class Interrupted extends Error {}

/** A disk whose process dies at step `limit` of those that change something; with `torn`, half-way in a write. */
function dyingDisk(limit: number, torn: boolean): Disk {
  let steps = 0;
  const step = () => {
    if (steps++ >= limit) throw new Interrupted('the process died');
  };
  const wrap = (file: DiskFile): DiskFile => ({
    fd: file.fd,
    read: (...args) => file.read(...args),
    stat: () => file.stat(),
    close: () => file.close(),
    sync: () => file.sync(),
    truncate: async (length) => {
      step();
      await file.truncate(length);
    },
    writev: async (buffers, position) => {
      const bytes = Buffer.concat(buffers);
      if (torn && steps === limit) await file.writev([bytes.subarray(0, bytes.length / 2)], position);
      step();
      return file.writev([bytes], position);
    },
  });
  return {
    ...nodeDisk,
    open: async (path, flags) => wrap(await nodeDisk.open(path, flags)),
    rename: async (from, to) => {
      step();
      await nodeDisk.rename(from, to);
    },
  };
}

async function repairDying(path: string, limit: number, torn: boolean): Promise<Repair> {
  return repairSegment(path, { ...REPAIR, disk: dyingDisk(limit, torn) });
}

describe('a repair that is interrupted', () => {
  const CASES = LOSSES.map(([, name, harm]) => [name, harm] as const);

  test.each(CASES)('at any step is finished by the next: %s', async (_, harm) => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'x'));
    const story = await tellStory(folder, 24);
    const damaged = harm(story);
    for (const torn of [false, true]) {
      for (let limit = 0, done = false; !done; limit++) {
        expect(limit, 'it ends').toBeLessThan(40);
        for (const name of await readdir(dirname(story.path))) await rm(join(dirname(story.path), name));
        await writeFile(story.path, damaged);
        done = (await repairDying(story.path, limit, torn)).outcome === 'repaired';
        const left = await readFile(story.path);
        const records = Math.min(damaged.length, story.dataEnd);
        const first = story.frames[0]?.offset ?? 0;
        expect(left.subarray(first, records).equals(damaged.subarray(first, records)), `step ${limit}`).toBe(true);
        // It may die once more, at another step.
        await repairDying(story.path, limit % 3, torn);
        const again = await repairSegment(story.path, REPAIR);
        expect(['repaired', 'sound'], `step ${limit}`).toContain(again.outcome);
        expect((await verifySegment(story.path, io)).problems, `step ${limit}`).toEqual([]);
        expect(await framesIn(story.path), `step ${limit}`).toEqual(expected(story.frames));
        expect(await repairSegment(story.path, REPAIR)).toEqual({ outcome: 'sound' });
        expect((await undone(story.path)).equals(damaged), `step ${limit}`).toBe(true);
        const beside = (await readdir(dirname(story.path))).filter(
          (name) => !/\.mp4(\.before-repair-\d+)?$/.test(name),
        );
        expect(
          beside.filter((name) => !name.endsWith('.repairing.new')),
          `step ${limit}`,
        ).toEqual([]);
      }
    }
  });
});

test('the records that a repair writes anew are those that the recorder wrote', async () => {
  const story = await told();
  const seed = seedOf(HEAD.segment, native.crc32c);
  const records = [VIDEO, AUDIO].map((track, i) => encodeConfiguration(i, track, seed, native.crc32c));
  const begin = Buffer.concat([encodeHead(HEAD, native.crc32c), ...records]);
  expect(story.sealed.subarray(DATA_START, DATA_START + begin.length).equals(begin)).toBe(true);
  expect(openBytes(story, 48).equals(OPEN_PREFIX)).toBe(true);
  expect(story.sealed.length - TRAILER_BYTES).toBeGreaterThan(story.dataEnd);
});
