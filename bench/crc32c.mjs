/** CRC32C of buffers: the addon (SSE 4.2 where the processor has it) and its TypeScript twin, by the size of a call. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, alternate, lowerQuartile, table } from './support.mjs';

export const title = 'CRC32C';

const SIZES = [32, 1024, 64 * 1024, 4 << 20];
/** Bytes per measurement; the twin gets fewer, since it is slower. */
const WORK_BYTES = { addon: 256 << 20, twin: 32 << 20 };

export async function measure({ rounds }) {
  const { loadAddon, twin } = await import(pathToFileURL(join(ROOT, 'dist', 'native.js')).href);
  const addon = loadAddon();
  const rows = [];
  for (const size of SIZES) {
    const data = randomBytes(size);
    if (addon.crc32c(data) !== twin.crc32c(data)) throw new Error(`addon and twin disagree on ${size} bytes`);
    const speeds = await alternate(rounds, {
      addon: async () => secondsPerGigabyte(addon, data, WORK_BYTES.addon),
      twin: async () => secondsPerGigabyte(twin, data, WORK_BYTES.twin),
    });
    const [ours, theirs] = [lowerQuartile(speeds.addon), lowerQuartile(speeds.twin)];
    rows.push([size, (1 / ours).toFixed(2), (1 / theirs).toFixed(2), (theirs / ours).toFixed(1)]);
  }
  return table(['bytes per call', 'addon GB/s', 'twin GB/s', 'ratio'], rows);
}

function secondsPerGigabyte(native, data, work) {
  // Small calls cost the same each: a fixed number of them is enough to see it.
  const calls = Math.min(Math.ceil(work / data.length), 400_000);
  const began = performance.now();
  for (let i = 0; i < calls; i++) native.crc32c(data);
  const nanoseconds = (performance.now() - began) * 1e6;
  return nanoseconds / (calls * data.length);
}
