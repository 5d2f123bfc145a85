/**
 * What is done to an archive before the power fails: recorders at work, and recoveries. A scenario is its log of
 * operations, with what was promised after each.
 */
import type { SegmentRow } from '../../../src/catalog/catalog.ts';
import { openCatalog } from '../../../src/catalog/sqlite-catalog.ts';
import { START_UTC_MS } from '../../support/segment.ts';
import { Random } from '../../fuzz/random.ts';
import { Footage, type Shape } from './footage.ts';
import { DISK_IMAGE, type Image, type Operation } from './image.ts';
import { MemoryDisk } from './memory-disk.ts';
import { type Acknowledged, ArchiveProcess, type RecordedCamera, watched } from './process.ts';

/** What must hold once so many operations are done. */
export interface Promised {
  /** Numbers of frames that survive a power cut. */
  readonly flushed: ReadonlySet<number>;
  /** Numbers of frames that survive the end of the process. */
  readonly appended: ReadonlySet<number>;
}

export interface CatalogState {
  /** Operations done when the catalog came to be so. */
  readonly at: number;
  readonly rows: readonly SegmentRow[];
}

export interface Scenario {
  readonly name: string;
  readonly footage: Footage;
  readonly base: Image;
  readonly log: readonly Operation[];
  /** Crashes before these operations belong to another scenario. */
  readonly from: number;
  readonly catalogs: readonly CatalogState[];
  readonly promised: (count: number) => Promised;
}

/** Whom the story of a scenario is told to. */
interface Stage {
  readonly process: ArchiveProcess;
  readonly footage: Footage;
  readonly random: Random;
}

interface Beginning {
  readonly name: string;
  readonly footage: Footage;
  readonly seed: number;
  readonly base: Image;
  readonly log: readonly Operation[];
  readonly rows: readonly SegmentRow[];
  /** What was promised before. */
  readonly promised: Promised;
  /** What is promised once the archive is open again: recovery has acknowledged it. */
  readonly found?: ReadonlySet<number>;
}

const NOTHING_PROMISED: Promised = { flushed: new Set(), appended: new Set() };

function counted(recordings: readonly Acknowledged[], which: 'flushed' | 'appended'): number[] {
  return recordings.flatMap(({ frames, stats, discarded }) =>
    discarded ? [] : frames.flatMap((track, i) => track.slice(0, stats[which][i] ?? 0).map(({ id }) => id)),
  );
}

function together(a: ReadonlySet<number>, b: Iterable<number>): ReadonlySet<number> {
  return new Set([...a, ...b]);
}

/** Plays `story` in a new process on what `beginning` left, and notes what it promises. */
async function play(beginning: Beginning, story: (stage: Stage) => Promise<void>): Promise<Scenario> {
  const { name, footage, base } = beginning;
  const random = new Random(beginning.seed);
  const catalog = await openCatalog(undefined);
  for (const row of beginning.rows) catalog.put(row);
  const promised = new Map<number, Promised>();
  let before = beginning.promised;
  const note = () => {
    const recordings = process.acknowledged();
    promised.set(disk.log.length, {
      flushed: together(before.flushed, counted(recordings, 'flushed')),
      appended: together(before.appended, counted(recordings, 'appended')),
    });
  };
  const disk: MemoryDisk = new MemoryDisk({
    base,
    log: beginning.log,
    observe: note,
    // Now and then a sync takes so long that everything else goes on meanwhile.
    turns: (kind) => random.below({ write: 2, entry: 2, sync: random.oneIn(4) ? 40 : 6 }[kind]),
    taken: (length) => (random.oneIn(12) ? 1 + random.below(length) : length),
  });
  const catalogs: CatalogState[] = [{ at: beginning.log.length, rows: beginning.rows }];
  const process: ArchiveProcess = new ArchiveProcess(
    disk,
    watched(catalog, (rows) => catalogs.push({ at: disk.log.length, rows })),
  );
  await process.open();
  if (beginning.found !== undefined) before = { flushed: beginning.found, appended: beginning.found };
  await story({ process, footage, random });
  note();
  catalog.close();
  if (!disk.idle) throw new Error(`${name}: a file was left open`);
  return {
    ...{ name, footage, base, log: disk.log, from: beginning.log.length, catalogs },
    promised: (count) => promised.get(count) ?? beginning.promised,
  };
}

