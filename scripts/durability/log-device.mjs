/**
 * A disk that remembers in which order it was written and flushed: a file system (FUSE) with one file, `disk`, for a loop
 * device. Every write and every flush goes into a log, from which logged-images.mjs makes what a power cut could leave of
 * a device with a cache: it may lose, reorder and tear what was written since the last flush.
 *
 * node log-device.mjs MOUNTPOINT IMAGE LOG
 *
 * IMAGE holds the disk's contents. An entry of LOG is `t` (monotonic ms, f64), offset (f64), length (f64), and the bytes;
 * a flush has the offset -1 and no bytes, and is logged when all before it is done, before it is answered. Ends when it is
 * unmounted. Speaks the kernel's protocol itself (include/uapi/linux/fuse.h), one request after the other.
 */
import { spawn } from 'node:child_process';
import { fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { monotonicMs } from './clock.mjs';

const MAX_WRITE = 2 ** 20;
const IN_HEADER_BYTES = 40;
const OUT_HEADER_BYTES = 16;
const WRITE_IN_BYTES = 40;
const DISK = 2n;
const [DIRECTORY_MODE, FILE_MODE] = [0o040755, 0o100600];

const [mountpoint, image, logPath] = process.argv.slice(2);
const disk = openSync(image, 'r+');
const log = openSync(logPath, 'w');
const { size } = fstatSync(disk);
const fuse = openSync('/dev/fuse', 'r+');

function record(offset, bytes) {
  const header = Buffer.from(new Float64Array([monotonicMs(), offset, bytes.length]).buffer);
  writeSync(log, Buffer.concat([header, bytes]));
}

/** struct fuse_attr */
function attributes(node) {
  const attr = Buffer.alloc(88);
  attr.writeBigUInt64LE(node, 0);
  attr.writeBigUInt64LE(BigInt(node === DISK ? size : 0), 8);
  attr.writeUInt32LE(node === DISK ? FILE_MODE : DIRECTORY_MODE, 60);
  attr.writeUInt32LE(1, 64);
  attr.writeUInt32LE(4096, 80);
  return attr;
}

/** struct fuse_init_out: protocol 7.31, big writes in up to 256 pages. */
function init() {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(7, 0);
  out.writeUInt32LE(31, 4);
  out.writeUInt32LE((1 << 5) | (1 << 22), 12);
  out.writeUInt32LE(MAX_WRITE, 20);
  out.writeUInt32LE(1, 24);
  out.writeUInt16LE(MAX_WRITE / 4096, 28);
  return out;
}

/** struct fuse_entry_out; nothing is cached. */
function lookup(body) {
  if (body.toString('latin1').replaceAll('\0', '') !== 'disk') return -constants.errno.ENOENT;
  const out = Buffer.alloc(40);
  out.writeBigUInt64LE(DISK, 0);
  return Buffer.concat([out, attributes(DISK)]);
}

function read(body) {
  const bytes = Buffer.alloc(body.readUInt32LE(16));
  const count = readSync(disk, bytes, 0, bytes.length, Number(body.readBigUInt64LE(8)));
  return bytes.subarray(0, count);
}

function write(body) {
  const offset = Number(body.readBigUInt64LE(8));
  const bytes = body.subarray(WRITE_IN_BYTES, WRITE_IN_BYTES + body.readUInt32LE(16));
  record(offset, bytes);
  writeSync(disk, bytes, 0, bytes.length, offset);
  const out = Buffer.alloc(8);
  out.writeUInt32LE(bytes.length, 0);
  return out;
}

const done = () => Buffer.alloc(0);

/** By opcode: the answer's bytes, or an error number. */
const ANSWERS = {
  1: (_node, body) => lookup(body),
  3: (node) => Buffer.concat([Buffer.alloc(16), attributes(node)]),
  // Opened for direct I/O: every write of the loop device comes here at once.
  14: () => Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
  15: (_node, body) => read(body),
  16: (_node, body) => write(body),
  17: () => Buffer.alloc(80),
  18: done,
  20: () => (record(-1, done()), done()),
  25: done,
  26: init,
  27: () => Buffer.alloc(16),
  29: done,
  38: done,
};
/** Requests that take no answer: forget, interrupt, forget many. */
const SILENT = new Set([2, 36, 42]);

function answer(request) {
  const opcode = request.readUInt32LE(4);
  if (SILENT.has(opcode)) return;
  const made =
    ANSWERS[opcode]?.(request.readBigUInt64LE(16), request.subarray(IN_HEADER_BYTES)) ?? -constants.errno.ENOSYS;
  const bytes = typeof made === 'number' ? done() : made;
  const header = Buffer.alloc(OUT_HEADER_BYTES);
  header.writeUInt32LE(OUT_HEADER_BYTES + bytes.length, 0);
  header.writeInt32LE(typeof made === 'number' ? made : 0, 4);
  request.copy(header, 8, 8, 16);
  writeSync(fuse, Buffer.concat([header, bytes]));
}

/** The next request; undefined when it is unmounted. */
function nextRequest(buffer) {
  for (;;) {
    try {
      return buffer.subarray(0, readSync(fuse, buffer));
    } catch (error) {
      if (error.code === 'ENODEV') return undefined;
      // Not mounted yet; or a request was taken back.
      if (!['EPERM', 'ENOENT', 'EINTR', 'EAGAIN'].includes(error.code)) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

function mount() {
  const options = `fd=3,rootmode=${DIRECTORY_MODE.toString(8)},user_id=0,group_id=0`;
  const args = ['-i', '-t', 'fuse', '-o', options, 'footage-log-device', mountpoint];
  spawn('mount', args, { stdio: ['ignore', 'ignore', 'inherit', fuse] });
}

function serve() {
  const buffer = Buffer.alloc(MAX_WRITE + 2 ** 16);
  for (let request = nextRequest(buffer); request !== undefined; request = nextRequest(buffer)) answer(request);
}

// It goes when it is unmounted, not with a signal to the whole group: what lies on it could not be unmounted then.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => undefined);
mount();
serve();
process.exit(0);
