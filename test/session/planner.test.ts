/**
 * Planning from the files of an archive: which plans are kept and which must be made anew, and that a plan reaches back
 * to where decoding can begin.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import type { Catalog, SegmentRow } from '../../src/catalog/catalog.ts';
import { reconcile } from '../../src/catalog/reconcile.ts';
import { openCatalog } from '../../src/catalog/sqlite-catalog.ts';
import type { Frame } from '../../src/media.ts';
import { indexPathOf } from '../../src/segment/layout.ts';
import { TrackClock } from '../../src/format/clock.ts';
import { SegmentCache, type SegmentRef } from '../../src/segment/cache.ts';
import type { SegmentView } from '../../src/segment/view.ts';
import type { Plan } from '../../src/session/plan.ts';
import { Planner } from '../../src/session/planner.ts';
import { type AnswerOptions, answerPolicy, type PlanRequest } from '../../src/session/request.ts';
import {
  AUDIO,
  AUDIO_TICKS,
  Author,
  noise,
  PICTURE_TICKS,
  START_UTC_MS,
  tellStory,
  unseal,
  VIDEO,
  io,
} from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

interface Rig {
  readonly catalog: Catalog;
  readonly planner: Planner;
}

/** A planner over the files of an archive, with a catalog of its own. */
async function plannerOf(archive: string, cache = new SegmentCache(io), path?: string): Promise<Rig> {
  const catalog = await openCatalog(path);
  onTestFinished(async () => {
    await cache.close();
    catalog.close();
  });
  expect(await reconcile(archive, catalog, io)).toEqual([]);
  return { catalog, planner: new Planner({ archive, catalog, cache }) };
}

function ask(fromS: number, toS: number, options: AnswerOptions = {}): PlanRequest {
  const span = { startUtcMs: START_UTC_MS + fromS * 1000, endUtcMs: START_UTC_MS + toS * 1000 };
  return { camera: 'door', ...span, ...answerPolicy(options) };
}

function onlyRow({ catalog }: Rig): SegmentRow {
  const [row] = catalog.all('door');
  if (row === undefined) throw new Error('there is no segment');
  return row;
}

/** An archive of one sealed segment. */
async function storyArchive(): Promise<string> {
  const archive = await temporaryFolder();
  const { path } = await tellStory(join(archive, 'door'));
  // As long as its pseudo-header is there, a segment counts as open.
  await rm(indexPathOf(path));
  return archive;
}

async function storyRig(): Promise<Rig> {
  return plannerOf(await storyArchive());
}

describe('a plan', () => {
  test('is kept under all that was asked', async () => {
    const { planner } = await storyRig();
    const request = ask(0.2, 1);
    const first = await planner.plan(request);
    expect(await planner.plan({ ...request })).toBe(first);
    const others = [
      ask(0.2, 1.1),
      ask(0.24, 1),
      ...[{ begin: 'keyframe' }, { begin: 'next' }, { tracks: 'video' }, { tracks: 'audio' }, { gaps: 'freeze' }].map(
        (options) => ask(0.2, 1, options as AnswerOptions),
      ),
      ...[{ changes: 'split' }, { changes: 'drop-audio' }, { keyframes: true }, { keyframes: true, speed: 2 }].map(
        (options) => ask(0.2, 1, options as AnswerOptions),
      ),
    ];
    const plans = [first];
    for (const other of others) plans.push(await planner.plan(other));
    expect(new Set(plans).size).toBe(plans.length);
    expect(await planner.plan(request)).toBe(first);
  });

  test('of a segment that was repaired is made anew, and has another ETag', async () => {
    const rig = await storyRig();
    const first = await rig.planner.plan(ask(0.2, 1));
    rig.catalog.put({ ...onlyRow(rig), repairGeneration: 1 });
    const second = await rig.planner.plan(ask(0.2, 1));
    expect(second.file.etag).not.toBe(first.file.etag);
    expect(second.file.length).toBe(first.file.length);
  });

  test('of a segment that was removed is not given again', async () => {
    const rig = await storyRig();
    await rig.planner.plan(ask(0.2, 1));
    rig.catalog.remove(onlyRow(rig).id);
    await expect(rig.planner.plan(ask(0.2, 1))).rejects.toMatchObject({ code: 'E_RANGE_EMPTY' });
  });
});

