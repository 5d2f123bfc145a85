/**
 * The pipe of ffmpeg, read as it comes, in pieces of every kind: its samples are the packets that ffprobe sees in the same
 * bytes. Bytes that are damaged or hostile end in a FootageError or in nothing.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { FootageError } from '../../src/errors.ts';
import { FragmentStream, type StreamSample } from '../../src/ingest/fragment-stream.ts';
import { chooseLayout, outputArguments } from '../../src/ingest/layout.ts';
import { box, concatBytes, u32 } from '../../src/mp4/box.ts';
import type { MovieTrack } from '../../src/mp4/reader.ts';
import { Random } from '../fuzz/random.ts';
import { errorCodeOf } from '../support/error-code.ts';
import { packets, probe } from '../support/ffmpeg.ts';
import { makeMedia } from '../support/media.ts';

const PICTURES = ['-f', 'lavfi', '-i', 'testsrc2=size=192x108:rate=25', '-t', '3'];
const TONE = ['-f', 'lavfi', '-i', 'sine=frequency=300:sample_rate=48000', '-t', '3'];
const KINDS = {
  h264: [
    'video',
    [...PICTURES, '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-bf', '2', '-g', '25'],
  ],
  hevc: [
    'video',
    [...PICTURES, '-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=error:bframes=2:keyint=25'],
  ],
  aac: ['audio', [...TONE, '-c:a', 'aac']],
  opus: ['audio', [...TONE, '-c:a', 'libopus']],
  pcm_alaw: ['audio', [...TONE, '-c:a', 'pcm_alaw', '-ar', '8000']],
  pcm_mulaw: ['audio', [...TONE, '-c:a', 'pcm_mulaw', '-ar', '8000', '-ac', '2']],
} as const;
type Kind = keyof typeof KINDS;
const ALL_KINDS = Object.keys(KINDS) as Kind[];

/** What a child of ours writes into the pipe of one track, as a file; the times of its source begin at `startS`. */
async function pipeFile(kind: Kind, startS = 0): Promise<string> {
  const [sort, args] = KINDS[kind];
  const source = await makeMedia('source.mkv', args);
  const layout = chooseLayout([{ kind: sort, codec: kind }], 'auto', 'a test');
  const output = outputArguments(layout).slice(0, -1);
  return makeMedia(`pipe-${kind}.mp4`, ['-itsoffset', String(startS), '-copyts', '-i', source, ...output]);
}

interface Read {
  readonly tracks: readonly MovieTrack[];
  readonly samples: readonly StreamSample[];
}

function readPieces(pieces: Iterable<Uint8Array>): Read {
  const tracks: MovieTrack[] = [];
  const samples: StreamSample[] = [];
  const stream = new FragmentStream({
    track: (track) => tracks.push(track),
    sample: (sample) => samples.push(sample),
  });
  for (const piece of pieces) stream.push(piece);
  return { tracks, samples };
}

function* piecesOf(bytes: Uint8Array, length: () => number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length;) {
    const end = at + length();
    yield bytes.slice(at, end);
    at = end;
  }
}

const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');
const factsOf = ({ data, ...rest }: StreamSample) => ({ ...rest, size: data.length, hash: md5(data) });

describe.each(ALL_KINDS)('%s', (kind) => {
  test.each([0, 3600])(
    'the samples are the packets of ffprobe, in time; a source that begins at %i s',
    async (startS) => {
      const path = await pipeFile(kind, startS);
      const { tracks, samples } = readPieces([await readFile(path)]);
      const [track] = tracks;
      const theirs = await packets(path, { hash: true });
      const [stream] = (await probe(path)).streams;
      const base = Number(stream?.time_base.split('/')[1]);
      expect(track?.timescale).toBe(base);
      expect(samples.map(({ data }) => md5(data))).toEqual(theirs.map(({ hash }) => hash));
      expect(samples.map(({ dts }) => dts)).toEqual(theirs.map(({ dts }) => dts));
      expect(samples.map(({ dts, compositionOffset }) => dts + compositionOffset)).toEqual(
        theirs.map(({ pts }) => pts),
      );
      if (track?.kind === 'video')
        expect(samples.map(({ sync }) => sync)).toEqual(theirs.map(({ flags }) => flags[0] === 'K'));
      expect(Math.abs(Math.min(...theirs.map(({ pts }) => pts)) / base - startS)).toBeLessThan(0.15);
    },
  );

  test('pieces of one byte, of random lengths and all at once give the same', async () => {
    const bytes = await readFile(await pipeFile(kind));
    const whole = readPieces([bytes]).samples.map(factsOf);
    const random = new Random(7);
    expect(whole.length).toBeGreaterThan(50);
    expect(readPieces(piecesOf(bytes, () => 1)).samples.map(factsOf)).toEqual(whole);
    for (let i = 0; i < 5; i++) {
      expect(readPieces(piecesOf(bytes, () => 1 + random.below(5000))).samples.map(factsOf)).toEqual(whole);
    }
  });

  test('cut off anywhere it tells of whole samples only', async () => {
    const bytes = await readFile(await pipeFile(kind));
    const whole = readPieces([bytes]).samples.map(factsOf);
    const random = new Random(8);
    for (let i = 0; i < 40; i++) {
      const { samples } = readPieces([bytes.subarray(0, random.below(bytes.length))]);
      expect(samples.map(factsOf)).toEqual(whole.slice(0, samples.length));
    }
  });

  test('with random flips it tells of samples or throws a FootageError', async () => {
    const bytes = await readFile(await pipeFile(kind));
    const random = new Random(9);
    let failures = 0;
    for (let i = 0; i < 300; i++) {
      // Half of them in the header, where they are worst.
      const most = random.oneIn(2) ? 2000 : bytes.length;
      const hostile = Uint8Array.from(bytes);
      for (let flips = 0; flips < 3; flips++) hostile[random.below(most)] = random.below(256);
      try {
        readPieces([hostile]);
      } catch (error) {
        expect(error).toBeInstanceOf(FootageError);
        failures++;
      }
    }
    expect(failures).toBeGreaterThan(20);
  });
});

