/**
 * A camera for tests: a process of its own (rtsp_camera.py) that serves streams over RTSP on 127.0.0.1, over TCP and UDP,
 * and can stand still, die and come back. It dies with the process that started it.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { mountOf, type Mount, type Stream } from './stream.ts';

export interface CameraOptions {
  /** Any free one unless told; kept by `restart()`. */
  readonly port?: number;
  /** Both or none: without them the camera lets everybody in. */
  readonly user?: string;
  readonly password?: string;
  /** How the password is asked for; `digest` unless told. */
  readonly auth?: 'basic' | 'digest';
  /** What the camera thinks the time is, against the truth: seen in RTCP sender reports only. */
  readonly wrongClockOffsetS?: number;
  /** The camera's media run faster than they say by so many parts per million. */
  readonly clockPpm?: number;
}

export interface TestCamera {
  readonly port: number;
  /** Process id of the camera as it runs now. */
  readonly pid: number;
  /** Address of a mount, with the user's name and password if the camera wants them. */
  url(path: string): string;
  /** Address of a mount without name and password. */
  publicUrl(path: string): string;
  /** The camera stands still, connections stay open. */
  stall(): void;
  resume(): void;
  /** The camera is gone at once, and its connections with it. */
  kill(): Promise<void>;
  /** The camera comes back at the same port, and begins its streams anew. */
  restart(): Promise<void>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

interface Description {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly auth: 'basic' | 'digest';
  readonly clockPpm: number;
  readonly mounts: readonly Mount[];
}

type CameraProcess = ChildProcessByStdio<Writable, Readable, Readable>;

const PROGRAM = join(import.meta.dirname, 'rtsp_camera.py');
/** Debian's own, which finds the modules that Debian packages bring. */
const PYTHON = '/usr/bin/python3';

/** Starts a camera that serves each stream at its path, and waits until clients may connect. */
export async function startCamera(
  streams: Readonly<Record<string, Stream>>,
  options: CameraOptions = {},
): Promise<TestCamera> {
  const { port = 0, user = '', password = '', auth = 'digest', clockPpm = 0, wrongClockOffsetS = 0 } = options;
  if ((user === '') !== (password === '')) throw new TypeError('a camera needs both a user and a password, or none');
  const mounts = Object.entries(streams).map(([path, stream]) => mountOf(path, stream));
  const environment = await clockEnvironment(wrongClockOffsetS);
  const camera = new RunningCamera({ port, user, password, auth, clockPpm, mounts }, environment);
  await camera.restart();
  return camera;
}

class RunningCamera implements TestCamera {
  #description: Description;
  readonly #environment: NodeJS.ProcessEnv;
  #child: CameraProcess | undefined;
  /** Of the last child, which may end before it is asked to. */
  #closed: Promise<unknown> = Promise.resolve();

  constructor(description: Description, environment: NodeJS.ProcessEnv) {
    this.#description = description;
    this.#environment = environment;
  }

  get port(): number {
    return this.#description.port;
  }

  get pid(): number {
    return this.#running().pid ?? 0;
  }

  url(path: string): string {
    const { user, password } = this.#description;
    const secret = user === '' ? '' : `${encodeURIComponent(user)}:${encodeURIComponent(password)}@`;
    return `rtsp://${secret}127.0.0.1:${this.port}/${path}`;
  }

  publicUrl(path: string): string {
    return `rtsp://127.0.0.1:${this.port}/${path}`;
  }

  stall(): void {
    this.#running().kill('SIGSTOP');
  }

  resume(): void {
    this.#running().kill('SIGCONT');
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    child.kill('SIGKILL');
    await this.#closed;
  }

  async restart(): Promise<void> {
    await this.kill();
    const child = spawn(PYTHON, [PROGRAM], { stdio: 'pipe', env: { ...process.env, ...this.#environment } });
    this.#child = child;
    this.#closed = new Promise((resolve) => child.on('close', resolve));
    // A camera that ends before it has read its description is judged by what it says.
    child.stdin.on('error', () => undefined);
    child.stdin.write(`${JSON.stringify(this.#description)}\n`);
    const port = await portOf(child);
    this.#description = { ...this.#description, port };
  }

  close(): Promise<void> {
    return this.kill();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #running(): CameraProcess {
    if (this.#child === undefined) throw new Error('the camera does not run: it was killed or closed');
    return this.#child;
  }
}

/** The port that the camera says it is ready at; an error with all it said if it ends before. */
function portOf(child: CameraProcess): Promise<number> {
  let [stdout, stderr] = ['', ''];
  return new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      stdout += String(chunk);
      const match = /^ready (\d+)$/m.exec(stdout);
      if (match !== null) resolve(Number(match[1]));
    });
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const end = signal ?? `status ${code}`;
      reject(
        new Error(`the test camera did not start (${end}); run \`npm run setup\` if modules are missing\n${stderr}`),
      );
    });
  });
}

/** The library is preloaded without the program around it, which would keep signals from the camera. */
async function clockEnvironment(offsetS: number): Promise<NodeJS.ProcessEnv> {
  if (offsetS === 0) return {};
  const FAKETIME = `${offsetS < 0 ? '' : '+'}${offsetS}s`;
  // With threads; the monotonic clock stays right, so the media keep their pace.
  return { LD_PRELOAD: await libfaketime(), FAKETIME, FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' };
}

async function libfaketime(): Promise<string> {
  for (const folder of await readdir('/usr/lib')) {
    const path = `/usr/lib/${folder}/faketime/libfaketimeMT.so.1`;
    const there = await access(path).then(
      () => true,
      () => false,
    );
    if (there) return path;
  }
  throw new Error('faketime is not installed: run `npm run setup`');
}
