/** Runs programs to their end. A program that is not installed is an error that says so, never a reason to skip. */
import { spawn } from 'node:child_process';
import { systemCode } from '../../src/errors.ts';

export interface RunResult {
  readonly status: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: Uint8Array;
  /** Return a non-zero exit status instead of throwing. */
  readonly allowFailure?: boolean;
}

/** Runs `command`; throws with the end of its stderr if it fails. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const result = await spawnToEnd(command, args, options);
  if (result.status === 0 || options.allowFailure) return result;
  throw new Error(`${command} ${args.join(' ')}\nexit status ${result.status}\n${result.stderr.slice(-4000)}`);
}

function spawnToEnd(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    // A program that ends before it has read its input is judged by its exit status.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
    child.on('error', (error) => reject(explain(error, command)));
    child.on('close', (code, signal) => {
      const status = code ?? (signal === null ? 1 : 128);
      resolve({ status, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString('utf8') });
    });
  });
}

function explain(error: Error, command: string): Error {
  if (systemCode(error) !== 'ENOENT') return error;
  return new Error(`${command} is not installed (or the working folder is missing): run \`npm run setup\``, {
    cause: error,
  });
}
