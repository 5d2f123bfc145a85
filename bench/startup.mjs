/**
 * Opening an archive of many segments: with its catalog, and without, when the catalog is made anew from the files. Each in
 * a process of its own; what the disk's cache holds is said. The peer is `find`, which only lists the files.
 */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { ROOT, alternate, built, dropCaches, lowerQuartile, progress, table, withFolder } from './support.mjs';

export const title = 'Opening an archive of 100,000 segments';

const SEGMENTS = 100_000;
const CAMERAS = 50;
const START_UTC_MS = Date.parse('2026-01-01T00:00:00Z');
const SEGMENT_MS = 3_600_000;
const PICTURES = 25;
/** Segments made at once. */
const AT_ONCE = 16;
const exec = promisify(execFile);

export async function measure({ rounds }) {
  return withFolder(async (folder) => {
    await makeSegments(folder);
    const bytes = Number((await exec('du', ['-sb', folder])).stdout.split('\t')[0]);
    await open(folder);
    const some = Math.min(rounds, 3);
    const warm = await alternate(some, {
      'open, with its catalog': () => open(folder),
      'open, catalog made anew': () => withoutCatalog(folder),
      'find -name "*.mp4"': () => find(folder),
    });
    const cold = await alternate(some, {
      'open, with its catalog, cold cache': () => dropCaches().then(() => open(folder)),
      'open, catalog made anew, cold cache': () => dropCaches().then(() => withoutCatalog(folder)),
    });
    return report({ ...warm, ...cold }, bytes, some);
  });
}

/** One second of pictures in each: what counts here is how many files there are. */
async function makeSegments(folder) {
  const io = await unsyncedIo();
  for (let camera = 0; camera < CAMERAS; camera++) {
    const directory = join(folder, `camera-${camera}`);
    for (let first = 0; first < SEGMENTS / CAMERAS; first += AT_ONCE) {
      const numbers = Array.from({ length: Math.min(AT_ONCE, SEGMENTS / CAMERAS - first) }, (_, i) => first + i);
      await Promise.all(numbers.map((number) => makeSegment(io, directory, camera, number)));
    }
    progress(`camera ${camera + 1} of ${CAMERAS}`);
  }
}

/** A disk without syncs: nothing is measured of the making. */
async function unsyncedIo() {
  const { native } = await built('native.js');
  const { GroupFlusher } = await built('segment/flusher.js');
  const { nodeDisk } = await built('segment/disk.js');
  const flusher = new GroupFlusher({ ...native, groupFlush: async (fds) => new Int32Array(fds.length) });
  const open = async (path, flags) => unsynced(await nodeDisk.open(path, flags));
  return { native, flusher, disk: { ...nodeDisk, open } };
}

/** A file whose sync does nothing. */
const unsynced = (file) => ({
  fd: file.fd,
  read: (...args) => file.read(...args),
  writev: (...args) => file.writev(...args),
  stat: () => file.stat(),
  truncate: (length) => file.truncate(length),
  sync: async () => undefined,
  close: () => file.close(),
});

const hex = (...numbers) => numbers.map((number) => number.toString(16).padStart(8, '0')).join('');

const TRACK = {
  ...{ kind: 'video', codec: 'avc1.640028', timescale: 90_000, width: 640, height: 360 },
  config: Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0),
};

async function makeSegment(io, directory, camera, number) {
  const { SegmentWriter } = await built('segment/writer.js');
  const startUtcMs = START_UTC_MS + number * SEGMENT_MS;
  const dts = number * SEGMENT_MS * 90;
  const head = {
    ...{
      segment: hex(1, camera, number, 7),
      camera: hex(2, camera, 0, 0),
      run: hex(3, camera, 0, 0),
      sequence: number,
    },
    anchor: { track: 0, dts, utcMs: startUtcMs, discontinuity: false },
    tracks: [{ kind: TRACK.kind, timescale: TRACK.timescale }],
  };
  const writer = await SegmentWriter.create({
    ...{ ...io, directory, startUtcMs, head, tracks: [TRACK], anchors: [], indexIntervalMs: 1e9 },
  });
  for (let i = 0; i < PICTURES; i++) writer.append([await picture(writer, io.native.crc32c, dts + i * 3600, i === 0)]);
  await writer.seal([{ endDts: dts + PICTURES * 3600, estimated: false }]);
  await writer.discardIndex();
  await writer.close();
}

async function picture(writer, crc32c, dts, sync) {
  const { RecordFlag, RecordType, encodeRecord } = await built('format/delimiter.js');
  const flags = sync ? RecordFlag.sync : 0;
  const fields = { type: RecordType.frame, flags, track: 0, configuration: 0, compositionOffset: 0, dts };
  return encodeRecord(fields, new Uint8Array(40), writer.seed, crc32c);
}

/** Seconds until the archive is open, in a new process. */
async function open(folder) {
  const code = `
    const { openArchive } = await import(${JSON.stringify(pathToFileURL(join(ROOT, 'dist', 'index.js')).href)});
    const began = performance.now();
    const archive = await openArchive(${JSON.stringify(folder)});
    console.log((performance.now() - began) / 1000, (await archive.cameras()).reduce((sum, { segments }) => sum + segments, 0));
    await archive.close();`;
  const { stdout } = await exec(process.execPath, ['--input-type=module', '-e', code]);
  const [seconds, count] = stdout.split(' ').map(Number);
  if (count !== SEGMENTS) throw new Error(`${count} segments were found`);
  return seconds;
}

async function withoutCatalog(folder) {
  for (const name of ['catalog.db', 'catalog.db-wal', 'catalog.db-shm']) await rm(join(folder, name), { force: true });
  return open(folder);
}

async function find(folder) {
  const began = performance.now();
  await exec('find', [folder, '-name', '*.mp4'], { maxBuffer: 2 ** 28 });
  return (performance.now() - began) / 1000;
}

function report(results, bytes, rounds) {
  const rows = Object.entries(results).map(([name, values]) => [name, lowerQuartile(values).toFixed(2)]);
  return [
    `${SEGMENTS} segments of ${CAMERAS} cameras, ${(bytes / 1e9).toFixed(2)} GB; seconds, lower quartile of ${rounds} rounds. The goal: 2 s with the catalog, 60 s without.\n`,
    table(['', 's'], rows),
  ].join('\n');
}
