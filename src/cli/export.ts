/**
 * `footage export`: any range of a camera as one MP4 file, or with `--changes split` as one for each part. A file appears
 * under its name only when it is whole.
 */
import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { format, parse } from 'node:path';
import type { Archive } from '../archive.ts';
import { FootageError, systemCode } from '../errors.ts';
import { checkCameraName } from '../segment/layout.ts';
import type { Manifest } from '../session/manifest.ts';
import { answerPolicy, type SessionRequest } from '../session/request.ts';
import type { Session } from '../session/session.ts';
import { parseSpan } from '../time.ts';
import { printJson, progressBar, untilInterrupted, withArchive } from './support.ts';

interface ExportFlags extends Omit<SessionRequest, 'part'> {
  readonly archive: string;
  readonly output: string;
  readonly json?: true;
}

export async function runExport(flags: ExportFlags): Promise<void> {
  const { archive: path, output, json, ...request } = flags;
  const { camera: _camera, start: _start, end: _end, duration: _duration, ...policy } = request;
  // Before the archive is opened: what is refused leaves everything as it was.
  checkCameraName(request.camera);
  parseSpan(request);
  answerPolicy(policy);
  if (output === '-') throw new FootageError('E_USAGE', 'An export is not written to standard output: name a file.');
  const signal = untilInterrupted();
  await withArchive(path, async (archive) => {
    const { missing } = await writeParts(archive, request, { output, json: json === true, signal });
    if (missing.length > 0) {
      const seconds = missing.reduce((sum, span) => sum + span.endUtcMs - span.startUtcMs, 0) / 1000;
      process.stderr.write(`footage: ${seconds.toFixed(3)} s of the range are not recorded (--json lists them)\n`);
    }
  });
}

interface Writing {
  readonly output: string;
  readonly json: boolean;
  readonly signal: AbortSignal;
}

/** Writes each part of the answer into a file of its own; returns the manifest of the first. */
async function writeParts(archive: Archive, request: SessionRequest, writing: Writing): Promise<Manifest> {
  const first = await archive.session(request);
  const { parts } = first.manifest;
  await writePart(first, parts === 1 ? writing.output : nameOfPart(writing.output, 1), writing);
  for (let part = 2; part <= parts; part++) {
    const session = await archive.session({ ...request, part });
    await writePart(session, nameOfPart(writing.output, part), writing);
  }
  return first.manifest;
}

/** `door.mp4` becomes `door.2.mp4`. */
function nameOfPart(output: string, part: number): string {
  const { dir, name, ext } = parse(output);
  return format({ dir, name: `${name}.${part}`, ext });
}

async function writePart(session: Session, file: string, { json, signal }: Writing): Promise<void> {
  signal.throwIfAborted();
  await writeWhole(session, file, signal);
  if (json) printJson({ file, lengthBytes: session.length, ...session.manifest });
  else process.stdout.write(`${file}: ${session.length} bytes\n`);
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
