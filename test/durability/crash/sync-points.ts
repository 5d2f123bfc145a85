/**
 * The sync points of docs/durability.md, told apart by what they make durable; and logs as they would be if one of them
 * were left out.
 */
import {
  type DataOperation,
  type Image,
  isData,
  isEntry,
  type Operation,
  pathsOf,
  type SyncOperation,
} from './image.ts';
import { ROOT } from './process.ts';
import type { Scenario } from './scenarios.ts';

/** What a sync is of: of a file, what was written last before it. */
type Subject =
  | 'above' // the folder above the archive, and those above that
  | 'archive'
  | 'camera'
  | 'year'
  | 'month'
  | 'day'
  | '.camera'
  | '.idx'
  | 'frames'
  | 'end' // the end record
  | 'tables' // moov and trailer, of this process
  | 'tables of before' // … of the process that died
  | 'header'; // the 16 bytes of mdat

interface Sync {
  /** Who synced. */
  readonly by: string;
  readonly subject: Subject;
}

const DIRECTORIES: readonly Subject[] = ['archive', 'camera', 'year', 'month', 'day'];

/** Per segment where its records end: known from the header that sealing writes. */
function dataEnds(log: readonly Operation[]): Map<number, number> {
  const ends = new Map<number, number>();
  for (const operation of log) {
    if (operation.kind !== 'write' || operation.position !== 32 || operation.bytes.byteLength !== 16) continue;
    const { buffer, byteOffset } = operation.bytes;
    ends.set(operation.inode, 32 + Number(new DataView(buffer, byteOffset).getBigUint64(8)));
  }
  return ends;
}

function subjectOf(sync: SyncOperation, path: string, last: DataOperation | undefined, dataEnd: number): Subject {
  if (path === '' || ROOT.startsWith(`${path}/`)) return 'above';
  const folder = DIRECTORIES[path.split('/').length - ROOT.split('/').length];
  if (path.endsWith('.camera')) return '.camera';
  if (path.endsWith('.idx')) return '.idx';
  if (!path.endsWith('.mp4')) return folder ?? 'day';
  if (last?.kind !== 'write') return 'end';
  if (last.position === 32) return 'header';
  if (last.position >= dataEnd) return last.by === sync.by ? 'tables' : 'tables of before';
  return last.position + last.bytes.byteLength === dataEnd ? 'end' : 'frames';
}

/**
 * The log without the syncs that `isLeftOut`: they return and do nothing. Where the next sync makes the same durable, that
 * one is asked about too. Undefined if there is none; `first` is where the first one was.
 */
function leaveOut(
  base: Image,
  log: readonly Operation[],
  isLeftOut: (sync: Sync) => boolean,
): { readonly log: Operation[]; readonly first: number } | undefined {
  const paths = pathsOf(base, log);
  const ends = dataEnds(log);
  const covered = new Map<number, number>();
  let first: number | undefined;
  const changed = log.map((operation, i): Operation => {
    if (operation.kind !== 'sync') return operation;
    const since = covered.get(operation.inode) ?? 0;
    const done = log.slice(since, operation.began).filter((one) => inodeOf(one) === operation.inode);
    const last = done.filter(isData).at(-1);
    const path = paths.get(operation.inode) ?? '';
    const subject = subjectOf(operation, path, last, ends.get(operation.inode) ?? Infinity);
    if (done.length > 0 && isLeftOut({ by: operation.by, subject })) {
      first ??= i;
      return { ...operation, began: 0 };
    }
    covered.set(operation.inode, Math.max(since, operation.began));
    return operation;
  });
  return first === undefined ? undefined : { log: changed, first };
}

function inodeOf(operation: Operation): number | undefined {
  if (isData(operation)) return operation.inode;
  return isEntry(operation) ? operation.directory : undefined;
}

/** Makes of a scenario the same without the sync point; undefined where it has no such. */
export type Variant = (scenario: Scenario) => Scenario | undefined;

/** Without the syncs of one that is at work, of what is named. */
function without(by: string, ...subjects: Subject[]): Variant {
  const isLeftOut = (sync: Sync) => sync.by === by && subjects.includes(sync.subject);
  return (scenario) => {
    const left = leaveOut(scenario.base, scenario.log, isLeftOut);
    return left && { ...scenario, log: left.log, from: Math.max(scenario.from, left.first) };
  };
}