test.each(['pcm_alaw', 'pcm_mulaw'] as const)('%s comes in whole packets, not byte by byte', async (kind) => {
  const { tracks, samples } = readPieces([await readFile(await pipeFile(kind))]);
  const channels = kind === 'pcm_mulaw' ? 2 : 1;
  expect(tracks[0]?.track).toMatchObject({ kind: 'audio', timescale: 8000, sampleRate: 8000, channels });
  const bytes = samples.reduce((sum, { data }) => sum + data.length, 0);
  expect(bytes).toBe(3 * 8000 * channels);
  expect(samples.length).toBeLessThan(bytes / 100);
  for (const { data, durationTicks } of samples.slice(0, -1)) expect(durationTicks).toBe(data.length / channels);
});

test('the writer tells when each sample was there', async () => {
  const { samples } = readPieces([await readFile(await pipeFile('h264'))]);
  const times = samples.map(({ producerUtcMs = 0 }) => producerUtcMs);
  expect(times.length).toBe(75);
  const [first = 0] = times;
  expect(first).toBeGreaterThan(Date.parse('2024-01-01T00:00:00Z'));
  expect(first).toBeLessThan(Date.now() + 60_000);
});

/** A pipe with `prft` in front of its first fragment. */
async function withClock(seconds: number): Promise<number | undefined> {
  const bytes = await readFile(await pipeFile('aac'));
  const at = bytes.indexOf('prft') + 4 + 8;
  const changed = Uint8Array.from(bytes);
  changed.set([...u32(seconds), ...u32(0x8000_0000)], at);
  return readPieces([changed]).samples[0]?.producerUtcMs;
}

test('clocks of NTP count from 1900, and from 2036 once more', async () => {
  expect(await withClock(2_208_988_800)).toBe(500);
  expect(await withClock(0xffff_ffff)).toBe(Date.parse('2036-02-07T06:28:15.500Z'));
  expect(await withClock(0)).toBe(Date.parse('2036-02-07T06:28:16.500Z'));
});

const failing = (...pieces: readonly Uint8Array[]): string => errorCodeOf(() => readPieces(pieces));

describe('hostile streams', () => {
  test.each([
    ['an mdat of 65 MiB', () => concatBytes([u32(65 * 2 ** 20), Buffer.from('mdat')])],
    ['an mdat without an end', () => concatBytes([u32(0), Buffer.from('mdat')])],
    ['a moov of 2 MiB', () => concatBytes([u32(2 ** 21), Buffer.from('moov')])],
    ['a box of unknown type of 2 MiB', () => concatBytes([u32(2 ** 21), Buffer.from('abcd')])],
    ['a box smaller than its header', () => concatBytes([u32(4), Buffer.from('free')])],
    ['media that nothing announced', () => box('mdat', Uint8Array.of(1, 2, 3))],
    ['a moov of nothing', () => box('moov')],
    ['a prft of nothing', () => box('prft')],
    ['text', () => Buffer.from('HTTP/1.1 404 Not Found\r\n\r\n')],
  ])('%s', (_what, bytes) => {
    expect(failing(bytes())).toBe('E_INPUT_FORMAT');
  });

  test('a second header', async () => {
    const bytes = await readFile(await pipeFile('aac'));
    const end = bytes.indexOf('moov') - 4;
    const moov = bytes.subarray(end, end + bytes.readUInt32BE(end));
    expect(failing(moov, moov)).toBe('E_INPUT_FORMAT');
  });

  test.each([
    ['of two tracks', ['-movflags', '+frag_keyframe+empty_moov']],
    ['with samples in its header', ['-movflags', '+faststart']],
  ])('a film %s', async (_what, args) => {
    const both = [...PICTURES, ...TONE, '-c:v', 'libx264', '-preset', 'ultrafast', '-c:a', 'aac'];
    const film = _what === 'of two tracks' ? both : [...TONE, '-c:a', 'aac'];
    expect(failing(await readFile(await makeMedia('film.mp4', [...film, ...args])))).toBe('E_INPUT_FORMAT');
  });

  test('a fragment of millions of samples without bytes', async () => {
    const bytes = Uint8Array.from(await readFile(await pipeFile('pcm_alaw')));
    const trun = Buffer.from(bytes.buffer).indexOf('trun') + 4;
    // Flags: only the offset of the data; then the number of samples.
    bytes.set([0, 0, 0, 1, ...u32(2 ** 24 - 1)], trun);
    expect(failing(bytes)).toBe('E_INPUT_UNSUPPORTED');
  });
});
