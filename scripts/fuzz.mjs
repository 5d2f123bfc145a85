/**
 * `npm run test:fuzz -- --seconds 600 [--only NAME]`: every fuzzer for so long, two at a time. Prints a line of JSON for
 * each at the end, and the folder of the inputs that fail; exit status 1 if there is one.
 *
 * Needs the build, clang-14 and its runtime.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = join(import.meta.dirname, '..');
const FUZZ = join(ROOT, 'test', 'fuzz');
const BUILD = join(ROOT, 'build-cmake', 'fuzz');
const NATIVE = ['scan', 'crc32c'];
/** By file of tests. */
const SCRIPTED = {
  movies: ['movie', 'codec', 'media-file'],
  segments: ['format', 'scan-twin', 'archive'],
  texts: ['http-fields', 'export-query', 'times-names', 'requests'],
  options: ['options', 'command-line'],
  ingest: ['pipe', 'addresses'],
};

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '600' }, only: { type: 'string' } } });
const seconds = Number(values.seconds);
if (!(seconds >= 1)) throw new Error('--seconds is a number from 1');

/** Runs a program to its end, with what it writes in a file. */
function run(command, args, log, env = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, env: { ...process.env, ...env } });
    const parts = [];
    child.stdout.on('data', (part) => parts.push(part));
    child.stderr.on('data', (part) => parts.push(part));
    child.on('error', reject);
    child.on('close', (status) => {
      const output = Buffer.concat(parts);
      writeFileSync(log, output);
      resolve({ status, output: output.toString('utf8') });
    });
  });
}

async function buildNative(folder) {
  const configure = ['-S', ROOT, '-B', BUILD, '-DFUZZ=ON', '-DCMAKE_CXX_COMPILER=clang++-14'];
  for (const args of [configure, ['--build', BUILD, '--parallel', '2']]) {
    const { status, output } = await run('cmake', args, join(folder, 'build.log'));
    if (status !== 0) throw new Error(`the fuzzers cannot be built:\n${output.slice(-3000)}`);
  }
}

async function fuzzNative(name, folder) {
  const kept = join(folder, `${name}-kept`);
  mkdirSync(kept);
  const inputs = ['corpus', 'regressions'].map((kind) => join(FUZZ, kind, name)).filter((path) => existsSync(path));
  const limits = [`-max_total_time=${seconds}`, '-max_len=65536', '-timeout=15', '-rss_limit_mb=1024'];
  const args = [...limits, '-print_final_stats=1', `-artifact_prefix=${join(folder, name)}-`, kept, ...inputs];
  const fuzzer = join(BUILD, 'test', 'fuzz', 'native', `${name}_fuzzer`);
  const { status, output } = await run(fuzzer, args, join(folder, `${name}.log`));
  const executions = Number(/number_of_executed_units: *(\d+)/.exec(output)?.[1] ?? 0);
  return { target: name, engine: 'libFuzzer', executions, findings: status === 0 ? 0 : 1 };
}

async function fuzzScripted(file, name, folder) {
  const report = join(folder, `${name}.json`);
  const env = {
    FOOTAGE_FUZZ_SECONDS: String(seconds),
    FOOTAGE_FUZZ_REPORT: report,
    FOOTAGE_FUZZ_FINDINGS: folder,
  };
  const args = ['vitest', 'run', `test/fuzz/${file}.test.ts`, '-t', `no input breaks ${name}$`];
  const { status } = await run('npx', args, join(folder, `${name}.log`), env);
  // Who was killed by the watchdog, or died, has written none.
  const { executions, findings } = existsSync(report)
    ? JSON.parse(readFileSync(report, 'utf8'))
    : { executions: 0, findings: [] };
  return {
    target: name,
    engine: 'coverage-guided',
    executions,
    findings: Math.max(findings.length, Number(status !== 0)),
  };
}

const folder = mkdtempSync(join(tmpdir(), 'footage-fuzz-'));
const jobs = [
  ...NATIVE.map((name) => ({ name, start: () => fuzzNative(name, folder) })),
  ...Object.entries(SCRIPTED).flatMap(([file, names]) =>
    names.map((name) => ({ name, start: () => fuzzScripted(file, name, folder) })),
  ),
].filter(({ name }) => values.only === undefined || values.only === name);
if (jobs.length === 0) throw new Error(`there is no fuzzer ${values.only}`);
await buildNative(folder);

const results = [];
async function work() {
  for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) results.push(await job.start());
}
await Promise.all([work(), work()]);

for (const result of results) console.log(JSON.stringify(result));
const inputs = readdirSync(folder).filter((name) => /\.bin$|-(crash|leak|timeout|oom)-/.test(name));
console.log(`${inputs.length} inputs that fail, and all logs, are in ${folder}`);
process.exitCode = results.some(({ findings }) => findings > 0) ? 1 : 0;
