/** `footage serve`: an archive over HTTP, with the web page. */
import { openArchive } from '../archive.ts';
import { listen } from './listen.ts';
import { untilInterrupted } from './support.ts';

interface ServeFlags {
  readonly archive: string;
  readonly port: number;
  readonly host: string;
  readonly sessionRate: number;
  readonly sessionBurst: number;
}

export async function runServe(flags: ServeFlags): Promise<void> {
  const signal = untilInterrupted();
  const sessionRate = { bytesPerSecond: flags.sessionRate, burstBytes: flags.sessionBurst };
  const archive = await openArchive(flags.archive, { sessionRate, create: false });
  try {
    const server = await listen(archive, flags.host, flags.port);
    process.stdout.write(`listening on ${server.url}\n`);
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    await server.close();
  } finally {
    await archive.close();
  }
}
