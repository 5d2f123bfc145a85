/**
 * What is on a disk: inodes, apart from their names; and the operations that change it. Everything here is immutable, so
 * that thousands of states share what they have in common.
 */
export interface FileNode {
  readonly kind: 'file';
  readonly bytes: Uint8Array;
}

export interface DirectoryNode {
  readonly kind: 'directory';
  /** Inode by name. */
  readonly entries: ReadonlyMap<string, number>;
}

/** Inodes by number. */
export type Image = ReadonlyMap<number, FileNode | DirectoryNode>;

export const ROOT_INODE = 0;
/** A disk without anything. */
export const EMPTY_IMAGE: Image = new Map([[ROOT_INODE, { kind: 'directory', entries: new Map() }]]);
/** One with the folder in which archives are made. */
export const DISK_IMAGE: Image = new Map([
  [ROOT_INODE, { kind: 'directory', entries: new Map([['disk', 1]]) }],
  [1, { kind: 'directory', entries: new Map() }],
]);

interface Done {
  /** What was at work: opening, taking the camera, recording, recovering. */
  readonly by: string;
}

export interface WriteOperation extends Done {
  readonly kind: 'write';
  readonly inode: number;
  readonly position: number;
  readonly bytes: Uint8Array;
}

interface TruncateOperation extends Done {
  readonly kind: 'truncate';
  readonly inode: number;
  readonly length: number;
}

/** A new file or directory. */
interface LinkOperation extends Done {
  readonly kind: 'link';
  readonly directory: number;
  readonly name: string;
  readonly inode: number;
  readonly node: 'file' | 'directory';
}

interface UnlinkOperation extends Done {
  readonly kind: 'unlink';
  readonly directory: number;
  readonly name: string;
}

/** Within one directory, and whole or not at all. */
interface RenameOperation extends Done {
  readonly kind: 'rename';
  readonly directory: number;
  readonly from: string;
  readonly to: string;
  readonly inode: number;
}

/** A sync that has returned: what was done to the inode before operation `began` is durable. */
export interface SyncOperation extends Done {
  readonly kind: 'sync';
  readonly inode: number;
  readonly began: number;
}

export type DataOperation = WriteOperation | TruncateOperation;
export type EntryOperation = LinkOperation | UnlinkOperation | RenameOperation;
export type Operation = DataOperation | EntryOperation | SyncOperation;

export const isData = (operation: Operation): operation is DataOperation =>
  operation.kind === 'write' || operation.kind === 'truncate';

export const isEntry = (operation: Operation): operation is EntryOperation =>
  operation.kind === 'link' || operation.kind === 'unlink' || operation.kind === 'rename';

/** The bytes of a file behind one more operation. */
export function withData(bytes: Uint8Array, operation: DataOperation): Uint8Array {
  const length =
    operation.kind === 'truncate'
      ? operation.length
      : Math.max(bytes.byteLength, operation.position + operation.bytes.byteLength);
  const changed = new Uint8Array(length);
  changed.set(bytes.subarray(0, length));
  if (operation.kind === 'write') changed.set(operation.bytes, operation.position);
  return changed;
}

/** The entries of a directory behind one more operation, whatever came before it. */
export function withEntry(entries: ReadonlyMap<string, number>, operation: EntryOperation): Map<string, number> {
  const changed = new Map(entries);
  if (operation.kind === 'link') changed.set(operation.name, operation.inode);
  else if (operation.kind === 'unlink') changed.delete(operation.name);
  else {
    changed.delete(operation.from);
    changed.set(operation.to, operation.inode);
  }
  return changed;
}

/** Does `operation` to `nodes`. */
export function applyTo(nodes: Map<number, FileNode | DirectoryNode>, operation: Operation): void {
  if (isData(operation)) {
    const { bytes } = fileOf(nodes, operation.inode);
    nodes.set(operation.inode, { kind: 'file', bytes: withData(bytes, operation) });
  } else if (isEntry(operation)) {
    if (operation.kind === 'link') nodes.set(operation.inode, emptyNode(operation.node));
    const { entries } = directoryOf(nodes, operation.directory);
    nodes.set(operation.directory, { kind: 'directory', entries: withEntry(entries, operation) });
  }
}

export function emptyNode(kind: 'file' | 'directory'): FileNode | DirectoryNode {
  return kind === 'file' ? { kind, bytes: new Uint8Array(0) } : { kind, entries: new Map() };
}

export function fileOf(image: Image, inode: number): FileNode {
  const node = image.get(inode);
  if (node?.kind !== 'file') throw new RangeError(`inode ${inode} is no file`);
  return node;
}

export function directoryOf(image: Image, inode: number): DirectoryNode {
  const node = image.get(inode);
  if (node?.kind !== 'directory') throw new RangeError(`inode ${inode} is no directory`);
  return node;
}

/** Every file that has a name: path and inode, in the order of the names. */
export function filesIn(image: Image, inode = ROOT_INODE, path = ''): { path: string; inode: number }[] {
  const { entries } = directoryOf(image, inode);
  return [...entries]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, child]) => {
      const at = `${path}/${name}`;
      return image.get(child)?.kind === 'directory' ? filesIn(image, child, at) : [{ path: at, inode: child }];
    });
}

/** Path of each inode, by the names that `log` gave out. */
export function pathsOf(base: Image, log: readonly Operation[]): Map<number, string> {
  const paths = new Map<number, string>([[ROOT_INODE, '']]);
  const walk = (inode: number) => {
    const node = base.get(inode);
    if (node?.kind !== 'directory') return;
    for (const [name, child] of node.entries) {
      paths.set(child, `${paths.get(inode) ?? ''}/${name}`);
      walk(child);
    }
  };
  walk(ROOT_INODE);
  for (const operation of log) {
    if (operation.kind !== 'link') continue;
    paths.set(operation.inode, `${paths.get(operation.directory) ?? ''}/${operation.name}`);
  }
  return paths;
}
