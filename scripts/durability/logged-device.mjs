/**
 * A disk with a cache, for a loop device: log-device.mjs serves it and logs its writes and flushes. A cut makes from the
 * log what may be on such a disk when its power goes: everything that was written before the last flush, and of what came
 * behind that nothing, all, a beginning with a torn end, or any blocks.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { monotonicMs } from './clock.mjs';

const DAEMON = join(import.meta.dirname, 'log-device.mjs');
const ENTRY_BYTES = 24;
const SECTOR_BYTES = 512;
/** What file systems expect to be written whole or not at all is no larger. */
const BLOCK_BYTES = 4096;
/** A daemon that has not begun by then has failed. */
const PATIENCE_MS = 10_000;

/** A gigabyte of which little is written is copied in no time. */
const copySparse = (from, to) => promisify(execFile)('cp', ['--sparse=always', from, to]);

/** The whole entries of a piece of a log; the last one may be incomplete. `endsAt`: behind the entry. */
function* entriesOf(log) {
  for (let at = 0; at + ENTRY_BYTES <= log.length;) {
    const [t, offset, length] = [0, 8, 16].map((field) => log.readDoubleLE(at + field));
    const endsAt = at + ENTRY_BYTES + length;
    if (endsAt > log.length) return;
    yield { t, offset, bytes: log.subarray(at + ENTRY_BYTES, endsAt), endsAt };
    at = endsAt;
  }
}

const isFlush = ({ offset }) => offset < 0;

function* blocksOf({ offset, bytes }) {
  for (let from = 0; from < bytes.length;) {
    const to = Math.min(bytes.length, from + BLOCK_BYTES - ((offset + from) % BLOCK_BYTES));
    yield { offset: offset + from, bytes: bytes.subarray(from, to) };
    from = to;
  }
}

/** A beginning of the writes, the last of them torn between two sectors. */
function beginning(cached, random) {
  const count = Math.floor(random() * cached.length);
  const torn = cached[count];
  if (torn === undefined) return cached;
  const sectors = Math.floor((random() * torn.bytes.length) / SECTOR_BYTES);
  return [...cached.slice(0, count), { ...torn, bytes: torn.bytes.subarray(0, sectors * SECTOR_BYTES) }];
}

function anyBlocks(cached, random) {
  const share = random();
  return cached.flatMap((write) => [...blocksOf(write)]).filter(() => random() < share);
}

/** What a disk may have kept of the writes in its cache. */
const KEPT = [
  { kept: 'nothing', of: () => [] },
  { kept: 'all', of: (cached) => cached },
  { kept: 'a beginning', of: beginning },
  { kept: 'any blocks', of: anyBlocks },
  { kept: 'any blocks', of: anyBlocks },
];

async function writeInto(path, entries) {
  const file = await open(path, 'r+');
  try {
    for (const { offset, bytes } of entries.filter((entry) => !isFlush(entry)))
      await file.write(bytes, 0, bytes.length, offset);
  } finally {
    await file.close();
  }
}

const bytesIn = (writes) => writes.reduce((sum, { bytes }) => sum + bytes.length, 0);

export class LoggedDevice {
  /** What a loop device is made of. */
  file;
  /** What is on the disk for sure, as of the last cut. */
  #base;
  #disk;
  #log;
  #readTo = 0;
  /** What was logged and is not in the base. */
  #entries = [];
  #closed;
  #lastCutMs = 0;

  /** `image`: a file with a new file system; the device gets a copy. Waits until the device is there. */
  static async open(image) {
    const device = new LoggedDevice();
    const folder = `${image}.device`;
    device.#base = image;
    device.#disk = `${image}.disk`;
    device.#log = `${image}.log`;
    device.file = join(folder, 'disk');
    await copySparse(image, device.#disk);
    mkdirSync(folder);
    const daemon = spawn(process.execPath, [DAEMON, folder, device.#disk, device.#log], { stdio: 'inherit' });
    device.#closed = once(daemon, 'close');
    for (const beganMs = monotonicMs(); !existsSync(device.file); await sleep(5)) {
      if (daemon.exitCode === null && monotonicMs() - beganMs < PATIENCE_MS) continue;
      throw new Error('the logged device does not come up: is there /dev/fuse?');
    }
    return device;
  }

  /** Takes what was logged since the last time. */
  async #readLog() {
    const log = await open(this.#log);
    try {
      const { size } = await log.stat();
      const piece = Buffer.alloc(size - this.#readTo);
      await log.read(piece, 0, piece.length, this.#readTo);
      const entries = [...entriesOf(piece)];
      this.#readTo += entries.at(-1)?.endsAt ?? 0;
      this.#entries.push(...entries);
    } finally {
      await log.close();
    }
  }

  /**
   * Makes an image of what the disk may hold if its power goes: in the moment of any write since the last cut, for most
   * of the time its cache is empty.
   */
  async cut(copy, random) {
    await this.#readLog();
    const recent = this.#entries.filter((entry) => entry.t > this.#lastCutMs && !isFlush(entry));
    const cutMs = recent[Math.floor(random() * recent.length)]?.t ?? monotonicMs();
    this.#lastCutMs = cutMs;
    const before = this.#entries.filter(({ t }) => t <= cutMs);
    const durable = before.slice(0, before.findLastIndex(isFlush) + 1);
    await writeInto(this.#base, durable);
    this.#entries.splice(0, durable.length);
    const cached = before.slice(durable.length);
    const { kept, of } = KEPT[Math.floor(random() * KEPT.length)];
    const surviving = of(cached, random);
    await copySparse(this.#base, copy);
    await writeInto(copy, surviving);
    return { beforeMs: cutMs, afterMs: cutMs, kept, cachedBytes: bytesIn(cached), keptBytes: bytesIn(surviving) };
  }

  /** Once the loop device is gone and the folder unmounted. */
  async close() {
    await this.#closed;
    for (const file of [this.#base, this.#disk, this.#log]) rmSync(file);
  }

  get folder() {
    return join(this.file, '..');
  }
}
