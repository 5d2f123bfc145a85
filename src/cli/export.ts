/** `footage export`: any range of a camera as one MP4 file, which appears under its name only when it is whole. */
import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { FootageError, systemCode } from '../errors.ts';
import { checkCameraName } from '../segment/layout.ts';
import type { Session } from '../session/session.ts';
import { parseSpan } from '../time.ts';
import { printJson, progressBar, untilInterrupted, withArchive } from './support.ts';

interface ExportFlags {
  readonly archive: string;
  readonly camera: string;
  readonly start: string;
  readonly end?: string;
  readonly duration?: string;
  readonly gaps: 'collapse' | 'error';
  readonly output: string;
  readonly json?: true;
}

export async function runExport(flags: ExportFlags): Promise<void> {
  const { archive: path, output, json, ...request } = flags;
  // Before the archive is opened: what is refused leaves everything as it was.
  checkCameraName(request.camera);
  parseSpan(request);
  if (output === '-') throw new FootageError('E_USAGE', 'An export is not written to standard output: name a file.');
  const signal = untilInterrupted();
  await withArchive(path, async (archive) => {
    const session = await archive.session(request);
    signal.throwIfAborted();
    await writeWhole(session, output, signal);
    const { manifest } = session;
    if (json === true) printJson({ file: output, lengthBytes: session.length, ...manifest });
    else process.stdout.write(`${output}: ${session.length} bytes\n`);
    if (manifest.missing.length > 0) {
      const seconds = manifest.missing.reduce((sum, span) => sum + span.endUtcMs - span.startUtcMs, 0) / 1000;
      process.stderr.write(`footage: ${seconds.toFixed(3)} s of the range are not recorded (--json lists them)\n`);
    }
  });
}

async function writeWhole(session: Session, output: string, signal: AbortSignal): Promise<void> {
  const existing = await stat(output).catch(() => undefined);
  if (existing?.isDirectory() === true) throw outputError(output, 'it is a folder');
  const partial = `${output}.${process.pid}.part`;
  const bar = progressBar(output, session.length);
  const stream = createWriteStream(partial, { flags: 'wx' });
  const timer = setInterval(() => bar.update(stream.bytesWritten), 200);
  try {
    // Listening from the start: a file that cannot be opened must not be an unhandled event.
    const failed = new Promise<never>((_, reject) => stream.once('error', reject));
    failed.catch(() => undefined);
    await Promise.race([session.send(stream, { signal }), failed]);
    await Promise.race([new Promise<void>((resolve) => stream.end(resolve)), failed]);
    await rename(partial, output);
  } catch (error) {
    stream.destroy();
    // Not before: a file that is still being opened would appear behind its removal.
    if (!stream.closed) await new Promise<void>((resolve) => stream.once('close', resolve));
    await rm(partial, { force: true }).catch(() => undefined);
    // The stream then fails as well, as one that was destroyed.
    signal.throwIfAborted();
    throw stream.errored === null ? error : outputError(output, reasonOf(stream.errored), stream.errored);
  } finally {
    clearInterval(timer);
    bar.stop();
  }
}

function reasonOf(error: Error): string {
  return systemCode(error) === 'ENOENT' ? 'its folder does not exist' : error.message;
}

function outputError(output: string, reason: string, cause?: unknown): FootageError {
  return new FootageError('E_OUTPUT', `${output} cannot be written (${reason}): name another file.`, cause);
}
