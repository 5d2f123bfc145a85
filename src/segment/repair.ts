/**
 * Repair of one segment (docs/durability.md, "Repair"). Only the holder of the camera's writer lock may call this.
 *
 * Invariants: nothing is deleted. New tables go behind everything that is in the file; what is overwritten in place (the
 * boxes in front of the records, head and configurations) is first noted in a journal. Interrupted at any step, the next
 * repair begins anew. A second repair changes nothing.
 */
import { FootageError, ioError } from '../errors.ts';
import { encodeConfiguration, encodeEnd, encodeHead, type Head, seedOf, type TrackEnd } from '../format/records.ts';
import type { Trailer } from '../format/trailer.ts';
import type { Native } from '../native-types.ts';
import type { SegmentContents } from './contents.ts';
import { type DiskFile, withZeros, writeAll } from './disk.ts';
import { examine, type Examination, type Problem, type SegmentProblemCode } from './examine.ts';
import { DATA_START, keptPathOf, sealedPrefix } from './layout.ts';
import { readTrailer } from './reader.ts';
import { framesNamed, type RecoverOptions, recoverSegment, tablesHold, withHoleAnchors } from './recover.ts';
import { type Journal, keepJournal, nextRepair, readJournal, replacedAt, writeJournal } from './repair-journal.ts';
import { sealSegment } from './seal.ts';
import { setAside } from './set-aside.ts';
import { extentOf } from './summary.ts';

export type Repair =
  /** Nothing was wrong, and nothing was changed. */
  | { readonly outcome: 'sound' }
  /** Nothing was recorded in it: the files are gone. */
  | { readonly outcome: 'removed' }
  | {
      readonly outcome: 'repaired';
      readonly trailer: Trailer;
      /** What was wrong. */
      readonly problems: readonly Problem[];
      /** Frames that the tables name now. */
      readonly frames: number;
      /** Frames that the tables named before and do not any more; null if those before were lost. */
      readonly lostFrames: number | null;
      /** Intact pictures behind a hole, before the next sync sample: kept in the file, in no table. */
      readonly unreferenced: number;
      /** File that keeps what was overwritten; null if nothing was. */
      readonly kept: string | null;
    }
  /** It cannot be understood: the files were renamed, the segment to `path`. */
  | { readonly outcome: 'set-aside'; readonly path: string; readonly problems: readonly Problem[] }
  /** It could not be repaired now (a full disk, a newer format). */
  | { readonly outcome: 'failed'; readonly error: FootageError };

export interface RepairOptions extends RecoverOptions {
  /** What the catalog knows of it: the repaired segment gets a higher generation. */
  readonly repairGeneration?: number;
  /** It is known to have been sealed. */
  readonly wasSealed?: boolean;
}

type Repaired = Extract<Repair, { outcome: 'repaired' }>;

/** The segment under repair. */
interface Subject {
  readonly file: DiskFile;
  readonly path: string;
  /** What an interrupted repair of it has noted. */
  readonly interrupted: Journal | undefined;
  readonly options: RepairOptions;
}

/** Makes of a damaged segment, sealed or left open, a sound sealed one. */
export async function repairSegment(path: string, options: RepairOptions): Promise<Repair> {
  try {
    return await repairOnce(path, options);
  } catch (error) {
    return { outcome: 'failed', error: ioError(error, `repairing ${path}`) };
  }
}

async function repairOnce(path: string, options: RepairOptions): Promise<Repair> {
  const opened = await options.disk.open(path, 'r+').catch((error: unknown) => {
    throw ioError(error, `opening ${path} for repair`);
  });
  const file = withZeros(opened);
  try {
    const journal = await readJournal(options, path);
    if (journal !== undefined) await undoUnfinished(file, journal, options);
    const examined = await examine(file, path, options, { wasSealed: options.wasSealed ?? journal !== undefined });
    const subject: Subject = { file, path, interrupted: journal, options };
    return await (examined.wasSealed ? repairToEnd(subject, examined) : repairOpen(subject, examined));
  } finally {
    await file.close();
  }
}

