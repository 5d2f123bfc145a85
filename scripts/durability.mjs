/**
 * The long run behind the table in docs/durability.md: crash states, kills, power cuts (of a device without a cache, and of one
 * that loses its cache), failures of the disk, damages, hostile input, and with --reference the kills and power cuts of FFmpeg's
 * segment muxer. One after the other, so that nothing disturbs what is measured.
 *
 * npm run test:durability -- [--states 1000000] [--kills 1000] [--cuts 300] [--damages 10000] [--fuzz-seconds 600]
 *   [--reference] [--input FILE] [--json FILE] [--write]
 *
 * 0 leaves a part out. Needs the build, FFmpeg, root, loop devices and /dev/fuse. Prints a summary as JSON, each part with its
 * date and commit; --write puts the table into docs/durability.md. Exit status 1 if a promise did not hold.
 *
 * The whole run takes some five hours. With --json what is over is kept in FILE, part by part and of some in pieces, and what
 * has held there already is not run again: so a run that was interrupted goes on, and parts can be run on different days.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeTable } from './durability/table.mjs';

const here = (name) => join(import.meta.dirname, name);

const { values } = parseArgs({
  options: {
    states: { type: 'string', default: '1000000' },
    kills: { type: 'string', default: '1000' },
    cuts: { type: 'string', default: '300' },
    damages: { type: 'string', default: '10000' },
    'fuzz-seconds': { type: 'string', default: '600' },
    reference: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    input: { type: 'string', default: here('../media/front-door.mp4') },
    json: { type: 'string' },
  },
});

const FAULTS = ['test/durability/faults.test.ts', 'test/recorder/failures.test.ts'];

/**
 * What takes hours is done in such pieces, of which each is kept. With less than 50,000 states for each process the test takes
 * itself for the short one.
 */
const PIECES = { states: 200_000, damages: 1000 };

const script = (name, file, args, count) => ({
  ...{ name, count: Number(count), piece: PIECES[name] ?? Number(count) },
  command: (piece) => [process.execPath, here(file), ...args(piece)],
});

/** What is run. A part that takes --json writes its summary to a file, the others print lines of JSON. */
function plan(folder) {
  const { input, states, kills, cuts, damages, 'fuzz-seconds': fuzzSeconds } = values;
  const report = (name) => join(folder, `${name}.json`);
  const reporting = (name, file, args, count) => ({
    ...script(name, file, (piece) => [...args(piece), '--json', report(name)], count),
    report: report(name),
  });
  const vitest = ['npx', 'vitest', 'run', '--reporter=json', `--outputFile=${report('faults')}`, ...FAULTS];
  return [
    script('states', 'crash-states.mjs', (piece) => ['--states', piece, '--parallel', '2'], states),
    reporting('kills', 'kill-test.mjs', (piece) => ['--input', input, '--kills', piece, '--parallel', '3'], kills),
    reporting('powerCuts', 'power-cuts.mjs', (piece) => ['--cuts', piece], cuts),
    reporting('powerCutsOfCache', 'power-cuts.mjs', (piece) => ['--cuts', piece, '--device', 'logged'], cuts),
    { name: 'faults', count: 1, piece: 1, command: () => vitest, report: report('faults') },
    script('damages', 'damage.mjs', (piece) => ['--count', piece], damages),
    script('fuzz', 'fuzz.mjs', (piece) => ['--seconds', piece], fuzzSeconds),
    reporting('reference', 'durability/reference.mjs', () => ['--input', input], values.reference),
  ].filter(({ count }) => count > 0);
}

let stopped = false;

async function run({ command, report }, piece) {
  const [program, ...args] = command(piece).map(String);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: here('..') });
  const pass = (signal) => {
    stopped = true;
    process.exitCode = 1;
    child.kill(signal);
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, pass);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    process.stderr.write(text);
    output += text;
  });
  const [status] = await once(child, 'close');
  for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, pass);
  return { ok: status === 0, ...(report === undefined ? printed(output) : reported(report)) };
}

/** What an earlier run, or a script, has left in a file of JSON; nothing if there is none. */
const readJson = (file) => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {});

/** The summary in a file, without what it says of each single case. */
function reported(file) {
  const { kills: _kills, cuts: _cuts, results: _results, testResults: _tests, ...summary } = readJson(file);
  return summary;
}

function printed(output) {
  const lines = output.split('\n').filter((line) => line.startsWith('{'));
  const objects = lines.map((line) => JSON.parse(line));
  return objects.length === 1 ? objects[0] : { lines: objects };
}

function commit() {
  return execFileSync('git', ['--no-optional-locks', 'describe', '--always', '--dirty'], {
    cwd: here('..'),
    encoding: 'utf8',
  }).trim();
}

/** One more piece of a part: what is counted is added up. */
function joined(before, piece) {
  if (before === undefined) return piece;
  const counts = Object.keys(piece).filter((key) => typeof piece[key] === 'number' && key !== 'processors');
  const sums = Object.fromEntries(counts.map((key) => [key, before[key] + piece[key]]));
  const commits = new Set([...before.commit.split(', '), piece.commit]);
  return { ...before, ...sums, commit: [...commits].join(', '), ok: piece.ok };
}

/** Runs what is missing of a part, and says after each piece what is shown by now. */
async function runPart(step, before, keep) {
  const machine = { kernel: release(), processors: cpus().length };
  let whole = before?.ok === true ? before : undefined;
  while ((whole?.asked ?? 0) < step.count && whole?.ok !== false) {
    const asked = Math.min(step.piece, step.count - (whole?.asked ?? 0));
    const begun = { date: new Date().toISOString(), commit: commit(), ...machine, asked };
    const beganMs = performance.now();
    const { seed: _, ...shown } = await run(step, asked);
    // A run of hours that is interrupted has shown something, too; the piece that was stopped in the middle has not.
    if (stopped) return;
    whole = joined(whole, { ...begun, ...shown, seconds: Math.round((performance.now() - beganMs) / 1000) });
    await keep(whole);
  }
}

async function main() {
  const folder = await mkdtemp(join(tmpdir(), 'footage-durability-'));
  const result = values.json === undefined ? {} : readJson(values.json);
  const keep = (name) => async (part) => {
    result[name] = part;
    if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(result, undefined, 1)}\n`);
  };
  try {
    for (const step of plan(folder)) {
      await runPart(step, result[step.name], keep(step.name));
      if (stopped) return;
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  console.log(JSON.stringify(result, undefined, 1));
  if (values.write) await writeTable(result, here('../docs/durability.md'));
  process.exitCode = Object.values(result).every(({ ok }) => ok) ? 0 : 1;
}

await main();
