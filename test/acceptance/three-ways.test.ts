/**
 * The tables of a segment come from its sealed `moov`, from the pseudo-header, or from a scan of its delimiters. All three
 * hold the same samples, and a plan that is made of them is the same answer to the last byte, under the same ETag.
 *
 * The states are made of one recording: sealed; unsealed again with the pseudo-header that it had (a kill while it was
 * sealed); that without the pseudo-header. Two more were left while the recorder still waited for frames.
 */
import { createHash } from 'node:crypto';
import { cp, link, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Archive, openArchive, type SessionRequest } from '../../src/archive.ts';
import { readIndexBlocks } from '../../src/format/index-block.ts';
import { readHead, seedOf } from '../../src/format/records.ts';
import type { Trailer } from '../../src/format/trailer.ts';
import { native } from '../../src/native.ts';
import type { Recording } from '../../src/recorder/recording.ts';
import { SegmentCache, type SegmentRef } from '../../src/segment/cache.ts';
import type { SegmentContents } from '../../src/segment/contents.ts';
import { DATA_START, indexPathOf } from '../../src/segment/layout.ts';
import { readTrailer } from '../../src/segment/reader.ts';
import { viewOfContents } from '../../src/segment/view.ts';
import { at, heldFrames, START_MS } from '../support/acceptance.ts';
import { mediaFile, type MediaKind } from '../support/media.ts';
import { framesOf, unseal, io } from '../support/segment.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';

interface Recipe {
  readonly kind: MediaKind;
  readonly lengthS: number;
  /** Segments of this length: the last one begins at a multiple of it. */
  readonly segmentS: number;
  readonly lastS: number;
  /** How far the recorder has come when it waits. */
  readonly holdS: number;
}

const RECIPES: readonly Recipe[] = [
  { kind: 'h264-aac', lengthS: 60, segmentS: 20, lastS: 40, holdS: 50 },
  { kind: 'h265-aac', lengthS: 20, segmentS: 10, lastS: 10, holdS: 19 },
  { kind: 'aac-only', lengthS: 60, segmentS: 20, lastS: 40, holdS: 50 },
];

/** Folders of archives that hold the same recording. */
interface States {
  readonly sealed: string;
  /** The last segment is open, with and without its pseudo-header. */
  readonly indexed: string;
  readonly scanned: string;
  /** So are all of them, without. */
  readonly allScanned: string;
  /** As the recorder left them while it waited. */
  readonly held: string;
  readonly heldScanned: string;
}

async function filesOf(folder: string, ending: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  return names
    .filter((name) => name.endsWith(ending))
    .toSorted()
    .map((name) => join(folder, name));
}

/** A copy of the archive without its catalog, which is a cache. */
async function copyOf(archive: string, to: string): Promise<string> {
  await cp(archive, to, { recursive: true, filter: (name) => !basename(name).startsWith('catalog.db') });
  return to;
}

async function trailerOf(path: string): Promise<Trailer> {
  const file = await open(path);
  try {
    const trailer = await readTrailer(file, native);
    if (trailer === undefined) throw new Error(`${path} is not sealed`);
    return trailer;
  } finally {
    await file.close();
  }
}

/** A copy in which the last `count` segments are as a kill leaves them that comes before their `moov`. */
async function unsealed(archive: string, to: string, count = 1): Promise<string> {
  await copyOf(archive, to);
  for (const path of (await filesOf(to, '.mp4')).slice(-count)) await unseal(path);
  return to;
}

