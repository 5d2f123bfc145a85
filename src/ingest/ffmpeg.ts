/**
 * The `ffmpeg` of the system: finding it, asking what an input holds, and what its messages mean. It reaches cameras and
 * reads containers; codecs are copied, never decoded, except sound that cannot be kept as it is.
 *
 * Addresses go to it through a pipe (a list for its concat demuxer), so that no password is on a command line.
 */
import { type ChildProcess, execFile, spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { basename, dirname, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';
import { type ErrorCode, FootageError, systemCode } from '../errors.ts';
import { type HiddenAddress, hideSecrets, isAddress } from './secrets.ts';

/** `option` in lists of the concat demuxer came with it. */
const OLDEST_MAJOR = 5;
const INSTALL = 'install it (on Debian: apt-get install ffmpeg), or name another one with FOOTAGE_FFMPEG';
/** What an address may be opened with; files of this machine are not among it. */
const PROTOCOLS =
  'pipe,fd,rtsp,rtsps,rtp,srtp,rtmp,rtmps,rtmpt,rtmpe,rtmpte,rtmpts,ffrtmphttp,ffrtmpcrypt,srt,udp,tcp,tls,http,https,httpproxy,crypto,data';
/** What every child that writes is told first. */
export const QUIET = ['-nostdin', '-hide_banner', '-loglevel', 'warning'] as const;
/** File descriptor of a child through which it gets its list of inputs. */
export const LIST_FD = 3;
const MAX_MESSAGE_CHARACTERS = 16_384;
const MAX_DETAIL_CHARACTERS = 300;
/** Lines at the end of what a child says that tell why it ended. */
const MEANT_LINES = 5;
/** For what tells its version only. */
const VERSION_MS = 10_000;

/** What is read: an address, or the path of a file or a device, with options for ffmpeg's demuxer or protocol. */
export interface FfmpegInput {
  readonly url: string;
  /** E.g. `{ rtsp_transport: 'udp' }`. */
  readonly options: Readonly<Record<string, string>>;
}

export interface ProbedStream {
  readonly kind: 'video' | 'audio';
  /** FFmpeg's name of the codec, e.g. `h264`. */
  readonly codec: string;
  /** Pictures are presented in another order than they are decoded (B-frames). */
  readonly reorders?: true;
}

/** The program, checked once for each path. */
const checked = new Map<string, Promise<string>>();

/** The path of an ffmpeg that is new enough. @throws FootageError E_FFMPEG */
export function findFfmpeg(): Promise<string> {
  const path = process.env['FOOTAGE_FFMPEG'] || 'ffmpeg';
  const known = checked.get(path);
  if (known !== undefined) return known;
  const checking = checkVersion(path);
  checked.set(path, checking);
  // Whoever installs it need not start anew.
  checking.catch(() => checked.delete(path));
  return checking;
}

async function checkVersion(path: string): Promise<string> {
  const limits = { timeout: VERSION_MS, killSignal: 'SIGKILL' } as const;
  const output = await promisify(execFile)(path, ['-hide_banner', '-version'], limits).then(
    ({ stdout }) => stdout,
    (error: unknown) => {
      const why = systemCode(error) === 'ENOENT' ? 'is not there' : 'cannot be run';
      throw new FootageError('E_FFMPEG', `Cameras are reached with ffmpeg, and "${path}" ${why}: ${INSTALL}.`, error);
    },
  );
  const [, version, major] = /^ffmpeg version (\D?(\d+)\S*)/.exec(output) ?? [];
  // A build from its sources has a date or a commit for a version.
  if (!output.startsWith('ffmpeg version ')) {
    throw new FootageError('E_FFMPEG', `"${path}" does not say that it is ffmpeg: ${INSTALL}.`);
  }
  if (major !== undefined && Number(major) < OLDEST_MAJOR) {
    throw new FootageError(
      'E_FFMPEG',
      `ffmpeg ${version} is too old, ${OLDEST_MAJOR}.0 or newer is needed: ${INSTALL}.`,
    );
  }
  return path;
}

/** Everything that a child writes until it ends; it must end well. */
async function textOf(child: ChildProcess, output: Readable): Promise<string> {
  const closed = once(child, 'close');
  // The stream may fail with the child; what counts is how the child ends.
  const chunks: Buffer[] = [];
  output.on('data', (chunk: Buffer) => chunks.push(chunk));
  await closed;
  return Buffer.concat(chunks).toString('utf8');
}

/** Starts a child with pipes. @throws FootageError E_FFMPEG where not even a pipe can be made */
export function startChild(path: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const child = spawn(path, args, options);
  // Without a free file descriptor there is a child without its pipes, and an error that comes later.
  if ((child.stdio as unknown) !== undefined) return child;
  child.on('error', () => undefined);
  throw new FootageError(
    'E_FFMPEG',
    'ffmpeg cannot be started, this process has too many files open: raise its limit (ulimit -n).',
  );
}

/**
 * The arguments that open an input, and what goes through `LIST_FD`.
 * @throws FootageError E_USAGE for what cannot be written in a list
 */
export function inputArguments({ url, options }: FfmpegInput): { readonly args: string[]; readonly list: string } {
  const set = Object.entries(options);
  for (const [key] of set) checkOptionKey(key);
  if (!isAddress(url)) {
    // The name of a device is its demuxer's own (`-f v4l2 -i /dev/video0`); that of a file may look like anything.
    const name = 'f' in options && !url.startsWith('-') ? url : `file:${url}`;
    return { args: [...set.flatMap(([key, value]) => [`-${key}`, value]), '-i', name], list: '' };
  }
  // Keys are not quoted: the list takes quotes for a part of them, and then the option for none of its.
  const lines = set.map(([key, value]) => `option ${key} ${quoted(value)}`);
  const list = ['ffconcat version 1.0', `file ${quoted(url)}`, ...lines, ''].join('\n');
  const demuxer = ['-f', 'concat', '-safe', '0', '-auto_convert', '0', '-protocol_whitelist', PROTOCOLS];
  return { args: [...demuxer, '-i', `pipe:${LIST_FD}`], list };
}

function checkOptionKey(key: string): void {
  if (/^\w[\w:-]*$/.test(key)) return;
  throw new FootageError('E_USAGE', `"${key}" is not the name of an option of ffmpeg: see ffmpeg -h full.`);
}

/** As FFmpeg reads it (ffmpeg-utils, "Quoting and escaping"). */
function quoted(text: string): string {
  if (/[\r\n\0]/.test(text)) {
    throw new FootageError('E_USAGE', 'An address and its options are one line each: remove the line break.');
  }
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Hands an input's list to a child started with a pipe at `LIST_FD`. */
export function sendList(child: ChildProcess, list: string): void {
  const pipe = child.stdio[LIST_FD] as Writable;
  // A child that ends early does not read it; how it ends tells why.
  pipe.on('error', () => undefined);
  pipe.end(list);
}

/** The last of what a child says, without secrets. */
export class ChildMessages {
  readonly #redact: (text: string) => string;
  #text = '';

  constructor(stderr: Readable, { redact }: HiddenAddress) {
    this.#redact = redact;
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#text = lastLines(`${this.#text}${text}`);
    });
  }

  /** Redacted as a whole: a secret may come in two pieces. */
  get text(): string {
    return this.#redact(this.#text);
  }
}

/** Whole lines only: half a secret would not be known as one. */
function lastLines(text: string): string {
  if (text.length <= MAX_MESSAGE_CHARACTERS) return text;
  const last = text.slice(-MAX_MESSAGE_CHARACTERS);
  const end = last.indexOf('\n');
  return end === -1 ? '' : last.slice(end + 1);
}

interface Meaning {
  readonly pattern: RegExp;
  readonly code: ErrorCode;
  /** Behind the address. */
  readonly says: string;
}

/** Numbers count only where ffmpeg says that they are a status: addresses of cameras have a 401 in them, too. */
const STATUS = '(?:server returned|http error|method \\w+ failed:?|status)';

const MEANINGS: readonly Meaning[] = [
  {
    pattern: new RegExp(`${STATUS} 40[13]\\b|unauthori[sz]ed|forbidden|authorization failed|authentication`, 'i'),
    code: 'E_CAMERA_AUTH',
    says: 'refuses the user name or the password: check them, and that this user may see the stream',
  },
  {
    pattern: new RegExp(`${STATUS} (?:404|454)\\b|no such (?:stream|session)|stream not found|404 not found`, 'i'),
    code: 'E_CAMERA_STREAM',
    says: 'answers, but has no such stream: check the path in its address',
  },
  {
    pattern: /protocol not found|not on whitelist|option .* not found|port missing in uri|unable to parse option/i,
    code: 'E_INPUT_UNSUPPORTED',
    says: 'is an address that this ffmpeg cannot open: check its scheme (rtsp, rtmp, srt, http, …) and options',
  },
  {
    pattern:
      /refused|no route|unreachable|timed out|resolve|name or service|network is|host is down|reset by peer|input\/output error/i,
    code: 'E_CAMERA_UNREACHABLE',
    says: 'cannot be reached: check its address, its power and the network',
  },
];

/** How ffmpeg begins its last line, about the list that it got from us. */
const LIST_NAME = new RegExp(`^pipe:${LIST_FD}: `);

/**
 * Why a child that read `shown` has ended, by what it said last: a child that has run for months has said a lot.
 * `otherwise`: what it is if that tells nothing.
 */
export function failureOf(
  shown: string,
  messages: string,
  otherwise: 'E_CAMERA_LOST' | 'E_INPUT_FORMAT',
): FootageError {
  const lines = messages
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const last = lines.at(-1)?.replace(LIST_NAME, '').slice(0, MAX_DETAIL_CHARACTERS);
  const detail = last === undefined ? '' : ` (${last})`;
  // Words in the address are not ffmpeg's.
  const said = lines.slice(-MEANT_LINES).map((line) => line.replaceAll(shown, ''));
  const meaning = MEANINGS.find(({ pattern }) => said.some((line) => pattern.test(line)));
  if (meaning !== undefined) return new FootageError(meaning.code, `${shown} ${meaning.says}${detail}.`);
  const otherwiseSays =
    otherwise === 'E_CAMERA_LOST'
      ? `The connection to ${shown} has ended: it is made again by itself`
      : `${shown} is nothing that ffmpeg can read: check that it is a stream of a camera, or a media file`;
  return new FootageError(otherwise, `${otherwiseSays}${detail}.`);
}

/**
 * What an input holds. It takes as long as the camera needs to show all its streams, some seconds at most.
 * @throws FootageError E_FFMPEG, E_CAMERA_AUTH, E_CAMERA_STREAM, E_CAMERA_UNREACHABLE, E_INPUT_FORMAT,
 * E_INPUT_UNSUPPORTED; the signal's reason
 */
export async function probe(input: FfmpegInput, signal: AbortSignal): Promise<ProbedStream[]> {
  const ffmpeg = await findFfmpeg();
  signal.throwIfAborted();
  const hidden = hideSecrets(input.url, input.options);
  const { args, list } = inputArguments(input);
  const entries = 'stream=codec_type,codec_name,has_b_frames:stream_disposition=attached_pic';
  const path = probeOf(ffmpeg);
  const show = ['-hide_banner', '-v', 'warning', '-show_entries', entries, '-of', 'json'];
  const stdio = ['ignore' as const, ...['pipe' as const, 'pipe' as const, 'pipe' as const]];
  const child = startChild(path, [...show, ...args], { stdio, signal, killSignal: 'SIGKILL' });
  sendList(child, list);
  const messages = new ChildMessages(child.stderr as Readable, hidden);
  const output = await textOf(child, child.stdout as Readable).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new FootageError('E_FFMPEG', `"${path}" cannot be run; it comes with ffmpeg: ${INSTALL}.`, error);
  });
  signal.throwIfAborted();
  if (child.exitCode !== 0) throw failureOf(hidden.shown, messages.text, 'E_INPUT_FORMAT');
  return readProbe(output, hidden.shown);
}

