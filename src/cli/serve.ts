/** `footage serve`: an archive over HTTP, with the web page. */
import { openArchive } from '../archive.ts';
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
}

export async function runServe(flags: ServeFlags): Promise<void> {
  const signal = untilInterrupted();
  const archive = await openArchive(flags.archive, { pacing: pacingOf(flags), create: false });
  try {
    const server = await listen(archive, flags.host, flags.port);
    process.stdout.write(`listening on ${server.url}\n`);
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    await server.close();
  } finally {
    await archive.close();
  }
}

function pacingOf(flags: ServeFlags): PacingOptions {
  return {
    session: { bytesPerSecond: flags.sessionRate, burstBytes: flags.sessionBurst },
    client: { bytesPerSecond: flags.clientRate, burstBytes: flags.clientBurst },
    server: { bytesPerSecond: flags.serverRate, burstBytes: flags.serverBurst },
    ...(flags.realTime === undefined ? {} : { realTime: { factor: flags.realTime } }),
  };
}
