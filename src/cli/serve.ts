/** `footage serve`: an archive over HTTP, with the web page. */
import { type Archive, openArchive, type VerifyReport } from '../archive.ts';
import type { PacingOptions } from '../session/pacing.ts';
import { listen } from './listen.ts';
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
  /** Absent: off. */
  /** How often all segments are read, ms; 0: never. */
  readonly scrub: number;
  readonly scrubRate: number;
}

export async function runServe(flags: ServeFlags): Promise<void> {
  const signal = untilInterrupted();
  const archive = await openArchive(flags.archive, { pacing: pacingOf(flags), create: false });
  try {
    const server = await listen(archive, flags.host, flags.port);
    process.stdout.write(`listening on ${server.url}\n`);
    if (flags.scrub > 0) scrub(archive, flags.scrub, flags.scrubRate, signal);
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    await server.close();
  } finally {
    await archive.close();
  }
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
