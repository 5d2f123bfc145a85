/** Runs the client of client.c: to the end of its downloads, or with a measurement in the middle of them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ROOT, run } from './support.mjs';

/** Compiles the client that costs next to nothing. Answers its path. */
export async function buildClient(folder) {
  const client = join(folder, 'client');
  const source = join(ROOT, 'bench', 'client.c');
  await run('gcc', ['-std=c17', '-O2', '-Wall', '-Wextra', '-o', client, source, '-lm']);
  return client;
}

/** Downloads to the end; `options` as client.c has them. Answers { bytes, seconds } of all connections together. */
export async function transfer(client, { port, path }, options = []) {
  const output = await run(client, [...options.map(String), String(port), path]);
  return totals(output.trim());
}

function totals(line) {
  const [bytes, seconds] = line.split(' ').map(Number);
  return { bytes, seconds };
}

/**
 * Measures the middle of downloads (option -t). `onSteady` and `onOver` are called at its borders, while all connections
 * are open. Answers { bytes, seconds, rates: { slowest, lower, median, upper, fastest, withinShare } }.
 */
export async function measureMiddle(client, { port, path }, options, { onSteady, onOver }) {
  const args = [...options.map(String), String(port), path];
  const child = spawn(client, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  let rates;
  let result;
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'steady') await onSteady();
    else if (line === 'over') await onOver();
    else if (line.startsWith('rates ')) rates = ratesOf(line);
    else result = totals(line);
  }
  const [code] = await ended;
  if (code !== 0) throw new Error(`the client of ${port}${path} ended with ${code}`);
  return { ...result, rates };
}

function ratesOf(line) {
  const [slowest, lower, median, upper, fastest, withinShare] = line.split(' ').slice(1).map(Number);
  return { slowest, lower, median, upper, fastest, withinShare };
}
