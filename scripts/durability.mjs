/**
 * The long run of kills and power cuts, for the table in docs/durability.md: kill-test.mjs; power-cuts.mjs, with so many
 * cuts of a device without a cache and as many of one that loses its cache; and with --reference the same for FFmpeg's
 * segment muxer. One after the other, so that nothing disturbs what is measured.
 *
 * npm run test:durability -- [--kills 1000] [--cuts 300] [--reference] [--input FILE] [--json FILE]
 *
 * Needs the build, FFmpeg, root, loop devices and /dev/fuse. Prints a summary as JSON, with date and commit; exit status 1 if a
 * promise did not hold.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const here = (name) => join(import.meta.dirname, name);

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '1000' },
    cuts: { type: 'string', default: '300' },
    reference: { type: 'boolean', default: false },
    input: { type: 'string', default: here('../media/front-door.mp4') },
    json: { type: 'string' },
  },
});

/** What is run; each writes its summary to a file of its own. */
function plan() {
  const input = ['--input', values.input];
  return [
    {
      name: 'kills',
      script: 'kill-test.mjs',
      args: [...input, '--kills', values.kills, '--parallel', '3'],
      count: values.kills,
    },
    { name: 'powerCuts', script: 'power-cuts.mjs', args: ['--cuts', values.cuts], count: values.cuts },
    {
      name: 'powerCutsOfCache',
      script: 'power-cuts.mjs',
      args: ['--cuts', values.cuts, '--device', 'logged'],
      count: values.cuts,
    },
    { name: 'reference', script: 'durability/reference.mjs', args: input, count: values.reference ? '1' : '0' },
  ].filter(({ count }) => Number(count) > 0);
}

async function run({ name, script, args }, folder) {
  const file = join(folder, `${name}.json`);
  const child = spawn(process.execPath, [here(script), ...args, '--json', file], { stdio: 'inherit' });
  const pass = (signal) => child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, pass);
  const [status] = await once(child, 'close');
  for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, pass);
  const {
    kills: _kills,
    cuts: _cuts,
    results: _results,
    ...summary
  } = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  return { ok: status === 0, ...summary };
}

function commit() {
  return execFileSync('git', ['--no-optional-locks', 'describe', '--always', '--dirty'], {
    cwd: here('..'),
    encoding: 'utf8',
  }).trim();
}

async function main() {
  const folder = await mkdtemp(join(tmpdir(), 'footage-durability-'));
  const result = { date: new Date().toISOString(), commit: commit(), kernel: release(), processors: cpus().length };
  try {
    for (const step of plan()) result[step.name] = await run(step, folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const text = JSON.stringify(result, undefined, 1);
  console.log(text);
  if (values.json !== undefined) await writeFile(values.json, `${text}\n`);
  const parts = Object.values(result).filter((part) => typeof part === 'object');
  process.exitCode = parts.every(({ ok }) => ok) ? 0 : 1;
}

await main();
