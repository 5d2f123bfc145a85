/**
 * `npm run bench [-- NAME...] [--size-gb N] [--rounds N]`: runs all benchmarks or the named ones, prints their tables and
 * replaces their sections in RESULTS.md. A benchmark is a file here that exports `title` and `measure(options)`.
 */
import { parseArgs } from 'node:util';
import { provenance, writeSection } from './support.mjs';

const BENCHMARKS = ['export-cpu', 'plan', 'scan', 'crc32c'];

function readArguments() {
  const options = {
    'size-gb': { type: 'string', default: '2' },
    rounds: { type: 'string', default: '9' },
    help: { type: 'boolean', default: false },
  };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const unknown = positionals.filter((name) => !BENCHMARKS.includes(name));
  const bytes = Number(values['size-gb']) * 1e9;
  const rounds = Number(values.rounds);
  if (values.help || unknown.length > 0 || !(bytes > 0) || !(Number.isInteger(rounds) && rounds > 0)) {
    console.error(`usage: npm run bench -- [${BENCHMARKS.join('|')}]... [--size-gb N] [--rounds N]`);
    process.exit(values.help ? 0 : 2);
  }
  return { names: positionals.length > 0 ? positionals : BENCHMARKS, bytes, rounds };
}

const { names, ...options } = readArguments();
for (const name of names) {
  const { title, measure } = await import(`./${name}.mjs`);
  const body = await measure(options);
  const section = `${await provenance()}.\n\n${body}`;
  writeSection(title, section);
  console.log(`\n## ${title}\n\n${section}\n`);
}
