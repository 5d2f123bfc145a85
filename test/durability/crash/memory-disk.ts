/**
 * A disk in memory with the meaning and the errors of `node:fs/promises`, which logs every operation when it is done. One
 * object is one process: another on the same log finds what the first has left behind, written but perhaps not synced.
 */
import { constants } from 'node:os';
import { native } from '../../../src/native.ts';
import type { Native } from '../../../src/native-types.ts';
import { type Disk, type DiskFile, OPEN_OR_MAKE, type SegmentIo } from '../../../src/segment/disk.ts';
import { scanSource } from '../../../src/twin/scan.ts';
import { applyTo, type DirectoryNode, type FileNode, fileOf, type Image, type Operation, ROOT_INODE } from './image.ts';

export interface MemoryDiskOptions {
  readonly base: Image;
  /** What was done since `base`, by other processes. */
  readonly log?: readonly Operation[];
  /** Turns of the event loop that an operation takes. Default none. */
  readonly turns?: (kind: 'write' | 'sync' | 'entry') => number;
  /** How much of `length` bytes a write takes. Default all. */
  readonly taken?: (length: number) => number;
  /** Called before each operation is added to the log. */
  readonly observe?: () => void;
}

type Errno = 'ENOENT' | 'EEXIST' | 'ENOTDIR' | 'EISDIR' | 'EBADF';

/** Without its stack: recovery asks for much that is not there, and taking the stack costs more than the answer. */
function failure(code: Errno, what: string): Error {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  const error = Object.assign(new Error(`${code}: ${what}`), { code, errno: -constants.errno[code] });
  Error.stackTraceLimit = limit;
  return error;
}

type Node = FileNode | DirectoryNode;

type WithoutActor<T> = T extends Operation ? Omit<T, 'by'> : never;

export class MemoryDisk implements Disk {
  readonly log: Operation[];
  /** What the operations to come are part of. */
  actor = '';
  readonly io: SegmentIo;
  readonly #options: MemoryDiskOptions;
  readonly #nodes: Map<number, Node>;
  /** Inodes by descriptor. */
  readonly #opened = new Map<number, number>();
  #nextInode: number;
  #nextFd = 3;

