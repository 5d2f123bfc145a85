/**
 * Recording comes first: 50 cameras record while 8 clients pull old footage at full speed from the same disk, with a cold
 * cache; with the policy that slows exports down when flushes take long, and without it. How long frames wait to be
 * appended, how far what is durable lags behind, and what the exports get.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { segmentFiles } from './archive.mjs';
import { buildClient } from './client.mjs';
import { ROOT, alternate, built, evict, lowerQuartile, progress, table, withFolder } from './support.mjs';

export const title = 'Recording comes first';

const CAMERAS = 50;
const CLIENTS = 8;
/** Enough for eight clients at the speed of a fast disk. */
const OLD_BYTES = 1.5e9;
const OLD_FRAME_BYTES = 500_000;
const START_UTC_MS = Date.parse('2026-01-01T00:00:00Z');
/** Recording alone, then with exports. */
const QUIET_S = 5;
const BUSY_S = 15;
/** The default of `serve`, which a wait must not exceed. */
const FLUSH_INTERVAL_MS = 1000;

export async function measure({ rounds }) {
  return withFolder(async (folder) => {
    const client = await buildClient(folder);
    const archive = join(folder, 'archive');
    const durationS = await recordOld(archive);
    const contestants = Object.fromEntries(
      ['on', 'off'].map((policy) => [policy, () => oneRound(archive, client, policy, durationS)]),
    );
    return report(await alternate(rounds, contestants), rounds);
  });
}

const oldCamera = (i) => `old${i}`;

/** What the clients will pull; answers how many seconds there are of each camera. */
async function recordOld(root) {
  const { openArchive } = await built('index.js');
  const noise = randomBytes(OLD_FRAME_BYTES);
  const frames = Math.ceil(OLD_BYTES / OLD_FRAME_BYTES);
  async function* pictures() {
    for (let i = 0; i < frames; i++) {
      yield { track: 0, data: noise, dts: i * 3600, compositionOffset: 0, sync: i % 25 === 0 };
    }
  }
  const track = {
    ...{ kind: 'video', codec: 'avc1.640028', timescale: 90_000, width: 1920, height: 1080 },
    config: Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0),
  };
  const archive = await openArchive(root);
  for (let i = 0; i < CLIENTS; i++) {
    progress(`recording what will be pulled: ${i + 1} of ${CLIENTS}`);
    const recording = await archive.record(oldCamera(i), {
      tracks: [track],
      frames: pictures(),
      startUtcMs: START_UTC_MS,
    });
    await recording.finished;
  }
  await archive.close();
  return frames / 25;
}

/** Out of the page cache, once they are on the disk. */
async function forget(root) {
  for (let i = 0; i < CLIENTS; i++) {
    for (const file of segmentFiles(root, oldCamera(i))) await evict(file);
  }
}

async function oneRound(root, client, policy, durationS) {
  await forget(root);
  const seconds = QUIET_S + BUSY_S + 10;
  const args = [join(ROOT, 'bench', 'recording-child.mjs'), root, CAMERAS, seconds, policy].map(String);
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value;
  const stats = async () => {
    child.kill('SIGUSR2');
    return JSON.parse(await next());
  };
  const clients = [];
  try {
    const port = /:(\d+)$/.exec(await next())[1];
    await pause(2);
    await stats();
    await pause(QUIET_S);
    const quiet = await stats();
    for (let i = 0; i < CLIENTS; i++) clients.push(pull(client, port, oldCamera(i), durationS));
    await pause(BUSY_S);
    const busy = await stats();
    return { quiet, busy, exportRate: (busy.sentBytes - quiet.sentBytes) / BUSY_S };
  } finally {
    for (const one of clients) one.kill();
    child.kill();
    await once(child, 'exit');
  }
}

/** Downloads all of a camera, whatever comes of it. */
function pull(client, port, camera, durationS) {
  const path = `/api/cameras/${camera}/export.mp4?start=${START_UTC_MS / 1000}&duration=${durationS}`;
  return spawn(client, [port, path], { stdio: 'ignore' });
}

const pause = (count) => new Promise((resolve) => setTimeout(resolve, count * 1000));

function report(results, rounds) {
  const rows = [];
  for (const [policy, values] of Object.entries(results)) {
    for (const phase of ['quiet', 'busy']) {
      const of = (field) => values.map((value) => value[phase][field]);
      const rate = phase === 'busy' ? (lowerQuartile(values.map(({ exportRate }) => exportRate)) / 1e6).toFixed(0) : '';
      rows.push([
        policy,
        phase === 'quiet' ? 'recording alone' : 'with exports',
        ...['medianMs', 'mostMs'].map((field) => lowerQuartile(of(field)).toFixed(2)),
        Math.max(...of('longestMs')).toFixed(0),
        Math.max(...of('unflushedS')).toFixed(2),
        rate,
      ]);
    }
  }
  const worst = Math.max(...results.on.map(({ busy }) => busy.longestMs));
  const kept = worst <= FLUSH_INTERVAL_MS ? 'No append waited' : 'NOT kept: an append waited';
  return [
    `${CAMERAS} cameras at 4 Mbit/s record while ${CLIENTS} clients pull other cameras' footage at full speed from the same disk, cold; ` +
      `flush interval ${FLUSH_INTERVAL_MS} ms, ${rounds} alternating rounds of ${BUSY_S} s. Waits are those of a frame until it is appended; ` +
      'medians and 99.9 % are lower quartiles of the rounds, the longest is the longest of all, as is the lag: recorded, and not yet durable.\n',
    table(['recording first', '', 'median wait ms', '99.9 % ms', 'longest ms', 'most lag s', 'exports MB/s'], rows),
    '',
    `${kept} longer than the flush interval with the policy on (longest ${worst.toFixed(0)} ms).`,
  ].join('\n');
}
