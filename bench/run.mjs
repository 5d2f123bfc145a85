/**
 * `npm run bench [-- NAME...] [--size-gb N] [--rounds N] [--seconds N] [--cameras N] [--dry-run]`: runs all benchmarks or the
 * named ones, prints their tables and replaces their sections in RESULTS.md, with `--dry-run` only prints. `--seconds`: how
 * long a round of a steady state is measured. `--cameras`: how many `many-cameras` begins with. A benchmark is a file here that
 * exports `title` and `measure(options)`.
 */
import { parseArgs } from 'node:util';
import { provenance, writeSection } from './support.mjs';

const BENCHMARKS = [
  'export-cpu',
  'fast-clients',
  'paced-clients',
  'client-curve',
  'socket-memory',
  'session-cost',
  'recording-first',
  'many-cameras',
  'plan',
  'scan',
  'startup',
  'crc32c',
];

function readArguments() {
  const options = {
    'size-gb': { type: 'string', default: '2' },
    rounds: { type: 'string', default: '9' },
    seconds: { type: 'string', default: '20' },
    cameras: { type: 'string', default: '500' },
    'dry-run': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const unknown = positionals.filter((name) => !BENCHMARKS.includes(name));
  const bytes = Number(values['size-gb']) * 1e9;
  const rounds = Number(values.rounds);
  const seconds = Number(values.seconds);
  const cameras = Number(values.cameras);
  const counts = [rounds, cameras].every((count) => Number.isInteger(count) && count > 0);
  const valid = bytes > 0 && counts && seconds > 0;
  if (values.help || unknown.length > 0 || !valid) {
    console.error(
      `usage: npm run bench -- [${BENCHMARKS.join('|')}]... [--size-gb N] [--rounds N] [--seconds N] [--cameras N] [--dry-run]`,
    );
    process.exit(values.help ? 0 : 2);
  }
  return {
    names: positionals.length > 0 ? positionals : BENCHMARKS,
    dryRun: values['dry-run'],
    bytes,
    rounds,
    seconds,
    cameras,
  };
}

const { names, dryRun, ...options } = readArguments();
for (const name of names) {
  const { title, measure } = await import(`./${name}.mjs`);
  const body = await measure(options);
  const section = `${await provenance()}.\n\n${body}`;
  if (!dryRun) writeSection(title, section);
  console.log(`\n## ${title}\n\n${section}\n`);
}
