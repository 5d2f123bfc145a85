import * as fc from 'fast-check';
import { test } from 'vitest';
import { appendFileSync } from 'node:fs';
import { withTemporaryFolder } from '../support/tmp.ts';
import { archiveSpecs } from './archives.ts';
import { checkArchive } from './check.ts';
import { rangeSpecs } from './ranges.ts';

const N = Number(process.env.N ?? 10);
const SEED = Number(process.env.S ?? 1);
const ONLY = process.env.ONLY === undefined ? undefined : Number(process.env.ONLY);
test('collect', { timeout: 1_000_000 }, async () => {
  const cases = fc.sample(fc.tuple(archiveSpecs, fc.array(rangeSpecs, { minLength: 12, maxLength: 12 })), { numRuns: N, seed: SEED });
  let ok = 0;
  const log = process.env.LOG ?? '/tmp/h12.log';
  const begin = Date.now();
  for (const [i, [spec, ranges]] of cases.entries()) {
    if (ONLY !== undefined && i !== ONLY) continue;
    if (Date.now() - begin > 95_000) { appendFileSync(log, `stopped at ${i}\n`); break; }
    try {
      await withTemporaryFolder((folder) => checkArchive(folder, spec, ranges));
      ok++;
    } catch (e: any) {
      if (e?.constructor?.name === 'PreconditionFailure') continue;
      const c = e.cause ?? e;
      appendFileSync(log, `== seed ${SEED} case ${i}: ${e.message}\n${String(c.stack ?? c).split('\n').filter((l: string) => !l.includes('node_modules')).slice(0, ONLY === undefined ? 3 : 14).join('\n')}\n` + (ONLY !== undefined ? JSON.stringify(spec) + '\n' + (c.diff ?? '') + '\n' + JSON.stringify({ a: c.actual, e: c.expected })?.slice(0,3000) + '\n' : ''));
    }
  }
  appendFileSync(log, `ok ${ok} of ${N} seed ${SEED}\n`);
});
