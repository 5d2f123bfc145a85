/**
 * Random bit flips, zeroed and overwritten blocks, and truncations over all parts of a segment: see damage.ts for what
 * must hold. `npm run test:damage` runs many more of them, by the variables of the environment read here.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../support/tmp.ts';
import { damage, judge, KINDS, makeSubjects, PLACES, randomFrom } from './damage.ts';

const COUNT = Number(process.env['FOOTAGE_DAMAGES'] ?? 500);
const SEED = Number(process.env['FOOTAGE_DAMAGE_SEED'] ?? 1);
const REPORT = process.env['FOOTAGE_DAMAGE_REPORT'];

test(
  'whatever is damaged is found or harmless, and repaired with all frames that are intact',
  async () => {
    const folder = await temporaryFolder();
    for (const name of ['fresh', 'torn', 'mended']) await mkdir(join(folder, name));
    const subjects = await makeSubjects(folder);
    const summary = {
      count: COUNT,
      seed: SEED,
      harmless: 0,
      sound: 0,
      repaired: 0,
      'set-aside': 0,
      removed: 0,
      failed: 0,
    };
    const [kinds, places, failures] = [new Set<string>(), new Set<string>(), [] as string[]];
    for (let i = 0; i < COUNT; i++) {
      for (const subject of subjects.slice(i % 3, (i % 3) + 1)) {
        const hurt = damage(subject, randomFrom(SEED * 1_000_003 + i));
        kinds.add(hurt.kind);
        places.add(hurt.place);
        const verdict = await judge(subject, hurt).catch((error: unknown) => {
          failures.push(`number ${i}: ${String(error)}`);
          return { found: true, outcome: 'failed' as const };
        });
        summary[verdict.outcome]++;
        if (!verdict.found) summary.harmless++;
      }
    }
    if (REPORT !== undefined) await writeFile(REPORT, `${JSON.stringify(summary)}\n`);
    expect(failures.slice(0, 10)).toEqual([]);
    expect(summary.repaired).toBeGreaterThan(COUNT / 2);
    expect(kinds.size).toBe(KINDS.length);
    expect(places.size).toBe(PLACES.length);
  },
  12 * 3_600_000,
);
