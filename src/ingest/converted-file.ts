/**
 * A media file that is not read as it is (Matroska, MPEG-TS, AVI, FLV, …), through ffmpeg: it is written anew as MP4 with
 * its samples as they are, into a file without a name, which is gone when it is closed or the process dies.
 */
import type { StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { FootageError, ioError } from '../errors.ts';
import { ChildMessages, findFfmpeg, probe, type ProbedStream, QUIET, startChild } from './ffmpeg.ts';
import { AUDIO_MUXERS, checkVideoCodec, videoTag } from './layout.ts';
import { type MediaFile, openMediaFile } from './media-file.ts';

const OUTPUT_FD = 3;
const ONLY_IN_MP4: ReadonlySet<string> = new Set(['opus', 'av1']);
/** What ffmpeg says of packets that have no times of their own. */
const NO_TIMES = /pts has no value|timestamps are unset/i;
const NOTHING_HIDDEN = { shown: '', redact: (text: string) => text };

/** Whether another reader may understand a file that `openMediaFile` does not. */
function isForAnother(error: unknown): error is FootageError {
  return error instanceof FootageError && (error.code === 'E_INPUT_FORMAT' || error.code === 'E_INPUT_UNSUPPORTED');
}

/**
 * As `openMediaFile`; a file that this cannot read is converted, into `folder`, where there must be as much room as the
 * file has bytes.
 * @throws FootageError as `openMediaFile`, if ffmpeg is missing or cannot read it either; E_DISK_FULL, E_IO; the signal's
 * reason
 */
export async function openAnyMediaFile(path: string, folder: string, signal: AbortSignal): Promise<MediaFile> {
  try {
    return await openMediaFile(path);
  } catch (error) {
    if (!isForAnother(error)) throw error;
    return convert(path, folder, signal, error);
  }
}

/** As `openAnyMediaFile`, as far as that goes without converting. @throws as it */
export async function checkAnyMediaFile(path: string, signal: AbortSignal): Promise<void> {
  try {
    await (await openMediaFile(path)).close();
  } catch (error) {
    if (!isForAnother(error)) throw error;
    await probeOther(path, signal, error);
  }
}

/** What ffmpeg finds in a file that we do not read; `why` says why not. */
async function probeOther(path: string, signal: AbortSignal, why: FootageError): Promise<ProbedStream[]> {
  await findFfmpeg().catch((error: unknown) => {
    throw new FootageError(why.code, `${why.message} With ffmpeg installed it is tried that way, too.`, error);
  });
  const streams = await probe({ url: path, options: {} }, signal).catch(() => {
    signal.throwIfAborted();
    // Neither of us reads it: what we said of it says more.
    throw why;
  });
  for (const { kind, codec } of streams) if (kind === 'video') checkVideoCodec(codec, path);
  return streams;
}

async function convert(path: string, folder: string, signal: AbortSignal, why: FootageError): Promise<MediaFile> {
  const streams = await probeOther(path, signal, why);
  const { args, notes } = conversionOf(streams);
  const output = await openNameless(folder);
  try {
    const whole = ['-i', `file:${path}`, ...args, '-y', `/proc/self/fd/${OUTPUT_FD}`];
    const said = await runConversion(await findFfmpeg(), whole, output, path, signal);
    if (NO_TIMES.test(said) && streams.some(({ reorders }) => reorders)) throw withoutTimes(path);
    return new ConvertedFile(await openMediaFile(`/proc/self/fd/${output.fd}`), notes, output);
  } catch (error) {
    await output.close();
    throw error;
  }
}

/** What ffmpeg is asked to write; one readable line for each track that does not stay as it is. */
function conversionOf(streams: readonly ProbedStream[]): { readonly args: string[]; readonly notes: string[] } {
  const codecs = streams.map(({ codec }) => codec);
  const sounds = streams.filter(({ kind }) => kind === 'audio').map(({ codec }) => codec);
  // QuickTime's format holds everything but Opus and AV1, and G.711 is in no other.
  const isMov =
    sounds.some((codec) => AUDIO_MUXERS.get(codec) === 'mov') && !codecs.some((one) => ONLY_IN_MP4.has(one));
  const isKept = (codec: string) => AUDIO_MUXERS.get(codec) === 'mp4' || (isMov && AUDIO_MUXERS.has(codec));
  const encoders = sounds.flatMap((codec, i) => (isKept(codec) ? [] : [`-c:a:${i}`, 'aac']));
  const tag = videoTag(codecs);
  // V: not the picture on a cover.
  const args = ['-map', '0:V?', '-map', '0:a?', '-c', 'copy', ...encoders, ...tag, '-f', isMov ? 'mov' : 'mp4'];
  const changed = sounds.filter((codec) => !isKept(codec));
  return { args, notes: changed.map((codec) => `its sound (${codec}) as it is: it becomes AAC`) };
}

/** A file that ends with its last descriptor. */
async function openNameless(folder: string): Promise<FileHandle> {
  const name = join(folder, `.converting-${randomUUID()}`);
  try {
    const handle = await open(name, 'wx+');
    await unlink(name);
    return handle;
  } catch (error) {
    throw ioError(error, `converting a file in ${folder}`);
  }
}

/** What ffmpeg has said, once it has ended well. */
async function runConversion(
  ffmpeg: string,
  args: readonly string[],
  output: FileHandle,
  path: string,
  signal: AbortSignal,
): Promise<string> {
  const stdio: StdioOptions = ['ignore', 'ignore', 'pipe', output.fd];
  const child = startChild(ffmpeg, [...QUIET, ...args], { stdio, signal, killSignal: 'SIGKILL' });
  const messages = new ChildMessages(child.stderr as Readable, NOTHING_HIDDEN);
  const [status] = (await once(child, 'close').catch((error: unknown) => {
    signal.throwIfAborted();
    throw ioError(error, 'starting ffmpeg');
  })) as [number | null];
  signal.throwIfAborted();
  if (status === 0) return messages.text;
  const last = messages.text.trim().split('\n').at(-1) ?? '';
  if (/no space left/i.test(messages.text)) {
    throw new FootageError('E_DISK_FULL', `No room left on the disk while converting ${path}: free some space.`);
  }
  throw new FootageError(
    'E_INPUT_FORMAT',
    `${path}: ffmpeg could not convert it (${last}): check that it is a whole media file.`,
  );
}

/** AVI and bare streams do not tell when a picture is presented; with B-frames that is not when it is decoded. */
function withoutTimes(path: string): FootageError {
  return new FootageError(
    'E_INPUT_UNSUPPORTED',
    `${path} does not tell when its pictures are presented: convert it with: ffmpeg -i INPUT -c:v libx264 -c:a aac OUTPUT.mp4.`,
  );
}

class ConvertedFile implements MediaFile {
  readonly tracks: MediaFile['tracks'];
  readonly skipped: readonly string[];
  readonly durationMs: number;
  readonly #file: MediaFile;
  readonly #output: FileHandle;

  constructor(file: MediaFile, notes: readonly string[], output: FileHandle) {
    this.tracks = file.tracks;
    this.skipped = [...file.skipped, ...notes];
    this.durationMs = file.durationMs;
    this.#file = file;
    this.#output = output;
  }

  frames(signal?: AbortSignal): ReturnType<MediaFile['frames']> {
    return this.#file.frames(signal);
  }

  async close(): Promise<void> {
    try {
      await this.#file.close();
    } finally {
      await this.#output.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
