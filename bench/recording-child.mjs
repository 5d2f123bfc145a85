/**
 * An archive that records and serves at once, in a process of its own: usage
 * `node recording-child.mjs ARCHIVE CAMERAS SECONDS on|off`, the last being whether recording comes first. Each camera
 * sends 25 pictures a second at 4 Mbit/s, at its own moment. Prints `listening on http://HOST:PORT`, and at each SIGUSR2 a
 * line of JSON: what has happened since the one before.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { openArchive } from '../dist/index.js';

const PICTURES_PER_SECOND = 25;
const GOP = 50;
const KEY_BYTES = 120_000;
const PICTURE_BYTES = 18_000;
const VIDEO = {
  ...{ kind: 'video', codec: 'avc1.640028', timescale: 90_000, width: 1920, height: 1080 },
  config: Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0),
};

const [root, cameras, seconds, policy] = process.argv.slice(2);
const archive = await openArchive(root, { pacing: { recordingFirst: policy === 'on' } });
const noise = randomBytes(8 << 20);
/** How long each frame waited, from being offered to being asked for the next one, ms. */
const waitsMs = [];

/** In real time: a camera sends no faster, and what the recorder did not take in time waits. */
async function* framesOf(camera) {
  const beginMs = performance.now() + (camera * 1000) / PICTURES_PER_SECOND / Number(cameras);
  for (let i = 0; i < Number(seconds) * PICTURES_PER_SECOND; i++) {
    const dueMs = beginMs + (i * 1000) / PICTURES_PER_SECOND;
    const earlyMs = dueMs - performance.now();
    if (earlyMs > 0) await new Promise((resolve) => setTimeout(resolve, earlyMs));
    const sync = i % GOP === 0;
    const size = sync ? KEY_BYTES : PICTURE_BYTES;
    const at = ((camera * 7919 + i) * 4099) % (noise.length - size);
    const offeredMs = performance.now();
    yield { track: 0, data: noise.subarray(at, at + size), dts: i * 3600, compositionOffset: 0, sync };
    waitsMs.push(performance.now() - offeredMs);
  }
}

const server = createServer(archive.handler());
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const recordings = [];
for (let camera = 0; camera < Number(cameras); camera++) {
  recordings.push(await archive.record(`live${camera}`, { tracks: [VIDEO], frames: framesOf(camera) }));
}
console.log(`listening on http://127.0.0.1:${server.address().port}`);
/** How far what is durable is behind what was recorded, of the worst camera: pictures, looked at ten times a second. */
let unflushed = 0;
setInterval(() => {
  for (const recording of recordings) {
    const { appended, flushed } = recording.stats();
    unflushed = Math.max(unflushed, appended[0] - flushed[0]);
  }
}, 100).unref();
process.on('SIGUSR2', () => {
  const { sending } = archive.stats();
  const waits = waitsMs.splice(0).toSorted((a, b) => a - b);
  const at = (share) => waits[Math.min(waits.length - 1, Math.floor(share * waits.length))] ?? 0;
  console.log(
    JSON.stringify({
      frames: waits.length,
      ...{ medianMs: at(0.5), mostMs: at(0.999), longestMs: waits.at(-1) ?? 0 },
      unflushedS: unflushed / PICTURES_PER_SECOND,
      sentBytes: sending.bytes.native + sending.bytes.stream,
    }),
  );
  unflushed = 0;
});
await Promise.all(recordings.map((recording) => recording.finished));
server.closeAllConnections();
server.close();
await archive.close();