const INDEX_MAGIC = 0xf5_46_49_58;

/** A block of the pseudo-header is written as soon as its frames are, and not when the sync that covers them has returned. */
function blocksTooEarly(scenario: Scenario): Scenario | undefined {
  const { base, log } = scenario;
  const paths = pathsOf(base, log);
  for (const [from, block] of log.entries()) {
    if (block.kind !== 'write' || block.position === 0 || !paths.get(block.inode)?.endsWith('.idx')) continue;
    // A block that was written in two is left to others.
    if (block.bytes.byteLength < 32) continue;
    const { buffer, byteOffset } = block.bytes;
    const view = new DataView(buffer, byteOffset);
    if (view.getUint32(0) !== INDEX_MAGIC) continue;
    const end = Number(view.getBigUint64(16));
    const segment = paths.get(block.inode)?.replace('.idx', '.mp4');
    const to =
      1 + log.findIndex((one) => one.kind === 'write' && paths.get(one.inode) === segment && endOf(one) >= end);
    if (to > 0 && to < from) return { ...moved(scenario, from, to), from: to };
  }
  return undefined;
}

const endOf = (operation: Operation) =>
  operation.kind === 'write' ? operation.position + operation.bytes.byteLength : 0;

/** One operation is done earlier: what is promised comes after the same operations as before. */
function moved(scenario: Scenario, from: number, to: number): Scenario {
  const { log, catalogs, promised } = scenario;
  const block = log[from];
  if (block === undefined) throw new RangeError(`no operation ${from}`);
  const later = (count: number) => (count > to && count <= from ? count + 1 : count);
  const rest = log.toSpliced(from, 1).toSpliced(to, 0, block);
  return {
    ...scenario,
    log: rest.map((one) => (one.kind === 'sync' ? { ...one, began: later(one.began) } : one)),
    catalogs: catalogs.map(({ at, rows }) => ({ at: later(at), rows })),
    promised: (count) => promised(count > to && count <= from ? count - 1 : count),
  };
}

export interface SyncPoint {
  readonly name: string;
  readonly variant: Variant;
  /**
   * Where it is found: a recorder at work; the recovery of what a killed process left; a recorder in an archive whose
   * maker was killed.
   */
  readonly in: 'recording' | 'recovery' | 'succession';
}

const at =
  (where: SyncPoint['in']) =>
  (name: string, variant: Variant): SyncPoint => ({ name, variant, in: where });
const [recording, recovery, succession] = [at('recording'), at('recovery'), at('succession')];

export const SYNC_POINTS: readonly SyncPoint[] = [
  recording('a new archive: the folders above it', without('open', 'above')),
  recording('.camera: its bytes', without('camera', '.camera')),
  recording('.camera: its name', without('camera', 'camera')),
  recording('S1: the folder of the day', without('record', 'day')),
  recording('S1: the folder of the month', without('record', 'month')),
  recording('S1: the folder of the year', without('record', 'year')),
  recording('S1: the folder of the camera', without('record', 'camera')),
  recording('S1: the archive', without('record', 'archive')),
  succession('S1: the folder above the archive', without('record', 'above')),
  recording('S2: frames', without('record', 'frames')),
  recording('S3: the end record', without('record', 'end')),
  recording('S4: moov and trailer', without('record', 'tables')),
  recording('S5: the mdat header', without('record', 'header')),
  recording('a block of the pseudo-header comes after the sync of its frames', blocksTooEarly),
  recovery('recovery: the end record', without('recover', 'end', 'frames')),
  recovery('recovery: moov and trailer', without('recover', 'tables')),
  recovery('recovery: moov and trailer that were there', without('recover', 'tables of before')),
  recovery('recovery: the mdat header', without('recover', 'header')),
  recovery('recovery: the folder of the day', without('recover', 'day')),
  recovery('recovery: the folder of the month', without('recover', 'month')),
  recovery('recovery: the folder of the year', without('recover', 'year')),
  recovery('recovery: the folder of the camera', without('recover', 'camera')),
  recovery('recovery: the archive', without('recover', 'archive')),
];
