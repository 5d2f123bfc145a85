/** Runs a script of this project as its users do, and ends it when the test ends: it may have mounted file systems. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export interface ScriptResult {
  readonly status: number | null;
  /** Standard output and standard error. */
  readonly output: string;
}

export async function runScript(name: string, ...args: readonly string[]): Promise<ScriptResult> {
  const script = join(import.meta.dirname, '..', '..', 'scripts', name);
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = once(child, 'close') as Promise<[number | null]>;
  onTestFinished(async () => {
    child.kill('SIGTERM');
    await closed;
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)));
  const [status] = await closed;
  return { status, output };
}