/** A planner, and another connection to its catalog, as another process has one. */
async function sharedRig(): Promise<Rig & { readonly other: Catalog }> {
  const archive = await storyArchive();
  const path = join(archive, 'catalog.db');
  const rig = await plannerOf(archive, new SegmentCache(io), path);
  const other = await openCatalog(path);
  onTestFinished(() => other.close());
  return { ...rig, other };
}

describe('a kept plan', () => {
  test('asks the catalog nothing but its version while nothing has changed', async () => {
    const { planner, catalog } = await sharedRig();
    const first = await planner.plan(ask(0.2, 1));
    const questions = (['segments', 'open', 'neighbour', 'runStart'] as const).map((name) => vi.spyOn(catalog, name));
    expect(await planner.plan(ask(0.2, 1))).toBe(first);
    expect(questions.map((question) => question.mock.calls.length)).toEqual([0, 0, 0, 0]);
  });

  test('is given again after changes that are none of its', async () => {
    const { planner, catalog, other } = await sharedRig();
    const first = await planner.plan(ask(0.2, 1));
    other.lease('somebody', ['0'.repeat(32)], 0, 1);
    expect(await planner.plan(ask(0.2, 1))).toBe(first);
    const questions = vi.spyOn(catalog, 'segments');
    expect(await planner.plan(ask(0.2, 1))).toBe(first);
    expect(questions).not.toHaveBeenCalled();
  });

  test('is made anew when another process has repaired its segment, or removed it', async () => {
    const rig = await sharedRig();
    const first = await rig.planner.plan(ask(0.2, 1));
    rig.other.put({ ...onlyRow(rig), repairGeneration: 1 });
    const second = await rig.planner.plan(ask(0.2, 1));
    expect(second.file.etag).not.toBe(first.file.etag);
    rig.other.remove(onlyRow(rig).id);
    expect(rig.planner.kept(ask(0.2, 1))).toBeUndefined();
    await expect(rig.planner.plan(ask(0.2, 1))).rejects.toMatchObject({ code: 'E_RANGE_EMPTY' });
  });

  test('is made anew when the catalog changed while it was made', async () => {
    const rig = await sharedRig();
    const planning = rig.planner.plan(ask(0.2, 1));
    rig.other.put({ ...onlyRow(rig), repairGeneration: 1 });
    const first = await planning;
    expect((await rig.planner.plan(ask(0.2, 1))).file.etag).not.toBe(first.file.etag);
  });
});

/** End of what a plan presents, in pictures. */
const endOf = ({ manifest }: Plan) => ((manifest.delivered.at(-1)?.endUtcMs ?? 0) - START_UTC_MS) / 40;

describe('a segment that is being recorded', () => {
  test('is planned anew each time, with what has come since', async () => {
    const archive = await temporaryFolder();
    const author = await Author.begin(join(archive, 'door'));
    for (let i = 0; i < 4; i++) author.picture();
    await author.writer.written();
    const { planner } = await plannerOf(archive);
    // The last picture, whose length nobody knows yet, is not there. Of the others the second and the seventh are shown
    // last: three pictures after they are decoded.
    const ends = [endOf(await planner.plan(ask(0, 10)))];
    for (let i = 0; i < 5; i++) author.picture();
    await author.writer.written();
    ends.push(endOf(await planner.plan(ask(0, 10))));
    expect(ends).toEqual([5, 10]);
    await author.writer.close();
  });

  test('begins with its first presented sample, sealed or not: priming before time 0 is none', async () => {
    const archive = await temporaryFolder();
    const author = await Author.begin(join(archive, 'door'));
    await author.story(12);
    const beginOf = async () => (await (await plannerOf(archive)).planner.plan(ask(-5, 10))).manifest.delivered[0];
    expect((await beginOf())?.startUtcMs).toBe(START_UTC_MS);
    await author.writer.seal(author.ends);
    await author.writer.close();
    expect((await beginOf())?.startUtcMs).toBe(START_UTC_MS);
  });
});

