/** What users configure: options of the library, as JSON, and the command line, an argument a line. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FootageError } from '../../../src/errors.ts';
import type { Track } from '../../../src/media.ts';
import { checkRecorderOptions } from '../../../src/recorder/options.ts';
import { checkTracks } from '../../../src/recorder/tracks.ts';
import { resolveOptions } from '../../../src/sender/options.ts';
import { Pacing, pacingOptions } from '../../../src/session/pacing.ts';
import { answerPolicy } from '../../../src/session/request.ts';
import type { FuzzTarget } from '../target.ts';
import { expectThat } from './expect.ts';

/** What V8 says of mistakes inside; ours name an option. */
const FROM_INSIDE =
  /Cannot (read|set|convert|destructure|mix)|is not (a function|iterable|a constructor)|Invalid (time|array|typed)|out of (bounds|range)/;
const CHECKS: readonly ((value: never) => unknown)[] = [
  checkRecorderOptions,
  resolveOptions,
  answerPolicy,
  (value: object) => new Pacing(pacingOptions(value), undefined),
  (tracks: Track[]) =>
    checkTracks(tracks.map((track) => ({ ...track, config: Uint8Array.of(1, 100, 0, 40, 255, 224, 0) }))),
];

/** The first character chooses who takes the rest. */
export const options: FuzzTarget = {
  name: 'options',
  corpora: [],
  maxBytes: 1024,
  seeds: () =>
    [
      '0{"segmentDurationMs":1000,"segmentBytes":65536,"flushIntervalMs":100,"indexIntervalMs":0,"startUtcMs":0}',
      '1{"softBarrier":1,"hardBarrier":2,"idleTimeoutMs":0}',
      '2{"gaps":"freeze","changes":"split","part":2,"begin":"next","tracks":"video","keyframes":true,"speed":2}',
      '3{"session":{"bytesPerSecond":1,"burstBytes":1},"client":{"bytesPerSecond":9},"realTime":{"factor":2}}',
      '3{"server":{"bytesPerSecond":1e9,"burstBytes":0},"recordingFirst":false}',
      '4[{"kind":"video","codec":"avc1.640028","timescale":90000,"width":640,"height":360}]',
      '4[{"kind":"audio","codec":"alaw","timescale":8000,"sampleRate":8000,"channels":1}]',
    ].map((text) => Buffer.from(text)),
  words: [
    '"',
    ':',
    ',',
    '{',
    '}',
    '[',
    ']',
    'null',
    'true',
    '-1',
    '0',
    '1e999',
    '1e15',
    '""',
    '"__proto__":',
    'e',
    '.5',
  ],
  run: (bytes) => {
    const text = bytes.toString('utf8');
    const value = parsed(text.slice(1));
    const check = CHECKS[text.charCodeAt(0) % CHECKS.length];
    // The types of TypeScript keep callers from handing over anything but objects.
    if (typeof value !== 'object' || value === null || check === undefined) return;
    if (Array.isArray(value) !== (check === CHECKS[4])) return;
    if (Array.isArray(value) && value.some((one) => typeof one !== 'object' || one === null)) return;
    attempt(() => check(value as never));
  },
};

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A mistake of the caller's is a TypeError or RangeError that says so. */
function attempt(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (error instanceof FootageError) return;
    if ((error instanceof TypeError || error instanceof RangeError) && !FROM_INSIDE.test(error.message)) return;
    throw error;
  }
}

const FOOTAGE = join(import.meta.dirname, '..', '..', '..', 'bin', 'footage.cjs');
const LONGEST_MS = 8000;
let folder = '';

/** Needs the build. */
export const commandLine: FuzzTarget = {
  name: 'command-line',
  corpora: [],
  maxBytes: 512,
  seeds: () =>
    [
      'list\n--archive\nnone\n--camera\ndoor\n--json',
      'serve\n--archive\nnone\n--port\n0\n--host\n127.0.0.1\n--session-rate\n1e6\n--session-burst\n1\n--real-time\n2',
      'export\n--archive\nnone\n--camera\ndoor\n--start\n2026-01-31T12:00:00Z\n--duration\n1\n-o\nout.mp4\n--gaps\nfreeze',
      'import\n--archive\nnew\n--camera\ndoor\n--start\n1769860800\n--overlap\nkeep\n--wait\n1\nnone.mp4',
      'record\n--archive\nnew\n--camera\ndoor\n--input\nnone.mp4\n--duration\n1',
      'verify\n--archive\nnone\n--json',
      'recover\n--archive\nnone',
    ].map((text) => Buffer.from(text)),
  words: [
    '\n',
    '--',
    '-',
    '=',
    '\n--json\n',
    '\n--help\n',
    '-1',
    '1e999',
    'NaN',
    '0x10',
    '../',
    ' ',
    '{}',
    '\n--version',
  ],
  open: async () => {
    folder = await mkdtemp(join(tmpdir(), 'footage-fuzz-'));
  },
  close: () => rm(folder, { recursive: true }),
  run: async (bytes) => {
    const args = bytes.toString('utf8').replaceAll('\0', '').split('\n');
    const { status, stdout, stderr } = await command(args);
    if (status === null && stdout.includes('listening')) return;
    expectThat(status === 0 || status === 1 || status === 2, `exit status ${status}`);
    expectThat(!/unexpected|^\s+at /m.test(stderr), `no failure from inside: ${stderr.slice(0, 300)}`);
  },
};

/** Runs it to its end; status null if it has none. */
async function command(args: readonly string[]) {
  const child = spawn(process.execPath, [FOOTAGE, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = ['', ''];
  child.stdout.on('data', (part: Buffer) => (texts[0] += part.toString('utf8')));
  child.stderr.on('data', (part: Buffer) => (texts[1] += part.toString('utf8')));
  const timer = setTimeout(() => child.kill('SIGKILL'), LONGEST_MS);
  const [status] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { status, stdout: texts[0] ?? '', stderr: texts[1] ?? '' };
}