const turns = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

type Told = Pick<RecordedCamera, 'options' | 'discard'> & { readonly shape: Shape; readonly ticks: number };

/** Frames with flushes between them, one in `ticks`. */
function recording({ footage, process, random }: Stage, told: Told): RecordedCamera {
  return {
    camera: told.shape.camera,
    frames: footage.make(told.shape),
    options: told.options,
    ...(told.discard === undefined ? {} : { discard: told.discard }),
    between: async () => {
      if (random.oneIn(told.ticks)) process.flusher.tick();
      await turns(random.below(4));
    },
  };
}

const door = (pictures: number, group: number): Shape => ({ camera: 'door', pictures, group, sounds: 2 });
/** Cut at each sync sample. */
const CUT = { segmentDurationMs: 1 };

const STORIES: Readonly<Record<string, (stage: Stage) => Promise<void>>> = {
  'the first segment of a new archive': async (stage) => {
    await stage.process.record(recording(stage, { shape: door(9, 9), options: {}, ticks: 6 }));
  },
  'cuts, with flushes and sealings under way': async (stage) => {
    await stage.process.record(recording(stage, { shape: door(12, 4), options: CUT, ticks: 4 }));
  },
  'two cameras': async (stage) => {
    const yard = { camera: 'yard', pictures: 6, group: 3, sounds: 1 };
    await Promise.all([
      stage.process.record(recording(stage, { shape: yard, options: CUT, ticks: 5 })),
      turns(3).then(() => stage.process.record(recording(stage, { shape: door(7, 7), options: {}, ticks: 5 }))),
    ]);
  },
  'the turn of a year': async (stage) => {
    const options = { ...CUT, startUtcMs: Date.parse('2027-01-01T00:00:00Z') - 150 };
    await stage.process.record(recording(stage, { shape: door(10, 5), options, ticks: 4 }));
  },
  'a second run': async (stage) => {
    const first = recording(stage, { shape: { ...door(5, 5), from: 400 }, options: {}, ticks: 4 });
    const second = stage.footage.make(door(5, 5));
    await stage.process.record({ ...first, frames: [...first.frames, ...second] });
  },
  'an import that is taken back, beside a recording': async (stage) => {
    const discarded = { shape: { ...door(7, 3), camera: 'import' }, options: CUT, ticks: 4, discard: true };
    await Promise.all([
      stage.process.record(recording(stage, discarded)),
      stage.process.record(recording(stage, { shape: door(6, 6), options: {}, ticks: 5 })),
    ]);
  },
};

export const STORY_NAMES = Object.keys(STORIES);

/** A scenario that begins without an archive. */
export function record(name: string, seed: number, base = DISK_IMAGE): Promise<Scenario> {
  const story = STORIES[name];
  if (story === undefined) throw new RangeError(`no story "${name}"`);
  const footage = new Footage(new Random(seed));
  const empty = { base, log: [], rows: [], promised: NOTHING_PROMISED };
  return play({ name: `${name} (${seed})`, footage, seed, ...empty }, story);
}

/** What a crash left, and what of it a check has found. */
export interface Left {
  readonly base: Image;
  /** What the process that died had done: all of it, if only that process ended. */
  readonly log: readonly Operation[];
  readonly rows: readonly SegmentRow[];
  readonly promised: Promised;
  readonly found: ReadonlySet<number>;
}

/** Somebody opens the archive that a crash left, recovers it, and goes on recording if `goOn` says so. */
export function openAgain(before: Scenario, what: string, left: Left, seed: number, goOn: boolean): Promise<Scenario> {
  const beginning = { ...left, name: `${before.name}, ${what}`, footage: before.footage, seed };
  return play(beginning, async (stage) => {
    if (!goOn) return;
    const options = { startUtcMs: START_UTC_MS + 86_400_000 };
    await stage.process.record(recording(stage, { shape: door(4, 4), options, ticks: 3 }));
  });
}