/** What an interrupted repair has appended goes, unless it is whole: it came behind all that was recorded. */
async function undoUnfinished(file: DiskFile, journal: Journal, { native, flusher }: RepairOptions): Promise<void> {
  const { size } = await file.stat();
  if (size <= journal.length) return;
  const trailer = await readTrailer(file, native);
  if (trailer !== undefined && (await tablesHold(file, trailer, native))) return;
  await file.truncate(journal.length);
  await flusher.flush([file.fd]);
}

/** An open segment: its head may stand in the pseudo-header; then recovery does the rest, and what it left is repaired. */
async function repairOpen(subject: Subject, examined: Examination): Promise<Repair> {
  const { file, path, options } = subject;
  const { head, problems } = examined;
  const { size } = await file.stat();
  // One that was begun and never written is recovery's.
  if (head === undefined && size > DATA_START) return givenUp(subject, problems);
  const changes = head === undefined ? [] : headChange(examined, head, options.native);
  if (changes.length > 0 || subject.interrupted !== undefined) {
    const journal = await beginJournal(subject, changes);
    await overwrite(file, changes, options);
    await keepJournal(options.disk, path, journal.repair);
  }
  const recovery = await recoverSegment(path, options);
  if (recovery.outcome === 'failed') return recovery;
  if (recovery.outcome === 'set-aside') return { ...recovery, problems };
  if (recovery.outcome === 'empty') return { outcome: 'removed' };
  const { trailer, frames, unreferenced } = recovery;
  const done: Repaired = {
    ...{ outcome: 'repaired', trailer, problems, frames, unreferenced, lostFrames: null, kept: null },
  };
  const sealed = await examine(file, path, options);
  if (sealed.problems.length === 0) return done;
  const repaired = await repairToEnd({ ...subject, interrupted: undefined }, sealed);
  return 'problems' in repaired ? { ...repaired, problems: [...problems, ...repaired.problems] } : repaired;
}

/** With head and configurations made good, more may be seen: then the rest is repaired, too. */
async function repairToEnd(subject: Subject, examined: Examination): Promise<Repair> {
  const { file, path, options } = subject;
  const first = await repairSealed(subject, examined);
  if (first.outcome !== 'repaired') return first;
  const left = await examine(file, path, options);
  if (left.problems.length === 0) return first;
  const second = await repairSealed({ ...subject, interrupted: undefined }, left);
  return 'problems' in second ? { ...second, problems: [...first.problems, ...second.problems] } : second;
}

async function repairSealed(subject: Subject, examined: Examination): Promise<Repair> {
  const { file, path, options } = subject;
  const { head, contents, problems, trailer } = examined;
  if (problems.length === 0) return { outcome: 'sound' };
  if (head === undefined || contents === undefined || extentOf(contents) === undefined)
    return givenUp(subject, problems);
  const tail = needsTail(examined) ? await tailOf(file, examined, contents, head, options) : undefined;
  const dataEnd = tail?.dataEnd ?? trailer?.moov.offset ?? DATA_START;
  const changes = [{ at: 0, bytes: sealedPrefix(dataEnd) }, ...recordChanges(examined, contents, head, options.native)];
  const journal = await beginJournal(subject, changes);
  const sealed = tail === undefined ? trailer : await append(file, tail, journal, options);
  await overwrite(file, changes, options);
  await keepJournal(options.disk, path, journal.repair);
  if (sealed === undefined) throw new FootageError('E_DAMAGED', `${path} has no trailer: run "footage verify" again.`);
  const frames = framesNamed(sealed);
  const before = trailer === undefined ? undefined : framesNamed(trailer);
  return {
    ...{ outcome: 'repaired', trailer: sealed, problems, frames, unreferenced: examined.unreferenced },
    lostFrames: before === undefined ? null : before - frames,
    kept: keptPathOf(path, journal.repair),
  };
}

/** What is made good where it stands, exactly as it was; all else needs new tables. */
const IN_PLACE: ReadonlySet<SegmentProblemCode> = new Set([
  'header-damaged',
  'head-damaged',
  'configuration-damaged',
  'repair-unfinished',
]);

function needsTail({ problems, trailer }: Examination): boolean {
  return trailer === undefined || problems.some(({ code }) => !IN_PLACE.has(code));
}

interface Tail {
  readonly contents: SegmentContents;
  /** The end record, if the one in the file is lost. */
  readonly records: readonly Uint8Array[];
  readonly at: number;
  readonly dataEnd: number;
  /** Generation of the trailer that was there, or is known of. */
  readonly generation: number;
}