/** Twelve seconds with sound, which comes behind the pictures of its time; at picture `jumpAt` the wall clock jumps. */
async function* jumping(jumpAt: number, jumpMs: number): AsyncGenerator<Frame, void, undefined> {
  let sounds = 0;
  for (let i = 0; i < 300; i++) {
    const utcMs = START_UTC_MS + i * 40 + (i >= jumpAt ? jumpMs : 0);
    yield { track: 0, data: noise(200, i), dts: i * PICTURE_TICKS, compositionOffset: 0, sync: i % 50 === 0, utcMs };
    for (; sounds * AUDIO_TICKS * 25 < i * 48_000; sounds++) {
      yield { track: 1, data: noise(20, sounds), dts: sounds * AUDIO_TICKS, compositionOffset: 0, sync: true };
    }
  }
}

describe('segments that are still to be sealed, with another one behind', () => {
  test.each([
    [300, 0],
    [150, 300],
    [150, 900],
    [150, -900],
    [185, -3000],
  ])(
    'are planned as they will be when they are sealed (at picture %s the clock jumps by %s ms)',
    async (at, jumpMs) => {
      const folder = await temporaryFolder();
      {
        await using archive = await openArchive(folder);
        const options = { tracks: [VIDEO, AUDIO], frames: jumping(at, jumpMs), segmentDurationMs: 4000 };
        await (
          await archive.record('door', options)
        ).finished;
      }
      const sealed = await plannerOf(folder);
      const rows = sealed.catalog.all('door');
      expect(rows).toHaveLength(3);
      const requests = [
        ...[ask(1, 10), ask(1, 20), ask(-5, 9.5), ask(4.2, 7.8)],
        ...[ask(1, 10, { tracks: 'audio' }), ask(5.3, 8.3, { begin: 'keyframe' })],
      ];
      const plans: Plan[] = [];
      for (const request of requests) plans.push(await sealed.planner.plan(request));
      for (const { path } of rows) await unseal(join(folder, path));
      const { planner } = await plannerOf(folder);
      for (const [i, request] of requests.entries()) {
        const { file, manifest } = await planner.plan(request);
        expect([file.etag, file.length, manifest]).toEqual([
          plans[i]?.file.etag,
          plans[i]?.file.length,
          plans[i]?.manifest,
        ]);
      }
    },
  );
});

describe('segments without a sync sample', () => {
  const PICTURES = 30;

  /** One GOP whose pictures are so large that segments are cut inside it. */
  async function* largePictures(): AsyncGenerator<Frame, void, undefined> {
    for (let i = 0; i < PICTURES; i++) {
      yield { track: 0, data: noise(20_000, i), dts: i * PICTURE_TICKS, compositionOffset: 0, sync: i === 0 };
    }
  }

  async function cutRig(): Promise<Rig> {
    const folder = await temporaryFolder();
    await using archive = await openArchive(folder);
    const options = { tracks: [VIDEO], startUtcMs: START_UTC_MS, segmentBytes: 65_536 };
    await (
      await archive.record('door', { ...options, frames: largePictures() })
    ).finished;
    return plannerOf(folder);
  }

  test('are decoded from the segment on that has one: what lies between is hidden', async () => {
    const rig = await cutRig();
    expect(rig.catalog.all('door').map(({ tracks }) => tracks[0]?.syncSamples)).toEqual([1, 0, 0, 0, 0]);
    for (const picture of [1, 8, 15, 29]) {
      const { manifest } = await rig.planner.plan(ask(picture / 25, PICTURES / 25));
      expect(manifest.hiddenPictures).toBe(picture);
      expect(manifest.segments).toHaveLength(5);
    }
    await expect(rig.planner.plan(ask(0.4, 1, { begin: 'next' }))).rejects.toMatchObject({ code: 'E_RANGE_EMPTY' });
  });

  test('are not given from an earlier plan when the first segment is gone', async () => {
    const rig = await cutRig();
    const request = ask(0.9, 1);
    const { file } = await rig.planner.plan(request);
    expect((await rig.planner.plan(request)).file.etag).toBe(file.etag);
    rig.catalog.remove(onlyRow(rig).id);
    await expect(rig.planner.plan(request)).rejects.toMatchObject({ code: 'E_RANGE_EMPTY' });
  });

  test('are given from an earlier plan otherwise, until the last one has a successor', async () => {
    const rig = await cutRig();
    const last = rig.catalog.all('door').at(-1);
    if (last === undefined) throw new Error('there are segments');
    rig.catalog.remove(last.id);
    const request = ask(0.9, 1.5);
    const first = await rig.planner.plan(request);
    expect(await rig.planner.plan(request)).toBe(first);
    // It lies outside the range, but tells how long the last picture before it is shown.
    rig.catalog.put({ ...last, startUtcMs: last.startUtcMs + 60_000 });
    expect(await rig.planner.plan(request)).not.toBe(first);
  });
});

