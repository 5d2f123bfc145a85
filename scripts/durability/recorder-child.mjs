/**
 * Records made frames of several cameras through the library until it is killed, and says on standard output what is
 * appended and flushed, one JSON line per look: `t` the time at which that was already so (monotonic, ms), `gapMs` since
 * the look before, `given`, `appended`, `flushed` per camera and track; and of each group flush when it began and ended.
 *
 * node recorder-child.mjs '{"root":DIR,"seed":1,"cameras":4,"flushIntervalMs":1000,"segmentDurationMs":2500}'
 *
 * `"flush": false` leaves the flushes out: what is promised then does not hold, and a test must see that.
 */
import { writeSync } from 'node:fs';
import { loadAddon } from '../../dist/native.js';
import { openArchive, openMediaFile } from '../../dist/index.js';
import { monotonicMs } from './clock.mjs';
import { framesInRealTime, sampleTracks } from './frames.mjs';

const LOOK_EVERY_MS = 5;
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

const { root, seed, cameras, flush = true, ...recorder } = JSON.parse(process.argv[2]);

/** Synchronous: what was said is in the pipe even if this process is killed in the next moment. */
function say(line) {
  let rest = Buffer.from(`${JSON.stringify(line)}\n`);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      // The pipe is full. Whoever reads it knows of the delay by the next look.
      if (error.code !== 'EAGAIN') throw error;
      Atomics.wait(PAUSE, 0, 0, 1);
    }
  }
}

/** The addon, which tells of its group flushes; or one that claims to flush. */
function observedNative() {
  const addon = loadAddon();
  let flushes = 0;
  const groupFlush = async (fds) => {
    const id = flushes++;
    say({ flush: id, beganMs: monotonicMs() });
    const result = flush ? await addon.groupFlush(fds) : new Int32Array(fds.length);
    say({ flush: id, endedMs: monotonicMs() });
    return result;
  };
  return { ...addon, groupFlush };
}

function reporter(recordings) {
  let last = '';
  let lookedMs = monotonicMs();
  return () => {
    const stats = recordings.map(({ recording, given }) => ({ ...recording.stats(), given: [...given] }));
    const t = monotonicMs();
    const gapMs = t - lookedMs;
    lookedMs = t;
    const counts = {
      given: stats.map(({ given }) => given),
      appended: stats.map(({ appended }) => appended),
      flushed: stats.map(({ flushed }) => flushed),
    };
    const now = JSON.stringify(counts);
    if (now === last && gapMs < 2 * LOOK_EVERY_MS) return;
    last = now;
    say({ t, gapMs, ...counts });
  };
}

async function main() {
  const tracks = await sampleTracks(openMediaFile);
  const archive = await openArchive(root, { native: observedNative() });
  const recordings = [];
  for (let camera = 0; camera < cameras; camera++) {
    const given = tracks.map(() => 0);
    const frames = framesInRealTime({ seed, camera }, tracks, given);
    recordings.push({ given, recording: await archive.record(`camera${camera}`, { tracks, frames, ...recorder }) });
  }
  setInterval(reporter(recordings), LOOK_EVERY_MS);
  // A recorder that ends by itself has failed: the parent learns of it by the exit.
  await Promise.race(recordings.map(({ recording }) => recording.finished));
  throw new Error('a recording has ended');
}

await main();