/** Waits until what has been recorded is flushed, and so in the pseudo-header. */
async function allFlushed(recording: Recording): Promise<void> {
  for (;;) {
    const { appended, flushed } = recording.stats();
    if (appended.every((frames, i) => frames > 0 && frames === flushed[i])) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function makeStates({ kind, segmentS, holdS }: Recipe): Promise<States> {
  const folder = await sharedTemporaryFolder();
  const [recorded, kept] = [join(folder, 'recorded'), join(folder, 'kept.idx')];
  const named = (name: string) => join(folder, name);
  await using archive = await openArchive(recorded);
  const { tracks, frames, holding, release } = await heldFrames(await mediaFile(kind), holdS);
  const options = {
    segmentDurationMs: segmentS * 1000,
    flushIntervalMs: 100,
    indexIntervalMs: 0,
    startUtcMs: START_MS,
  };
  const recording = await archive.record('door', { tracks, frames, ...options });
  await holding(recording);
  await allFlushed(recording);
  // Sealing removes its first name.
  await link(indexPathOf(await lastSegment(recorded)), kept);
  const held = await copyOf(recorded, named('held'));
  const heldScanned = await copyOf(held, named('held-scanned'));
  for (const index of await filesOf(heldScanned, '.idx')) await rm(index);
  release();
  await recording.finished;
  const sealed = await copyOf(recorded, named('sealed'));
  const scanned = await unsealed(sealed, named('scanned'));
  const indexed = await copyOf(scanned, named('indexed'));
  await cp(kept, indexPathOf(await lastSegment(indexed)));
  const allScanned = await unsealed(sealed, named('all-scanned'), Infinity);
  return { sealed, indexed, scanned, allScanned, held, heldScanned };
}

async function lastSegment(archive: string): Promise<string> {
  const path = (await filesOf(archive, '.mp4')).at(-1);
  if (path === undefined) throw new Error(`${archive} has no segments`);
  return path;
}

interface Answer {
  readonly etag: string;
  readonly length: number;
  readonly lastModifiedUtcMs: number;
  readonly sha256: string;
}

async function answerOf(archive: Archive, request: Omit<SessionRequest, 'camera'>): Promise<Answer> {
  const session = await archive.session({ camera: 'door', ...request });
  const { etag, length, lastModifiedUtcMs } = session;
  const hash = createHash('sha256');
  for await (const slice of session.slices()) {
    if (slice.kind === 'bytes') hash.update(slice.data);
    else hash.update(await readStretch(slice.path, slice.offset, slice.length));
  }
  return { etag, length, lastModifiedUtcMs, sha256: hash.digest('hex') };
}

async function readStretch(path: string, offset: number, length: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
    expect(bytesRead).toBe(length);
    return buffer;
  } finally {
    await file.close();
  }
}

/** The answers of an archive that nothing is sealed in, in order. */
async function answersOf(folder: string, requests: readonly Omit<SessionRequest, 'camera'>[]): Promise<Answer[]> {
  await using archive = await openArchive(folder, { readOnly: true, create: false });
  const answers: Answer[] = [];
  for (const request of requests) answers.push(await answerOf(archive, request));
  return answers;
}

/** Ranges that end before the recorder waited. */
function insideRanges({ lastS }: Recipe): { readonly start: Date; readonly end: Date }[] {
  const spans = [
    // From the first GOP of a segment: nothing of the one before is near.
    [lastS + 1.3, lastS + 5],
    [lastS + 2, lastS + 6],
    [lastS + 3.3, lastS + 7.1],
    [lastS - 4.7, lastS + 5],
    [1.3, lastS + 6.2],
  ] as const;
  return spans.map(([from, to]) => ({ start: at(from), end: at(to) }));
}

function wholeRanges({ lastS, lengthS }: Recipe): { readonly start: Date; readonly end: Date }[] {
  const spans = [
    [lastS + 3.3, lengthS + 1],
    [lastS - 4.7, lengthS],
    [0, lengthS + 60],
  ] as const;
  return spans.map(([from, to]) => ({ start: at(from), end: at(to) }));
}

type Wish = Pick<SessionRequest, 'tracks' | 'begin' | 'keyframes' | 'speed'>;

function wishesOf({ kind }: Recipe): Wish[] {
  const common: Wish[] = [{}, { begin: 'next' }, { tracks: 'audio' }];
  if (kind === 'aac-only') return common;
  return [...common, { tracks: 'video' }, { begin: 'keyframe' }, { keyframes: true, speed: 4 }];
}

const withWishes = (ranges: readonly { readonly start: Date; readonly end: Date }[], recipe: Recipe) =>
  wishesOf(recipe).flatMap((wish) => ranges.map((range) => ({ ...range, ...wish })));

/** What must be equal of tables, however they were read. */
function tablesOf(contents: SegmentContents) {
  const { head, anchors, ended, tracks } = contents;
  return {
    ...{ head, anchors, ended },
    tracks: viewOfContents(contents).tracks.map(({ track }) => track),
    ends: tracks.map(({ endDts, estimated }) => ({ endDts, estimated })),
    frames: framesOf(contents),
  };
}

async function contentsOf(archive: string, state: SegmentRef['state']): Promise<SegmentContents> {
  const cache = new SegmentCache(io);
  try {
    const contents = await cache.read({ id: 'last', path: await lastSegment(archive), state, repairGeneration: 0 });
    if (contents === undefined) throw new Error('the segment is gone');
    return contents;
  } finally {
    await cache.close();
  }
}

/** A copy in which nothing is left of the last segment's samples and delimiters behind the first frame's, up to `end`. */
async function blanked(archive: string, begin: number, end: (path: string) => Promise<number>): Promise<string> {
  const copy = await copyOf(archive, `${archive}-blank`);
  const path = await lastSegment(copy);
  const bytes = await readFile(path);
  await writeFile(path, bytes.fill(0, begin, await end(path)));
  return copy;
}

/** Where the scan begins behind the pseudo-header. */
async function indexedTo(path: string): Promise<number> {
  const bytes = await readFile(indexPathOf(path));
  const head = readHead(bytes, native.crc32c);
  if (head === undefined) throw new Error('the pseudo-header has no head');
  const seed = seedOf(head.head.segment, native.crc32c);
  return readIndexBlocks(bytes.subarray(head.lengthBytes), DATA_START, seed, native.crc32c).to;
}

const etagsOf = (answers: readonly Answer[]) => answers.map(({ etag, length }) => [etag, length]);

describe.each(RECIPES)('$kind', (recipe) => {
  let states: States;
  beforeAll(async () => {
    states = await makeStates(recipe);
  });

  test('the tables are equal, and none of the three needs what the others read', async () => {
    const { sealed, indexed, scanned } = states;
    const wanted = tablesOf(await contentsOf(scanned, 'open'));
    expect(wanted.frames.length).toBeGreaterThan(200);
    expect(tablesOf(await contentsOf(indexed, 'open'))).toEqual(wanted);
    expect(tablesOf(await contentsOf(sealed, 'sealed'))).toEqual(wanted);
    const { payload } = await trailerOf(await lastSegment(sealed));
    const withoutRecords = await blanked(sealed, payload.offset, async () => payload.end);
    const withIndexAlone = await blanked(indexed, payload.offset, indexedTo);
    expect(tablesOf(await contentsOf(withoutRecords, 'sealed'))).toEqual(wanted);
    expect(tablesOf(await contentsOf(withIndexAlone, 'open'))).toEqual(wanted);
    const requests = wholeRanges(recipe);
    const plans = etagsOf(await answersOf(scanned, requests));
    expect(etagsOf(await answersOf(withoutRecords, requests))).toEqual(plans);
    expect(etagsOf(await answersOf(withIndexAlone, requests))).toEqual(plans);
  });

  test('answers are equal, byte for byte and in their ETags', async () => {
    const requests = withWishes([...insideRanges(recipe), ...wholeRanges(recipe)], recipe);
    const wanted = await answersOf(states.sealed, requests);
    expect(new Set(wanted.map(({ etag }) => etag)).size).toBeGreaterThan(requests.length / 2);
    for (const state of ['indexed', 'scanned', 'allScanned'] as const) {
      const answers = await answersOf(states[state], requests);
      requests.forEach((request, i) =>
        expect({ state, request, ...answers[i] }).toEqual({ state, request, ...wanted[i] }),
      );
    }
  });

  test('so are those of a segment that was still being recorded, as far as it had come', async () => {
    const requests = withWishes(insideRanges(recipe), recipe);
    const wanted = await answersOf(states.sealed, requests);
    const whole = withWishes(wholeRanges(recipe), recipe);
    const wholeWanted = await answersOf(states.heldScanned, whole);
    for (const state of ['held', 'heldScanned'] as const) {
      const answers = await answersOf(states[state], requests);
      requests.forEach((request, i) =>
        expect({ state, request, ...answers[i] }).toEqual({ state, request, ...wanted[i] }),
      );
      expect(await answersOf(states[state], whole)).toEqual(wholeWanted);
    }
  });
});
