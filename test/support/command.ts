/** The command line as users run it, from the build: to its end, or in the background until a signal. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { onTestFinished } from 'vitest';
import { run } from './run.ts';

export const PROGRAM = join(import.meta.dirname, '..', '..', 'bin', 'footage.cjs');

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `footage ARGS` to its end. */
export async function footage(...args: readonly string[]): Promise<Outcome> {
  const { status, stdout, stderr } = await run(process.execPath, [PROGRAM, ...args], { allowFailure: true });
  return { status, stdout: stdout.toString('utf8'), stderr };
}

export interface Background {
  readonly child: ChildProcess;
  stdout(): string;
  /** Waits until standard output matches; fails when the program ends before, with what it said. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  /** Sends the signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<Outcome & { readonly signal: NodeJS.Signals | null }>;
}

/** Starts `footage ARGS`; what still runs when the test ends is killed. */
export function footageInBackground(args: readonly string[], env: NodeJS.ProcessEnv = {}): Background {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: 'pipe', env: { ...process.env, ...env } });
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const says = async (pattern: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const match = pattern.exec(stdout);
      if (match !== null) return match;
      const more = once(child.stdout, 'data').then(() => 'more');
      if ((await Promise.race([more, closed])) === 'more') continue;
      const last = pattern.exec(stdout);
      if (last !== null) return last;
      throw new Error(`footage ${args.join(' ')} ended and never said ${pattern}:\n${stdout}${stderr}`);
    }
  };
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    const [status, by] = await closed;
    return { status: status ?? -1, signal: by, stdout, stderr };
  };
  return { child, stdout: () => stdout, says, end };
}

/** Every file and folder below `folder`, with the size of the files: what must be equal before and after a failure. */
export async function treeOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const lines = entries.map(async (entry) => {
    const path = join(entry.parentPath, entry.name);
    return `${relative(folder, path)} ${entry.isFile() ? (await stat(path)).size : '/'}`;
  });
  return (await Promise.all(lines)).toSorted();
}
