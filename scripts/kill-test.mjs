/**
 * Kills recorders at random moments (SIGKILL) and checks what the archive promises for a process crash: every frame that
 * was reported as appended is exported after the recovery, in order and byte for byte as in the source; `verify` finds
 * nothing; and without its catalog the archive lists the same.
 *
 * node scripts/kill-test.mjs --input FILE [--kills 5] [--parallel 2] [--seed 1] [--max-seconds 4]
 *
 * Needs the build and ffprobe. Prints a line per kill, and `N kills, N failed` at the end; exit status 1 if one failed.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs, promisify } from 'node:util';

const FOOTAGE = join(import.meta.dirname, '..', 'bin', 'footage.cjs');
const exec = promisify(execFile);

const { values } = parseArgs({
  options: {
    input: { type: 'string' },
    kills: { type: 'string', default: '5' },
    parallel: { type: 'string', default: '2' },
    seed: { type: 'string', default: '1' },
    'max-seconds': { type: 'string', default: '4' },
  },
});
if (values.input === undefined) {
  console.error('kill-test: name a media file with video and audio as --input');
  process.exit(2);
}

let state = Number(values.seed) >>> 0;
function random() {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 2 ** 32;
}

const footage = (...args) => exec(process.execPath, [FOOTAGE, ...args], { maxBuffer: 2 ** 28 });

/** Hashes of the packets of a file, per kind. */
async function hashes(file) {
  const show = ['-show_packets', '-show_data_hash', 'md5', '-show_entries', 'packet=codec_type,data_hash'];
  const { stdout } = await exec('ffprobe', ['-v', 'error', ...show, '-of', 'csv=p=0', file], { maxBuffer: 2 ** 28 });
  const of = (kind) => stdout.split('\n').flatMap((line) => (line.startsWith(`${kind},`) ? line.split(',')[1] : []));
  return { video: of('video'), audio: of('audio') };
}

/** Records until the moment comes; gives what was reported last. */
async function recordAndKill(archive, afterMs) {
  const args = [FOOTAGE, 'record', '--archive', archive, '--camera', 'door', '--input', values.input, '--json'];
  const recorder = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(recorder, 'exit');
  let last;
  const lines = createInterface({ input: recorder.stdout });
  lines.on('line', (line) => (last = JSON.parse(line)));
  await once(lines, 'line');
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  recorder.kill('SIGKILL');
  const [code, signal] = await ended;
  if (signal !== 'SIGKILL') throw new Error(`the recorder ended by itself (${code ?? signal})`);
  return last;
}

async function removeCatalog(archive) {
  const names = await readdir(archive);
  await Promise.all(names.filter((name) => name.startsWith('catalog.db')).map((name) => rm(join(archive, name))));
}

function checkPrefix(kind, exported, source, reported) {
  const wrong = exported.findIndex((hash, i) => hash !== source[i]);
  if (wrong !== -1) throw new Error(`${kind} packet ${wrong} is not the source's`);
  if (exported.length < reported)
    throw new Error(`${exported.length} ${kind} frames exported, ${reported} were appended`);
}

async function killOnce(source, afterMs) {
  const folder = await mkdtemp(join(tmpdir(), 'footage-kill-'));
  try {
    const archive = join(folder, 'archive');
    const startUtcS = Date.now() / 1000 - 60;
    const reported = await recordAndKill(archive, afterMs);
    await footage('recover', '--archive', archive);
    const output = join(folder, 'export.mp4');
    const range = ['--start', String(startUtcS), '--duration', '3600'];
    await footage('export', '--archive', archive, '--camera', 'door', ...range, '-o', output);
    const exported = await hashes(output);
    checkPrefix('video', exported.video, source.video, reported.appendedVideoFrames);
    checkPrefix('audio', exported.audio, source.audio, reported.appendedAudioFrames);
    await footage('verify', '--archive', archive);
    const before = await footage('list', '--archive', archive, '--json');
    await removeCatalog(archive);
    const after = await footage('list', '--archive', archive, '--json');
    if (before.stdout !== after.stdout) throw new Error('the list differs without the catalog');
    return `${exported.video.length} video, ${exported.audio.length} audio frames, ${reported.appendedVideoFrames} and ${reported.appendedAudioFrames} reported`;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function main() {
  const source = await hashes(values.input);
  if (source.video.length === 0 || source.audio.length === 0) throw new Error('the input needs video and audio');
  const moments = Array.from(
    { length: Number(values.kills) },
    () => random() * (Number(values['max-seconds']) - 1) * 1000,
  );
  let failed = 0;
  const take = async () => {
    for (let afterMs = moments.pop(); afterMs !== undefined; afterMs = moments.pop()) {
      const result = await killOnce(source, afterMs).catch((error) => {
        failed++;
        return `FAILED: ${error.stderr ?? ''}${error.message}`;
      });
      console.log(`killed ${afterMs.toFixed(0)} ms after the first report: ${result}`);
    }
  };
  await Promise.all(Array.from({ length: Number(values.parallel) }, take));
  console.log(`${values.kills} kills, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

await main();
