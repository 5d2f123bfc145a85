/**
 * Finding the frames of a segment by its delimiters alone: the addon, its TypeScript twin, and `cat` of the same file as
 * the floor for reading it. `hop` reads delimiters only, `verify` every byte. Elapsed time, with the file in the page cache and without.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { makeCameraSegment } from './archive.mjs';
import { ROOT, alternate, evict, lowerQuartile, run, table, withFolder } from './support.mjs';

export const title = 'Scan of a segment';

const CAT = 'cat > /dev/null';

export async function measure({ bytes, rounds }) {
  const { loadAddon, twin } = await import(pathToFileURL(join(ROOT, 'dist', 'native.js')).href);
  const addon = loadAddon();
  return withFolder(async (folder) => {
    const file = await makeCameraSegment(folder, Math.min(bytes, 1e9));
    const area = scanArea(file, addon);
    const found = await checkEqual([addon, twin], area);
    const results = await alternate(rounds, contestants(addon, twin, area, file));
    closeSync(area.fd);
    return report(results, area, found, rounds);
  });
}

/** Where the delimiters are, and the seed of their checksums: the segment's UUID is in the file's name. */
function scanArea(file, addon) {
  const fd = openSync(file, 'r');
  const { from, to } = mediaData(fd, statSync(file).size);
  const uuid = /-([0-9a-f]{32})\.mp4$/.exec(basename(file))?.[1];
  if (uuid === undefined) throw new Error(`${basename(file)} has no UUID in its name`);
  return { fd, from, to, seed: addon.crc32c(Buffer.from(uuid, 'hex'), 0) };
}

/** The body of `mdat`, found by hopping over the boxes before it (ISO/IEC 14496-12, 4.2). */
function mediaData(fd, size) {
  const head = Buffer.alloc(16);
  for (let at = 0; at < size;) {
    readSync(fd, head, 0, 16, at);
    const short = head.readUInt32BE(0);
    const headerBytes = short === 1 ? 16 : 8;
    const boxBytes = short === 1 ? Number(head.readBigUInt64BE(8)) : short || size - at;
    if (head.toString('latin1', 4, 8) === 'mdat') return { from: at + headerBytes, to: at + boxBytes };
    at += boxBytes;
  }
  throw new Error('the segment has no mdat');
}

const request = (area, verify) => ({ ...area, verify, resync: false, limit: 10_000_000 });

/** Both must find the same records up to the end. */
async function checkEqual(natives, area) {
  const results = [];
  for (const native of natives) results.push(await native.scan(request(area, true)));
  const [first, second] = results;
  if (first.stop !== 'end') throw new Error(`the scan stopped at ${first.next} of ${area.to}: ${first.stop}`);
  if (Buffer.compare(first.records, second.records) !== 0) throw new Error('addon and twin find different records');
  return first.offsets.length;
}

/** A measurement of `work`, in seconds. */
function timed(work) {
  return async () => {
    const began = performance.now();
    await work();
    return (performance.now() - began) / 1000;
  };
}

function contestants(addon, twin, area, file) {
  const cat = timed(() => run('bash', ['-c', 'cat "$1" > /dev/null', 'bash', file]));
  const verify = timed(() => addon.scan(request(area, true)));
  return {
    'addon, hop': timed(() => addon.scan(request(area, false))),
    'twin, hop': timed(() => twin.scan(request(area, false))),
    'addon, verify': verify,
    'twin, verify': timed(() => twin.scan(request(area, true))),
    [CAT]: cat,
    'addon, verify, cold': () => evict(file).then(verify),
    [`${CAT}, cold`]: () => evict(file).then(cat),
  };
}

function report(results, area, records, rounds) {
  const gigabytes = (area.to - area.from) / 1e9;
  const rows = Object.entries(results).map(([name, values]) => {
    const seconds = lowerQuartile(values);
    const cat = lowerQuartile(results[name.endsWith('cold') ? `${CAT}, cold` : CAT]);
    const rates = [(gigabytes / seconds).toFixed(2), Math.round(records / seconds), (cat / seconds).toFixed(2)];
    return [name, (seconds * 1000).toFixed(1), ...rates];
  });
  return [
    `${gigabytes.toFixed(2)} GB with ${records} records (25 pictures a second at 4 Mbit/s, and AAC), lower quartile of ${rounds} alternating rounds; warm page cache, or cold where it says so.\n`,
    table(['', 'ms', 'GB/s', 'records/s', "cat's speed"], rows),
  ].join('\n');
}