test('a file that is gone is missing, even if its segment lies in the middle of the range', async () => {
  const folder = await temporaryFolder();
  {
    await using archive = await openArchive(folder);
    const options = { tracks: [VIDEO, AUDIO], frames: jumping(300, 0), segmentDurationMs: 2000 };
    await (
      await archive.record('door', options)
    ).finished;
  }
  const { catalog, planner } = await plannerOf(folder);
  const rows = catalog.all('door');
  const gone = rows[3];
  if (gone === undefined) throw new Error('there are six segments');
  await rm(join(folder, gone.path));
  const { manifest } = await planner.plan(ask(0, 12));
  expect(manifest.segments).toEqual(rows.filter((row) => row !== gone).map(({ id }) => id));
  expect(manifest.missing).toEqual([{ startUtcMs: START_UTC_MS + 6000, endUtcMs: START_UTC_MS + 8000 }]);
});

/** A cache whose segments are found a little later each time they are looked into. */
class DriftingCache extends SegmentCache {
  views = 0;

  override async view(ref: SegmentRef): Promise<SegmentView | undefined> {
    const view = await super.view(ref);
    const { anchor } = view?.head ?? {};
    if (view === undefined || anchor === undefined) return undefined;
    const head = { ...view.head, anchor: { ...anchor, utcMs: anchor.utcMs - ++this.views } };
    return { ...view, head, clocks: view.tracks.map((_, i) => new TrackClock(head, [], i)) };
  }
}

/** A cache of segments whose clocks jump. */
class UnsteadyCache extends SegmentCache {
  override async view(ref: SegmentRef): Promise<SegmentView | undefined> {
    const view = await super.view(ref);
    return view && { ...view, steady: false };
  }
}

describe('looking into segments', () => {
  test('ends, even if beginnings are elsewhere whenever they are looked for', async () => {
    const archive = await temporaryFolder();
    await tellStory(join(archive, 'door'));
    const cache = new DriftingCache(io);
    const { planner } = await plannerOf(archive, cache);
    const { manifest } = await planner.plan(ask(0.7, 1, { begin: 'keyframe' }));
    expect(manifest.delivered).toHaveLength(1);
    expect(cache.views).toBeGreaterThan(2);
    expect(cache.views).toBeLessThan(20);
  });

  test('of one that is open and whose clock jumps reads its times in one pass', async () => {
    const archive = await temporaryFolder();
    const author = await Author.begin(join(archive, 'door'));
    await author.story(200);
    await author.writer.close();
    const { planner } = await plannerOf(archive, new UnsteadyCache(io));
    const clock = vi.spyOn(TrackClock.prototype, 'utcMs');
    onTestFinished(() => {
      clock.mockRestore();
    });
    await planner.plan(ask(0, 60));
    // Begin and end of what each frame presents.
    expect(clock.mock.calls.length).toBeLessThan(author.frames.length * 2.5);
  });
});
