/**
 * One plan in a process of its own, measured from the inside: usage `node --expose-gc plan-child.mjs ARCHIVE REQUESTS`,
 * REQUESTS being JSON of some requests. The last one is measured, those before it warm the process up. Prints JSON; a
 * range that is refused gives only the code of the error.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { openArchive } from '../dist/index.js';

const FIRST_BYTES = { start: 0, end: 1024 };

/** Bytes this process has read so far, by calls and from a disk. */
function bytesRead() {
  const io = readFileSync('/proc/self/io', 'utf8');
  const field = (name) => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(io)[1]);
  return { calls: field('rchar'), disk: field('read_bytes') };
}

function memoryKb(name) {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))[1]);
}

function heldBytes() {
  globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function firstSlice(session) {
  for await (const slice of session.slices(FIRST_BYTES)) return slice;
  throw new Error('the answer is empty');
}

async function measure(archive, request) {
  const held = heldBytes();
  // The peak counts from here on (proc(5)).
  writeFileSync('/proc/self/clear_refs', '5');
  const rssKb = memoryKb('VmRSS');
  const read = bytesRead();
  const cpu = process.cpuUsage();
  const begin = performance.now();
  const session = await archive.session(request);
  const planMs = performance.now() - begin;
  const { user, system } = process.cpuUsage(cpu);
  const readAfter = bytesRead();
  await firstSlice(session);
  const firstSliceMs = performance.now() - begin;
  const peakBytes = (memoryKb('VmHWM') - rssKb) * 1024;
  return {
    ...{ planMs, firstSliceMs, peakBytes, heldBytes: heldBytes() - held },
    cpuMs: (user + system) / 1000,
    readBytes: readAfter.calls - read.calls,
    diskBytes: readAfter.disk - read.disk,
    ...{ length: session.length, etag: session.etag, segments: session.manifest.segments.length },
  };
}

const [root, requests] = process.argv.slice(2);
const all = JSON.parse(requests);
const archive = await openArchive(root);
for (const request of all.slice(0, -1)) await firstSlice(await archive.session(request));
const request = all.at(-1);
const result = await measure(archive, request).catch((error) => ({ refused: error.code ?? String(error) }));
console.log(JSON.stringify(result));
await archive.close();
