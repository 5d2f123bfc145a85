/**
 * Kills recorders, recoveries and imports at random moments (SIGKILL) and checks what the archive promises for a process
 * crash: every frame that was reported as appended is there after the recovery, in order and byte for byte; `verify`
 * finds nothing; and without its catalog the archive lists the same. The ways to kill are those of durability/kills.mjs.
 *
 * node scripts/kill-test.mjs --input FILE [--kills 5] [--ways record,cameras,…] [--parallel 2] [--seed N]
 *                            [--max-seconds 4] [--json FILE]
 *
 * Needs the build and ffprobe. Prints a line per kill, a summary, and `N kills, N failed` at the end; exit status 1 if
 * one failed.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { KILLS } from './durability/kills.mjs';
import { packetsOf } from './durability/packets.mjs';
import { randomFrom } from './durability/random.mjs';

const { values } = parseArgs({
  options: {
    input: { type: 'string' },
    kills: { type: 'string', default: '5' },
    ways: { type: 'string', default: Object.keys(KILLS).join() },
    parallel: { type: 'string', default: '2' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    'max-seconds': { type: 'string', default: '4' },
    json: { type: 'string' },
  },
});
if (values.input === undefined) {
  console.error('kill-test: name a media file with video and audio as --input');
  process.exit(2);
}

/** The folder of all kills; a signal that ends this process removes it, too. */
const root = mkdtempSync(join(tmpdir(), 'footage-kill-'));
const removeAll = () => rmSync(root, { recursive: true, force: true, maxRetries: 3 });
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    removeAll();
    process.exit(1);
  });
}

async function killOnce(way, context) {
  const folder = await mkdtemp(join(root, `${way}-`));
  try {
    return { way, ...(await KILLS[way].run({ ...context, folder })) };
  } catch (error) {
    return { way, failed: `${error.stderr ?? ''}${error.message}` };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The ways of `count` kills, by their shares; each kill has its own random numbers. */
function planKills(count) {
  const shares = values.ways.split(',').flatMap((way) => Array.from({ length: KILLS[way].share }, () => way));
  return Array.from({ length: count }, (_, i) => ({
    way: shares[Math.floor((i * shares.length) / count)],
    random: randomFrom(Number(values.seed) * 10_007 + i),
  }));
}

function summaryOf(results) {
  return [...new Set(results.map(({ way }) => way))].map((way) => {
    const group = results.filter((one) => one.way === way);
    const total = (name) => group.reduce((sum, one) => sum + (one[name] ?? 0), 0);
    const failed = group.filter((one) => one.failed !== undefined).length;
    const counts = ['framesAppended', 'framesFound', 'segmentsRecovered', 'recoveriesKilled', 'importsKilled'];
    return { way, kills: group.length, failed, ...Object.fromEntries(counts.map((name) => [name, total(name)])) };
  });
}

async function main() {
  const source = await packetsOf(values.input);
  if (source.video.length === 0 || source.audio.length === 0) throw new Error('the input needs video and audio');
  const common = { input: values.input, source, mostSeconds: Number(values['max-seconds']) };
  const plan = planKills(Number(values.kills));
  const results = [];
  const worker = async () => {
    for (let next = plan.shift(); next !== undefined; next = plan.shift()) {
      const result = await killOnce(next.way, { ...common, random: next.random });
      results.push(result);
      console.log(JSON.stringify(result));
    }
  };
  await Promise.all(Array.from({ length: Number(values.parallel) }, worker));
  const failures = results.filter(({ failed }) => failed !== undefined);
  const summary = { seed: Number(values.seed), summary: summaryOf(results), failures };
  console.log(JSON.stringify(summary));
  if (values.json !== undefined)
    await writeFile(values.json, JSON.stringify({ ...summary, kills: results }, undefined, 1));
  console.log(`${results.length} kills, ${failures.length} failed`);
  process.exitCode = failures.length > 0 ? 1 : 0;
}

try {
  await main();
} finally {
  removeAll();
}
