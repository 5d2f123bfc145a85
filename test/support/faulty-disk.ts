/**
 * A disk that fails when a test says so, around the real one: only what cannot be had of a real disk when it is wanted.
 * Scans go to the real files; flushes can fail as well.
 */
import { constants } from 'node:os';
import { native } from '../../src/native.ts';
import { type Disk, type DiskFile, nodeDisk, type SegmentIo } from '../../src/segment/disk.ts';

/** An operation about to be done on a path. */
export interface Operation {
  readonly kind:
    'open' | 'create' | 'mkdir' | 'rename' | 'unlink' | 'write' | 'truncate' | 'sync' | 'syncFolder' | 'flush';
  readonly path: string;
}

/** The system's code to fail with, `half` to write only half of a write and no more, or undefined: done as asked. */
export type Verdict = keyof typeof constants.errno | 'half' | undefined;

export type Judge = (operation: Operation) => Verdict | Promise<Verdict>;

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: provoked, ${path}`), { code });
}

export class FaultyDisk {
  /** The disk and the native layer to open an archive with. */
  readonly io: SegmentIo;
  readonly #paths = new Map<number, string>();
  readonly #judge: Judge;

  constructor(judge: Judge) {
    this.#judge = judge;
    const disk: Disk = {
      ...nodeDisk,
      open: (path, flags) => this.#open(path, flags),
      mkdir: (path, options) => this.#ask('mkdir', path, () => nodeDisk.mkdir(path, options)),
      rename: (from, to) => this.#ask('rename', from, () => nodeDisk.rename(from, to)),
      unlink: (path) => this.#ask('unlink', path, () => nodeDisk.unlink(path)),
    };
    this.io = { disk, native: { ...native, groupFlush: (fds) => this.#flush(fds) } };
  }

  async #ask<T>(kind: Operation['kind'], path: string, call: () => Promise<T>): Promise<T> {
    const verdict = await this.#judge({ kind, path });
    if (verdict !== undefined) throw systemError(verdict === 'half' ? 'EIO' : verdict, path);
    return call();
  }

  async #open(path: string, flags: Parameters<Disk['open']>[1]): Promise<DiskFile> {
    const file = await this.#ask(flags === 'wx+' ? 'create' : 'open', path, () => nodeDisk.open(path, flags));
    this.#paths.set(file.fd, path);
    return {
      fd: file.fd,
      read: (into, offset, length, position) => file.read(into, offset, length, position),
      writev: (buffers, position) => this.#write(file, path, buffers, position),
      stat: () => file.stat(),
      truncate: (length) => this.#ask('truncate', path, () => file.truncate(length)),
      sync: async () => this.#ask(flags === 'r' ? 'syncFolder' : 'sync', path, () => file.sync()),
      close: () => {
        this.#paths.delete(file.fd);
        return file.close();
      },
    };
  }

  async #write(file: DiskFile, path: string, buffers: readonly Uint8Array[], position: number) {
    const verdict = await this.#judge({ kind: 'write', path });
    if (verdict === undefined) return file.writev(buffers, position);
    if (verdict !== 'half') throw systemError(verdict, path);
    const all = Buffer.concat(buffers);
    return file.writev([all.subarray(0, Math.ceil(all.byteLength / 2))], position);
  }

  async #flush(fds: Int32Array): Promise<Int32Array> {
    const verdicts: Verdict[] = [];
    for (const fd of fds) verdicts.push(await this.#judge({ kind: 'flush', path: this.#paths.get(fd) ?? '' }));
    const errors = await native.groupFlush(fds);
    return errors.map((errno, i) => {
      const verdict = verdicts[i];
      return verdict === undefined || verdict === 'half' ? errno : constants.errno[verdict];
    });
  }
}
