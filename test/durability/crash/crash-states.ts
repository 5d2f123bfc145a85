/**
 * The states in which a power cut can leave a disk, after any number of the operations of a log.
 *
 * What a sync that had returned covers is durable. Of the rest anything may be there: every sector of 512 bytes is as it
 * was at some moment since the last sync, whatever other sectors are; a file has any of the lengths it had; where a
 * sector within that length was never written there are zeros, or what another file left behind; and each entry of a
 * directory is there or not. The sync of a file makes its bytes durable and not its name.
 */
import type { Random } from '../../fuzz/random.ts';
import {
  type DataOperation,
  directoryOf,
  emptyNode,
  type EntryOperation,
  fileOf,
  type Image,
  isData,
  isEntry,
  type Operation,
  withData,
  withEntry,
} from './image.ts';

const SECTOR_BYTES = 512;

/** A sector that is not durable: its bytes as they were, the durable ones first. */
interface Sector {
  readonly at: number;
  readonly versions: readonly Uint8Array[];
  /** Nothing of it is durable: what is there instead need not be zeros. */
  readonly fresh: boolean;
}

interface PendingFile {
  readonly inode: number;
  readonly durable: Uint8Array;
  readonly sectors: readonly Sector[];
  /** The lengths that it had, the durable one first and the last one last. */
  readonly sizes: readonly number[];
}

/** What is durable after some operations of a log, and what may be there besides. */
export interface CrashPoint {
  readonly durable: Image;
  readonly files: readonly PendingFile[];
  readonly entries: readonly EntryOperation[];
  /** What blocks that were never written may hold. */
  readonly stale: readonly Uint8Array[];
}

/** Of one file: how long it is, and of each sector which version is there. */
interface FileChoice {
  readonly size: number;
  readonly versions: readonly number[];
  /** Fills fresh sectors; zeros without it. */
  readonly stale?: Uint8Array | undefined;
}

/** One state: per pending entry whether it is there, per pending file what of it. */
export interface Choice {
  readonly entries: readonly boolean[];
  readonly files: readonly FileChoice[];
}

/** What a power cut meets after `count` operations of `log`. */
export function crashPoint(base: Image, log: readonly Operation[], count: number): CrashPoint {
  const covered = coveredBy(log, count);
  const durable = new Map(base);
  const pending = new Map<number, DataOperation[]>();
  const entries: EntryOperation[] = [];
  for (const [i, operation] of log.slice(0, count).entries()) {
    if (isData(operation)) {
      const list = pending.get(operation.inode) ?? [];
      pending.set(operation.inode, list);
      if (i >= (covered.get(operation.inode) ?? 0)) list.push(operation);
      else
        durable.set(operation.inode, {
          kind: 'file',
          bytes: withData(fileOf(durable, operation.inode).bytes, operation),
        });
    } else if (isEntry(operation)) {
      // An inode without a name harms nobody.
      if (operation.kind === 'link') durable.set(operation.inode, emptyNode(operation.node));
      if (i >= (covered.get(operation.directory) ?? 0)) entries.push(operation);
      else addEntry(durable, operation);
    }
  }
  const files = [...pending].flatMap(([inode, operations]) =>
    operations.length === 0 ? [] : [pendingFile(inode, fileOf(durable, inode).bytes, operations)],
  );
  return { durable, files, entries, stale: staleBlocks(base, log, count) };
}

/** Per inode: operations before this one are durable. */
function coveredBy(log: readonly Operation[], count: number): Map<number, number> {
  const covered = new Map<number, number>();
  for (const operation of log.slice(0, count)) {
    if (operation.kind !== 'sync') continue;
    covered.set(operation.inode, Math.max(covered.get(operation.inode) ?? 0, operation.began));
  }
  return covered;
}

type Nodes = Map<number, ReturnType<typeof emptyNode>>;

function addEntry(nodes: Nodes, operation: EntryOperation): void {
  const { entries } = directoryOf(nodes, operation.directory);
  nodes.set(operation.directory, { kind: 'directory', entries: withEntry(entries, operation) });
}

function pendingFile(inode: number, durable: Uint8Array, operations: readonly DataOperation[]): PendingFile {
  const versions = new Map<number, Uint8Array[]>();
  const sizes = [durable.byteLength];
  let bytes = durable;
  for (const operation of operations) {
    const before = bytes;
    bytes = withData(bytes, operation);
    sizes.push(bytes.byteLength);
    const [from, to] = touched(operation, before.byteLength);
    for (let at = from - (from % SECTOR_BYTES); at < to; at += SECTOR_BYTES) {
      const list = versions.get(at) ?? [sectorAt(durable, at)];
      versions.set(at, [...list, sectorAt(bytes, at)]);
    }
  }
  const sectors = [...versions]
    .toSorted(([a], [b]) => a - b)
    .map(([at, list]) => ({ at, versions: list, fresh: at >= durable.byteLength }));
  return { inode, durable, sectors, sizes };
}

function touched(operation: DataOperation, sizeBefore: number): [number, number] {
  if (operation.kind === 'truncate') return [operation.length, Math.max(operation.length, sizeBefore)];
  return [operation.position, operation.position + operation.bytes.byteLength];
}

function sectorAt(bytes: Uint8Array, at: number): Uint8Array {
  const sector = new Uint8Array(SECTOR_BYTES);
  sector.set(bytes.subarray(at, at + SECTOR_BYTES));
  return sector;
}

