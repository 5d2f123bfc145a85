/** Long runs of a vitest file in parts, each in a process and with a seed of its own, and their summaries. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Runs `count` cases of `file` in `parallel` parts. `variables` are the names of the environment variables that tell the
 * test how many cases, which seed, and where its summary goes. Answers { ok, summary } for each part; `summary` is
 * undefined of a part that came to no end. What the tests print goes to standard error.
 */
export async function runParts({ file, count, seed, parallel, variables }) {
  const folder = await mkdtemp(join(tmpdir(), 'footage-parts-'));
  const part = async (index) => {
    const report = join(folder, `${index}.json`);
    const env = {
      ...process.env,
      [variables.count]: String(Math.ceil(count / parallel)),
      [variables.seed]: String(seed + index),
      [variables.report]: report,
    };
    const child = spawn('npx', ['vitest', 'run', file], { stdio: ['ignore', 2, 2], env });
    const [status] = await once(child, 'close');
    const summary = await readFile(report, 'utf8').then(JSON.parse, () => undefined);
    if (summary === undefined) console.error(`The part with seed ${seed + index} did not come to its end.`);
    return { ok: status === 0 && summary !== undefined, summary };
  };
  try {
    return await Promise.all(Array.from({ length: parallel }, (_, index) => part(index)));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The sum of a number of the summaries. */
export function total(parts, field) {
  return parts.reduce((sum, { summary }) => sum + (summary?.[field] ?? 0), 0);
}
