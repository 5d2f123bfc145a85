/**
 * File systems in files: images on loop devices, of which copies can be taken in one instant while programs write to
 * them. There are two kinds of devices:
 *
 * - `reflink`: the images lie on an XFS with reflinks (itself in a sparse file in the temporary folder), where cloning a
 *   file is atomic. A copy holds all that had reached the device, and nothing of what only the kernel knew: as after a
 *   power cut of a device without a cache of its own.
 * - `logged` (logged-device.mjs, which needs /dev/fuse as well): a copy lacks any of what was written to the device since
 *   it was last told to flush.
 *
 * Needs root and loop devices. Mounts are undone by `close`, and those that a killed run has left by the next one.
 */
import { execFile, execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { monotonicMs } from './clock.mjs';
import { LoggedDevice } from './logged-device.mjs';

const exec = promisify(execFile);
const PREFIX = 'footage-power-cuts-';
/** Sparse: what is not written takes no room. */
const HOST_BYTES = 64 * 2 ** 30;
const IMAGE_BYTES = 2 ** 30;
/** For what somebody else may hold for a moment. */
const TRIES = 30;
const PAUSE_MS = 100;
/** A user's PATH on Debian often lacks the folders where these live. */
const ENV = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

const MAKE = {
  ext4: ['mkfs.ext4', '-q', '-F'],
  xfs: ['mkfs.xfs', '-q', '-f'],
};
export const FILE_SYSTEMS = Object.keys(MAKE);
/** A copy has the UUID of its original, which is mounted too: XFS wants to be told. */
const MOUNT_COPY = { ext4: 'loop', xfs: 'loop,nouuid' };

/** Why images cannot be mounted here; undefined if they can. */
export function obstacle() {
  if (process.getuid() !== 0) return 'this user is not root';
  return existsSync('/dev/loop-control') ? undefined : 'there are no loop devices';
}

const run = (command, ...args) => exec(command, args, { env: ENV });
const runSync = (command, ...args) => execFileSync(command, args, { env: ENV, stdio: ['ignore', 'ignore', 'pipe'] });

/** Mount points in a folder, the innermost first. */
function mountsBelow(folder) {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[4] ?? []);
  return points.filter((point) => point.startsWith(`${folder}/`)).toReversed();
}

/** Somebody who looks around in the temporary folder may be in it for a moment. */
async function unmount(point) {
  for (let tries = 1; ; tries++) {
    try {
      await run('umount', point);
      return;
    } catch (error) {
      if (tries === TRIES) throw error;
      await sleep(PAUSE_MS);
    }
  }
}

function unmountBelow(folder) {
  for (const point of mountsBelow(folder)) {
    try {
      runSync('umount', point);
    } catch {
      // Somebody still looks into it: it goes when they do.
      runSync('umount', '--lazy', point);
    }
  }
}

/** Undoes the mounts in a folder, with their loop devices, and removes it; a mount that is just being made comes late. */
function remove(folder) {
  for (let tries = 1; ; tries++) {
    try {
      unmountBelow(folder);
      rmSync(folder, { recursive: true, force: true });
      return;
    } catch (error) {
      if (tries === TRIES) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
}

function isRunning(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('node');
  } catch {
    return false;
  }
}

/** What runs have left that were killed: their folders carry the number of their process. */
function removeLeftovers() {
  for (const name of readdirSync(tmpdir()).filter((name) => name.startsWith(PREFIX))) {
    if (!isRunning(Number(name.slice(PREFIX.length).split('-')[0]))) remove(join(tmpdir(), name));
  }
}

function makeSparse(path, bytes) {
  writeFileSync(path, '');
  truncateSync(path, bytes);
}

/** A device that is a file on a file system with reflinks. */
class ReflinkDevice {
  file;

  constructor(file) {
    this.file = file;
  }

  /** The device as it is at one instant between the two times returned. */
  async cut(copy) {
    const beforeMs = monotonicMs();
    await run('cp', '--reflink=always', this.file, copy);
    return { beforeMs, afterMs: monotonicMs() };
  }

  async close() {
    rmSync(this.file);
  }
}

/** Makes a device of a file with a new file system. */
const DEVICES = {
  reflink: async (file) => new ReflinkDevice(file),
  logged: (file) => LoggedDevice.open(file),
};

/** One file system, mounted at `path`. */
class Image {
  fileSystem;
  path;
  device;

  constructor(fileSystem, device, path) {
    this.fileSystem = fileSystem;
    this.device = device;
    this.path = path;
  }

  async close() {
    await unmount(this.path);
    if (this.device.folder !== undefined) await unmount(this.device.folder);
    await this.device.close();
  }
}

/** The folder with all images of this process. Call `close` whatever happens; signals that end the process do. */
export class Images {
  folder;
  #host;
  #kind;
  #made = 0;

  /** `kind`: of the devices, `reflink` or `logged`. */
  constructor(kind) {
    removeLeftovers();
    this.#kind = kind;
    this.folder = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
    this.#host = join(this.folder, 'host');
    const file = `${this.#host}.img`;
    makeSparse(file, HOST_BYTES);
    mkdirSync(this.#host);
    try {
      runSync('mkfs.xfs', '-q', '-f', '-m', 'reflink=1', file);
      runSync('mount', '-o', 'loop', file, this.#host);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** A new, empty file system. */
  async make(fileSystem) {
    const name = `${fileSystem}-${this.#made++}`;
    const file = join(this.#host, `${name}.img`);
    const path = join(this.folder, name);
    makeSparse(file, IMAGE_BYTES);
    mkdirSync(path);
    const [command, ...args] = MAKE[fileSystem];
    await run(command, ...args, file);
    const device = await DEVICES[this.#kind](file);
    await run('mount', '-o', 'loop', device.file, path);
    return new Image(fileSystem, device, path);
  }

  /** Cuts an image, mounts the copy (the file system replays its journal), and hands its path to `body`. */
  async withCut(image, random, body) {
    const name = `cut-${this.#made++}`;
    const file = join(this.#host, `${name}.img`);
    const path = join(this.folder, name);
    try {
      const times = await image.device.cut(file, random);
      mkdirSync(path);
      await run('mount', '-o', MOUNT_COPY[image.fileSystem], file, path);
      return await body(path, times);
    } finally {
      if (mountsBelow(this.folder).includes(path)) await unmount(path);
      rmSync(path, { recursive: true, force: true });
      rmSync(file, { force: true });
    }
  }

  close() {
    remove(this.folder);
  }
}