  constructor(options: MemoryDiskOptions) {
    this.#options = options;
    this.log = [...(options.log ?? [])];
    this.#nodes = new Map(options.base);
    for (const operation of this.log) applyTo(this.#nodes, operation);
    this.#nextInode = Math.max(...this.#nodes.keys()) + 1;
    this.io = { disk: this, native: this.#native() };
  }

  /** What a process sees now. */
  get image(): Image {
    return new Map(this.#nodes);
  }

  async open(path: string, flags: Parameters<Disk['open']>[1]): Promise<DiskFile> {
    const found = this.#find(path);
    if (found !== undefined && flags === 'wx+') throw failure('EEXIST', path);
    if (found !== undefined && flags !== 'r' && this.#nodes.get(found)?.kind === 'directory') {
      throw failure('EISDIR', path);
    }
    if (found === undefined && flags !== 'wx+' && flags !== OPEN_OR_MAKE) throw failure('ENOENT', path);
    return this.#file(found ?? (await this.#make(path, 'file')));
  }

  async mkdir(path: string): Promise<string | undefined> {
    const names = path.split('/').slice(1);
    let first: string | undefined;
    for (let depth = 1; depth <= names.length; depth++) {
      const at = `/${names.slice(0, depth).join('/')}`;
      const found = this.#find(at);
      if (found !== undefined && this.#nodes.get(found)?.kind === 'file') {
        throw failure(depth === names.length ? 'EEXIST' : 'ENOTDIR', at);
      }
      if (found !== undefined) continue;
      await this.#make(at, 'directory');
      first ??= at;
    }
    return first;
  }

  async rename(from: string, to: string): Promise<void> {
    const inode = this.#find(from);
    if (inode === undefined) throw failure('ENOENT', from);
    const [place, target] = [this.#place(from), this.#place(to)];
    if (place.directory !== target.directory) throw new Error('a segment is renamed within its folder');
    await this.#pause('entry');
    this.#done({ kind: 'rename', directory: place.directory, from: place.name, to: target.name, inode });
  }

  async unlink(path: string): Promise<void> {
    if (this.#find(path) === undefined) throw failure('ENOENT', path);
    await this.#pause('entry');
    this.#done({ kind: 'unlink', ...this.#place(path) });
  }

  async access(path: string): Promise<void> {
    if (this.#find(path) === undefined) throw failure('ENOENT', path);
  }

  async stat(path: string): Promise<{ isDirectory(): boolean }> {
    const inode = this.#find(path);
    if (inode === undefined) throw failure('ENOENT', path);
    const { kind } = this.#node(inode);
    return { isDirectory: () => kind === 'directory' };
  }

  async readdir(path: string, { recursive = false } = {}): Promise<string[]> {
    const inode = this.#find(path);
    if (inode === undefined) throw failure('ENOENT', path);
    const node = this.#node(inode);
    if (node.kind === 'file') throw failure('ENOTDIR', path);
    return this.#namesIn(node, '', recursive);
  }

  #namesIn({ entries }: DirectoryNode, prefix: string, recursive: boolean): string[] {
    return [...entries].flatMap(([name, inode]) => {
      const node = this.#node(inode);
      const below = recursive && node.kind === 'directory' ? this.#namesIn(node, `${prefix}${name}/`, true) : [];
      return [prefix + name, ...below];
    });
  }

  #node(inode: number): Node {
    const node = this.#nodes.get(inode);
    if (node === undefined) throw new RangeError(`no inode ${inode}`);
    return node;
  }

  #find(path: string): number | undefined {
    let inode: number | undefined = ROOT_INODE;
    for (const name of path.split('/').filter(Boolean)) {
      const node: Node | undefined = inode === undefined ? undefined : this.#nodes.get(inode);
      if (node?.kind === 'file') throw failure('ENOTDIR', path);
      inode = node?.entries.get(name);
    }
    return inode;
  }

  #place(path: string): { directory: number; name: string } {
    const cut = path.lastIndexOf('/');
    const directory = this.#find(path.slice(0, cut));
    if (directory === undefined) throw failure('ENOENT', path);
    return { directory, name: path.slice(cut + 1) };
  }

  async #make(path: string, node: 'file' | 'directory'): Promise<number> {
    const place = this.#place(path);
    const inode = this.#nextInode++;
    await this.#pause('entry');
    this.#done({ kind: 'link', ...place, inode, node });
    return inode;
  }

  async #pause(kind: 'write' | 'sync' | 'entry'): Promise<void> {
    for (let turns = this.#options.turns?.(kind) ?? 0; turns > 0; turns--) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #done(operation: WithoutActor<Operation>): void {
    const done: Operation = { ...operation, by: this.actor };
    this.#options.observe?.();
    this.log.push(done);
    applyTo(this.#nodes, done);
  }

  /** Covers what was done before it began, and counts when it has returned. */
  async #sync(inode: number): Promise<void> {
    const began = this.log.length;
    await this.#pause('sync');
    this.#done({ kind: 'sync', inode, began });
  }

  #file(inode: number): DiskFile {
    const fd = this.#nextFd++;
    this.#opened.set(fd, inode);
    const bytes = () => {
      if (!this.#opened.has(fd)) throw failure('EBADF', `descriptor ${fd}`);
      return fileOf(this.#nodes, inode).bytes;
    };
    return {
      fd,
      read: async (into, offset, length, position) => ({
        bytesRead: copied(bytes(), into.subarray(offset, offset + length), position),
      }),
      writev: async (buffers, position) => {
        bytes();
        const whole = Buffer.concat(buffers);
        const taken = whole.subarray(0, this.#options.taken?.(whole.byteLength) ?? whole.byteLength);
        await this.#pause('write');
        this.#done({ kind: 'write', inode, position, bytes: Uint8Array.from(taken) });
        return { bytesWritten: taken.byteLength };
      },
      stat: async () => ({ size: bytes().byteLength }),
      truncate: async (length) => {
        bytes();
        await this.#pause('write');
        this.#done({ kind: 'truncate', inode, length });
      },
      sync: () => this.#sync(inode),
      close: async () => {
        this.#opened.delete(fd);
      },
    };
  }

  #native(): Native {
    return {
      ...native,
      scan: async (request) => {
        const inode = this.#opened.get(request.fd);
        if (inode === undefined) throw failure('EBADF', `descriptor ${request.fd}`);
        const { bytes } = fileOf(this.#nodes, inode);
        const read = async (into: Uint8Array, offset: number, length: number, position: number) => ({
          bytesRead: copied(bytes, into.subarray(offset, offset + length), position),
        });
        return scanSource({ size: bytes.byteLength, read }, request);
      },
      groupFlush: async (fds) => Int32Array.from(await Promise.all(Array.from(fds, (fd) => this.#flushOne(fd)))),
    };
  }

  async #flushOne(fd: number): Promise<number> {
    const inode = this.#opened.get(fd);
    if (inode === undefined) return constants.errno.EBADF;
    await this.#sync(inode);
    return 0;
  }

  /** Whether nothing is open any more. */
  get idle(): boolean {
    return this.#opened.size === 0;
  }
}

function copied(from: Uint8Array, into: Uint8Array, position: number): number {
  const part = from.subarray(position, position + into.byteLength);
  into.set(part);
  return part.byteLength;
}