/** The ffprobe that came with an ffmpeg. */
function probeOf(ffmpeg: string): string {
  const name = basename(ffmpeg);
  const probeName = name.includes('ffmpeg') ? name.replace('ffmpeg', 'ffprobe') : 'ffprobe';
  return ffmpeg.includes('/') ? resolve(dirname(ffmpeg), probeName) : probeName;
}

interface ProbeAnswer {
  readonly streams?: readonly {
    readonly codec_type?: string;
    readonly codec_name?: string;
    readonly has_b_frames?: number;
    readonly disposition?: { readonly attached_pic?: number };
  }[];
}

function readProbe(output: string, shown: string): ProbedStream[] {
  const { streams = [] } = JSON.parse(output) as ProbeAnswer;
  const found = streams.flatMap((stream): ProbedStream[] => {
    const { codec_type: kind, codec_name: codec = 'unknown', has_b_frames: delay = 0, disposition } = stream;
    // The cover of a film is none.
    if (disposition?.attached_pic === 1 || (kind !== 'video' && kind !== 'audio')) return [];
    return [{ kind, codec, ...(delay > 0 && { reorders: true }) }];
  });
  if (found.length === 0) {
    throw new FootageError(
      'E_INPUT_FORMAT',
      `${shown} has neither video nor audio: check that it is the stream of a camera.`,
    );
  }
  return found;
}