async function tailOf(
  file: DiskFile,
  { ended, named, trailer }: Examination,
  found: SegmentContents,
  head: Head,
  { native, repairGeneration = 0 }: RepairOptions,
): Promise<Tail> {
  const { size } = await file.stat();
  const ends: TrackEnd[] = found.tracks.map(({ endDts, estimated }) => ({ endDts, estimated }));
  const records = ended ? [] : [encodeEnd(ends, seedOf(head.segment, native.crc32c), native.crc32c)];
  // The index knows the anchors whose records are lost.
  const contents = withHoleAnchors({ ...found, anchors: named?.anchors ?? found.anchors });
  const dataEnd = records.reduce((sum, record) => sum + record.byteLength, size);
  const generation = Math.max(repairGeneration, trailer?.repairGeneration ?? 0);
  return { contents, records, at: size, dataEnd, generation };
}

async function append(
  file: DiskFile,
  { contents, records, at, dataEnd, generation }: Tail,
  { repair, length }: Journal,
  { native, flusher }: RepairOptions,
): Promise<Trailer> {
  const flush = () => flusher.flush([file.fd]);
  const repairGeneration = Math.max(repair, generation + 1);
  try {
    if (records.length > 0) await writeAll(file, records, at);
    return await sealSegment(file, contents, { dataEnd, recovered: true, repairGeneration, flush, native });
  } catch (error) {
    // No room, say: then the end is the old one again. Should this fail as well, the next repair does it.
    await file.truncate(length).catch(() => undefined);
    throw error;
  }
}

/** Bytes that belong at a position. */
interface Change {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Head and configurations that are lost, as they were written. */
function recordChanges(examined: Examination, contents: SegmentContents, head: Head, native: Native): Change[] {
  const { damaged, unconfigured } = examined;
  const changes = headChange(examined, head, native);
  const seed = seedOf(head.segment, native.crc32c);
  let at = DATA_START + encodeHead(head, native.crc32c).byteLength;
  contents.tracks.forEach(({ track }, i) => {
    const bytes = encodeConfiguration(i, track, seed, native.crc32c);
    if (unconfigured.includes(i) && fits(damaged, at, bytes.byteLength)) changes.push({ at, bytes });
    at += bytes.byteLength;
  });
  return changes;
}

function headChange({ damaged, size }: Examination, head: Head, native: Native): Change[] {
  const bytes = encodeHead(head, native.crc32c);
  const whole = damaged.length > 0 ? damaged : [[DATA_START, size] as const];
  return damaged[0]?.[0] === DATA_START && fits(whole, DATA_START, bytes.byteLength) ? [{ at: DATA_START, bytes }] : [];
}

const fits = (damaged: Examination['damaged'], at: number, length: number) =>
  damaged.some(([from, to]) => from <= at && at + length <= to);

/** Notes what stands where the changes go; what an interrupted repair has noted before stays as it was. */
async function beginJournal(
  { file, path, interrupted, options }: Subject,
  changes: readonly Change[],
): Promise<Journal> {
  const { disk, repairGeneration = 0, native } = options;
  const known = interrupted?.replaced ?? [];
  const fresh = changes.filter(({ at }) => !known.some((one) => one.at === at));
  const added = await Promise.all(fresh.map(({ at, bytes }) => replacedAt(file, at, bytes.byteLength)));
  const length = interrupted?.length ?? (await file.stat()).size;
  const atLeast = Math.max(repairGeneration, (await readTrailer(file, native))?.repairGeneration ?? 0);
  const repair = interrupted?.repair ?? (await nextRepair(disk, path, atLeast));
  const journal = { repair, length, replaced: [...known, ...added] };
  await writeJournal(options, path, journal);
  return journal;
}

async function overwrite(file: DiskFile, changes: readonly Change[], { flusher }: RepairOptions): Promise<void> {
  for (const { at, bytes } of changes) await writeAll(file, [bytes], at);
  await flusher.flush([file.fd]);
}

async function givenUp({ path, options }: Subject, problems: readonly Problem[]): Promise<Repair> {
  return { outcome: 'set-aside', path: await setAside(options.disk, path), problems };
}
