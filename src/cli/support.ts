/** What several commands share: progress bars, signals, opening an archive that must exist. */
import { SingleBar } from 'cli-progress';
import { type Archive, type ArchiveOptions, openArchive } from '../archive.ts';

export interface Bar {
  /** `total` if it is known better by now. */
  readonly update: (value: number, total?: number) => void;
  readonly stop: () => void;
}

/** A progress bar on standard error, only on a terminal. */
export function progressBar(label: string, total: number): Bar {
  if (!process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
  const bar = new SingleBar({ format: `${label} [{bar}] {percentage}% {eta_formatted}`, stream: process.stderr });
  bar.start(total, 0);
  const update = (value: number, known?: number) => {
    if (known !== undefined) bar.setTotal(known);
    bar.update(value);
  };
  return { update, stop: () => bar.stop() };
}

/** A signal that aborts on SIGINT or SIGTERM. */
export function untilInterrupted(): AbortSignal {
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  return controller.signal;
}

/** Runs `use` with an archive that exists already, and closes it. */
export async function withArchive<T>(
  path: string,
  use: (archive: Archive) => Promise<T>,
  options: ArchiveOptions = {},
): Promise<T> {
  const archive = await openArchive(path, { ...options, create: false });
  try {
    return await use(archive);
  } finally {
    await archive.close();
  }
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

export const iso = (utcMs: number) => new Date(utcMs).toISOString();
