/** Makes an archive of a specification and asks it for ranges in every state it passes through. */
import { EventEmitter, once } from 'node:events';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import { type Archive, type ArchiveOptions, openArchive } from '../../src/index.ts';
import { native } from '../../src/native.ts';
import type { Native } from '../../src/native-types.ts';
import { twin } from '../../src/twin/index.ts';
import { type Answer, CAMERA, checkRanges, checkSame, type World } from './answer.ts';
import { type ArchiveSpec, record, type Recorded } from './archives.ts';
import { type Line, linesOf, type Run, startOf } from './footage.ts';
import { expectedAnswer } from './model.ts';
import { readMovie } from './mp4.ts';
import { bordersOf, type RangeSpec } from './ranges.ts';

const START_UTC_MS = Date.parse('2026-01-31T12:00:00Z');
/** Ranges that are asked for while the last recording is under way. */
const OPEN_RANGES = 4;
/** What is planned is the same whether a disk has it or not. */
const quick: Native = { ...native, groupFlush: (fds) => Promise.resolve(new Int32Array(fds.length)) };

export async function checkArchive(folder: string, spec: ArchiveSpec, ranges: readonly RangeSpec[]): Promise<void> {
  const recordings = placed(spec);
  const runs = recordings.map(({ run }) => run);
  // Runs that begin at one instant go by their UUIDs, which the model does not know.
  fc.pre(new Set(runs.map(startOf)).size === runs.length);
  const frames = recordings.flatMap((one) => one.frames);
  const answers = await withArchive(folder, { native: quick }, async (archive) => {
    for (const recorded of recordings.slice(0, -1)) await recordAll(archive, recorded);
    const world = { archive, runs, frames };
    const early = await checkOpen(world, recordings, spec.openAt, ranges.slice(0, OPEN_RANGES));
    const whole = await checkRanges(world, ranges);
    const kept = early.filter(({ request, expected }) => isDeepStrictEqual(expected, expectedAnswer(runs, request)));
    return [...kept, ...whole];
  });
  await checkAgain(folder, {}, answers);
  await rm(join(folder, 'catalog.db'));
  await checkAgain(folder, { native: twin, readOnly: true }, answers);
  await checkAgain(folder, {}, answers);
  await checkLosses(folder, spec.lost, { runs, frames }, ranges);
}

async function withArchive<T>(folder: string, options: ArchiveOptions, use: (archive: Archive) => Promise<T>) {
  const archive = await openArchive(folder, options);
  try {
    return await use(archive);
  } finally {
    await archive.close();
  }
}

/** The recordings, each placed in time against the end of the one before. */
function placed({ recordings, sampleRate }: ArchiveSpec): Recorded[] {
  const all: Recorded[] = [];
  for (const spec of recordings) {
    const end = Math.max(START_UTC_MS, ...bordersOf(all.slice(-1).map(({ run }) => run)));
    all.push(record(spec, sampleRate, Math.round(end) + spec.gapMs));
  }
  return all;
}

async function recordAll(archive: Archive, recorded: Recorded): Promise<void> {
  const { tracks, frames, options } = recorded;
  const recording = await archive.record(CAMERA, { tracks, frames: source(frames), ...options });
  await recording.finished;
}

/** Gives the frames; waits for `looked` behind frame `pauseAt`. */
async function* source<T>(frames: readonly T[], pauseAt?: number, looked?: Promise<unknown>): AsyncGenerator<T> {
  for (const [i, frame] of frames.entries()) {
    yield frame;
    if (i === pauseAt) await looked;
  }
}

/** Records the last recording; checks the ranges while a share `openAt` of its frames has come. */
async function checkOpen(
  world: World,
  recordings: readonly Recorded[],
  openAt: number,
  ranges: readonly RangeSpec[],
): Promise<Answer[]> {
  const recorded = recordings.at(-1);
  if (recorded === undefined) return [];
  const { tracks, frames, options, videoTrack } = recorded;
  // Behind a picture, because it shows that what came before it is there.
  const pauseAt = frames.findLastIndex(({ track }, i) => track === videoTrack && i <= openAt * frames.length);
  const looking = new EventEmitter();
  const paused = source(frames, pauseAt, once(looking, 'done'));
  const recording = await world.archive.record(CAMERA, { tracks, frames: paused, ...options });
  try {
    if (pauseAt === -1) return [];
    const pictures = frames.slice(0, pauseAt + 1).filter(({ track }) => track === videoTrack).length;
    const arrived = () => (recording.stats().appended[videoTrack] ?? 0) >= pictures;
    const ended = new AbortController();
    void recording.finished.catch(() => undefined).finally(() => ended.abort());
    // A segment that was cut may still be written while the next one is: only when it is sealed it is all there.
    while (!ended.signal.aborted && !(arrived() && (await openSegments(world.archive)) === 1)) await delay(1);
    if (ended.signal.aborted) return [];
    const open = plannable(recorded, pictures, recording.stats().appended);
    return await checkRanges({ ...world, runs: [...world.runs.slice(0, -1), open] }, ranges);
  } finally {
    looking.emit('done');
    await recording.finished;
  }
}

async function openSegments({ root }: Archive): Promise<number> {
  const names = await readdir(join(root, CAMERA), { recursive: true });
  return names.filter((name) => name.endsWith('.idx')).length;
}

/** How long the last picture lasts is not known yet, so it is no part of what is there. */
function plannable({ run, audioTracks }: Recorded, pictures: number, appended: readonly number[]): Run {
  const audios = run.audios.map((line, rank) => firstOf(line, appended[audioTracks[rank] ?? -1] ?? 0));
  return { ...run, video: firstOf(run.video, pictures - 1), audios };
}

const firstOf = (line: Line | undefined, count: number) => line && { ...line, samples: line.samples.slice(0, count) };

/** Opened again, with what was known or without. */
async function checkAgain(folder: string, options: ArchiveOptions, answers: readonly Answer[]): Promise<void> {
  await withArchive(folder, options, async (archive) => {
    for (const answer of answers) await checkSame(archive, answer);
  });
}

/** Without some of its segments the archive gives what is left. */
async function checkLosses(
  folder: string,
  shares: readonly number[],
  { runs, frames }: Omit<World, 'archive'>,
  ranges: readonly RangeSpec[],
): Promise<void> {
  if (shares.length === 0) return;
  const lost = await lose(join(folder, CAMERA), shares);
  const left = (line: Line | undefined) =>
    line && { ...line, samples: line.samples.filter(({ payload }) => !lost.has(payload.toString('latin1'))) };
  const rest = runs.map((run) => ({ ...run, video: left(run.video), audios: run.audios.map(left) }));
  if (rest.flatMap(linesOf).every(({ samples }) => samples.length === 0)) return;
  await withArchive(folder, {}, (archive) => checkRanges({ archive, runs: rest, frames }, ranges));
}

/** Removes segments; returns the payloads that were in them. A sealed segment is an ordinary MP4. */
async function lose(camera: string, shares: readonly number[]): Promise<Set<string>> {
  const names = await readdir(camera, { recursive: true });
  const segments = names.filter((name) => name.endsWith('.mp4')).toSorted();
  const lost = new Set<string>();
  for (const name of new Set(shares.map((share) => segments[Math.floor(share * segments.length)] ?? ''))) {
    const path = join(camera, name);
    const { tracks } = readMovie(await readFile(path));
    for (const { data } of tracks.flatMap(({ samples }) => samples)) lost.add(data.toString('latin1'));
    await rm(path);
  }
  return lost;
}
