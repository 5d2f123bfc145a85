/** `footage serve`: an archive over HTTP, with the web page. */
import { readFile } from 'node:fs/promises';
import { type Archive, type CameraOptions, openArchive, type VerifyReport } from '../archive.ts';
import { FootageError } from '../errors.ts';
import type { PacingOptions } from '../session/pacing.ts';
import { listen } from './listen.ts';
import { hideTitle, tell } from './live.ts';
import { untilInterrupted } from './support.ts';

interface ServeFlags {
  readonly archive: string;
  readonly port: number;
  readonly host: string;
  readonly sessionRate: number;
  readonly sessionBurst: number;
  readonly clientRate: number;
  readonly clientBurst: number;
  readonly serverRate: number;
  readonly serverBurst: number;
  readonly realTime?: number;
  /** Addresses by name. */
  readonly camera: Readonly<Record<string, string>>;
  readonly cameras?: string;
  /** How often all segments are read, ms; 0: never. */
  readonly scrub: number;
  readonly scrubRate: number;
}

export async function runServe(flags: ServeFlags): Promise<void> {
  const signal = untilInterrupted();
  const cameras = new Map([...Object.entries(flags.camera), ...(await readCameras(flags.cameras))]);
  if (Object.keys(flags.camera).length > 0) hideTitle('footage serve');
  // What is recorded into may be new; what is only shown is there.
  const archive = await openArchive(flags.archive, { pacing: pacingOf(flags), create: cameras.size > 0 });
  try {
    for (const [name, options] of cameras) connect(archive, name, options);
    const server = await listen(archive, flags.host, flags.port);
    process.stdout.write(`listening on ${server.url}\n`);
    if (flags.scrub > 0) scrub(archive, flags.scrub, flags.scrubRate, signal);
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    await server.close();
  } finally {
    await archive.close();
  }
}

/** @throws FootageError E_USAGE for choices that are none */
function connect(archive: Archive, name: string, options: string | CameraOptions): void {
  try {
    tell(archive.camera(name, typeof options === 'string' ? { source: options } : options));
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    throw new FootageError('E_USAGE', `Camera "${name}": ${error.message}. See docs/cameras.md.`, error);
  }
}

/** The file of --cameras: an object of JSON, with the address or the options of each camera by its name. */
async function readCameras(path: string | undefined): Promise<[string, string | CameraOptions][]> {
  if (path === undefined) return [];
  const refuse = (why: string, cause?: unknown) =>
    new FootageError('E_USAGE', `${path}: ${why}; docs/cameras.md shows what belongs there.`, cause);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw refuse('it cannot be read', error);
  });
  let cameras: unknown;
  try {
    cameras = JSON.parse(text);
  } catch (error) {
    // What the parser says quotes the file, and passwords with it.
    throw refuse('it is not valid JSON', error instanceof SyntaxError ? undefined : error);
  }
  if (typeof cameras !== 'object' || cameras === null || Array.isArray(cameras)) throw refuse('it holds no object');
  return Object.entries(cameras).map(([name, options]: [string, unknown]) => {
    if (typeof options === 'string') return [name, options];
    // Checked key by key when the camera is connected.
    if (typeof options === 'object' && options !== null && 'source' in options) return [name, options as CameraOptions];
    throw refuse(`camera "${name}" has neither an address nor an object with a source`);
  });
}

/** In the background; what it finds is a line of JSON on standard error. */
function scrub(archive: Archive, periodMs: number, bytesPerSecond: number, signal: AbortSignal): void {
  if (archive.readOnly) return;
  archive.scrub({ periodMs, bytesPerSecond, onReport: logProblems, signal }).catch((error: unknown) => {
    process.stderr.write(`footage: the scrub has ended: ${String(error)}\n`);
  });
}

function logProblems({ camera, path, problems }: VerifyReport): void {
  if (problems.length > 0) process.stderr.write(`${JSON.stringify({ scrub: { camera, path, problems } })}\n`);
}

function pacingOf(flags: ServeFlags): PacingOptions {
  return {
    session: { bytesPerSecond: flags.sessionRate, burstBytes: flags.sessionBurst },
    client: { bytesPerSecond: flags.clientRate, burstBytes: flags.clientBurst },
    server: { bytesPerSecond: flags.serverRate, burstBytes: flags.serverBurst },
    ...(flags.realTime === undefined ? {} : { realTime: { factor: flags.realTime } }),
  };
}