/** What files held before: also those that are gone, and what a file lost when it was cut. */
function staleBlocks(base: Image, log: readonly Operation[], count: number): Uint8Array[] {
  const longest = new Map<number, Uint8Array>();
  for (const [inode, node] of base) if (node.kind === 'file') longest.set(inode, node.bytes);
  for (const operation of log.slice(0, count)) {
    if (operation.kind !== 'write') continue;
    longest.set(operation.inode, withData(longest.get(operation.inode) ?? new Uint8Array(0), operation));
  }
  return [...longest.values()].filter((bytes) => bytes.byteLength > SECTOR_BYTES);
}

/** The disk as a choice leaves it. */
export function stateOf(point: CrashPoint, choice: Choice): Image {
  const nodes: Nodes = new Map(point.durable);
  point.entries.forEach((entry, i) => {
    if (choice.entries[i] === true) addEntry(nodes, entry);
  });
  point.files.forEach((file, i) => {
    const chosen = choice.files[i];
    if (chosen !== undefined) nodes.set(file.inode, { kind: 'file', bytes: bytesOf(file, chosen) });
  });
  return nodes;
}

function bytesOf({ durable, sectors }: PendingFile, { size, versions, stale }: FileChoice): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(durable.subarray(0, size));
  sectors.forEach((sector, i) => {
    const version = versions[i] ?? 0;
    const blank = version === 0 && sector.fresh && stale !== undefined;
    const from = blank ? sectorAt(stale, sector.at) : (sector.versions[version] ?? new Uint8Array(0));
    if (sector.at < size) bytes.set(from.subarray(0, size - sector.at), sector.at);
  });
  return bytes;
}

const lastVersions = (file: PendingFile) => file.sectors.map(({ versions }) => versions.length - 1);
const lastSize = (file: PendingFile) => file.sizes.at(-1) ?? 0;
const whole = (file: PendingFile): FileChoice => ({ size: lastSize(file), versions: lastVersions(file) });
const nothing = (file: PendingFile): FileChoice => ({ size: file.sizes[0] ?? 0, versions: file.sectors.map(() => 0) });

/** All that was done is there: what a process finds that did not go through a power cut. */
export const everything = (point: CrashPoint): Choice => ({
  entries: point.entries.map(() => true),
  files: point.files.map(whole),
});

/** All subsets of up to this many things are tried; of more, those that lack one, have one, or are a beginning. */
const ALL_SUBSETS = 4;

/** The small combinations, each file and the entries for themselves: the rest there, or not. */
export function* systematic(point: CrashPoint): Generator<Choice> {
  const all = everything(point);
  const none: Choice = { entries: all.entries.map(() => false), files: point.files.map(nothing) };
  yield all;
  yield none;
  for (const entries of subsets(point.entries.length)) {
    yield { ...all, entries };
    yield { entries, files: none.files };
  }
  for (const [i, file] of point.files.entries()) {
    for (const chosen of fileChoices(file, point.stale)) {
      yield { ...all, files: all.files.with(i, chosen) };
      if (point.files.length > 1) yield { ...all, files: none.files.with(i, chosen) };
    }
  }
}

function* subsets(count: number): Generator<boolean[]> {
  const indices = Array.from({ length: count }, (_, i) => i);
  if (count <= ALL_SUBSETS) {
    for (let mask = 0; mask < 2 ** count; mask++) yield indices.map((i) => (mask & (1 << i)) !== 0);
    return;
  }
  for (const one of indices) {
    yield indices.map((i) => i !== one);
    yield indices.map((i) => i === one);
    yield indices.map((i) => i <= one);
  }
}

function* fileChoices(file: PendingFile, stale: readonly Uint8Array[]): Generator<FileChoice> {
  const versions = lastVersions(file);
  for (const present of subsets(file.sectors.length)) {
    const chosen = versions.map((version, i) => (present[i] === true ? version : 0));
    yield { size: lastSize(file), versions: chosen };
    for (const block of stale) yield { size: lastSize(file), versions: chosen, stale: block };
  }
  for (const size of sizesOf(file)) yield { size, versions };
  yield* olderSectors(file);
}

/** Each sector as it was at each moment, the others as they are in the end. */
function* olderSectors(file: PendingFile): Generator<FileChoice> {
  const versions = lastVersions(file);
  for (const [i, { versions: list }] of file.sectors.entries()) {
    for (let version = 1; version + 1 < list.length; version++) {
      yield { size: lastSize(file), versions: versions.with(i, version) };
    }
  }
}

/** The lengths that the file had, and those at which a write that was torn would end. */
function sizesOf({ sizes, sectors }: PendingFile): Set<number> {
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
  const torn = sectors.map(({ at }) => Math.min(at + SECTOR_BYTES, most));
  return new Set([...sizes, ...torn.filter((size) => size >= least)]);
}

/** One of all the states that there are. */
export function anyState(point: CrashPoint, random: Random): Choice {
  const present = random.pick([1, 2, 4, 8]);
  return {
    entries: point.entries.map(() => !random.oneIn(present + 1)),
    files: point.files.map((file) => anyFile(file, point.stale, random)),
  };
}

function anyFile(file: PendingFile, stale: readonly Uint8Array[], random: Random): FileChoice {
  const missing = random.pick([2, 3, 6, 12]);
  const versions = file.sectors.map(({ versions: list }) =>
    random.oneIn(missing) ? random.below(list.length) : list.length - 1,
  );
  const size = random.oneIn(2) ? lastSize(file) : random.pick([...sizesOf(file)]);
  return { size, versions, stale: stale.length > 0 && random.oneIn(2) ? random.pick(stale) : undefined };
}
