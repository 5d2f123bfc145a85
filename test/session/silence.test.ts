/** Silent frames as decoders hear them: as long as asked for, and silent, also right behind something loud. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import type { Frame, Track } from '../../src/media.ts';
import { silentFrame } from '../../src/session/silence.ts';
import { at, exportTo } from '../support/acceptance.ts';
import { framemd5, warnings } from '../support/ffmpeg.ts';
import { makeMedia } from '../support/media.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';

/** What a silent packet follows; decoders fade within this many packets. */
const LOUD_FRAMES = 20;
const FADING_FRAMES = 2;

interface Loud {
  readonly track: Track;
  readonly frames: readonly Frame[];
  /** Where the last of them ends. */
  readonly endTicks: number;
}

const LAYOUTS: Readonly<Record<number, string>> = { 1: 'mono', 2: 'stereo', 6: '5.1' };

/** Packets of a loud tone from this encoder, from time 0 on. */
async function loudFrames(name: string, channels: number, encoder: readonly string[]): Promise<Loud> {
  const tones = Array.from({ length: channels }, () => '0.7*sin(2*PI*440*t)').join('|');
  const source = ['-f', 'lavfi', '-i', `aevalsrc='${tones}':s=48000:c=${LAYOUTS[channels]}`];
  const path = await makeMedia(name, [...source, '-t', '1', ...encoder]);
  await using file = await openMediaFile(path);
  const [track] = file.tracks;
  if (track === undefined) throw new Error('no track');
  const frames: Frame[] = [];
  for await (const frame of file.frames()) frames.push(frame);
  const taken = frames.slice(5, 5 + LOUD_FRAMES);
  const origin = taken[0]?.dts ?? 0;
  const moved = taken.map((frame) => ({ ...frame, dts: frame.dts - origin }));
  const last = moved.at(-1);
  return { track, frames: moved, endTicks: (last?.dts ?? 0) + (last?.durationTicks ?? 0) };
}

/** A file of these frames and then silent ones of the given lengths, through the archive. */
async function withSilence({ track, frames, endTicks }: Loud, lengths: readonly number[]): Promise<string> {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  async function* all(): AsyncGenerator<Frame, void, undefined> {
    yield* frames;
    let dts = endTicks;
    for (const durationTicks of lengths) {
      const data = silentFrame(track, durationTicks);
      if (data === undefined) throw new Error(`no silence of ${durationTicks} ticks`);
      yield { track: 0, data, dts, compositionOffset: 0, sync: true, durationTicks };
      dts += durationTicks;
    }
  }
  const recording = await archive.record('door', { tracks: [track], frames: all(), startUtcMs: at(0).getTime() });
  await recording.finished;
  const exported = join(folder, 'export.mp4');
  await exportTo(exported, archive, { camera: 'door', start: at(0), end: at(60) });
  return exported;
}

const loudest = (part: Float32Array) => part.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);

/** Samples of each decoded frame, and how loud it is before and behind sample `from`. */
async function decoded(file: string, rate: number, from: number, decoder: readonly string[]) {
  const lines = await framemd5Of(file, decoder);
  const lengths = lines.map((line) => Number(line.split(',')[3]));
  const output = ['-ac', '1', '-ar', String(rate), '-f', 'f32le', '-'];
  const { stdout } = await run('ffmpeg', ['-v', 'error', ...decoder, '-i', file, ...output]);
  const samples = new Float32Array(stdout.buffer.slice(stdout.byteOffset, stdout.byteOffset + stdout.byteLength));
  return { lengths, before: loudest(samples.subarray(0, from)), after: loudest(samples.subarray(from)) };
}

async function framemd5Of(file: string, decoder: readonly string[]): Promise<string[]> {
  if (decoder.length === 0) return framemd5(file);
  const { stdout } = await run('ffmpeg', ['-v', 'error', ...decoder, '-i', file, '-f', 'framemd5', '-']);
  return stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** Every length of packet there is, in ticks of 48 kHz. */
const OPUS_LENGTHS = [2.5, 5, 10, 20, 40, 60, 80, 100, 120].map((ms) => ms * 48);

describe('Opus', () => {
  const libopus = ['-c:a', 'libopus'];
  test.each([
    ['mono', 1, [...libopus, '-b:a', '64k']],
    ['stereo', 2, [...libopus, '-b:a', '96k']],
    ['speech, whose packets are not CELT', 1, [...libopus, '-b:a', '14k', '-application', 'voip']],
    ['5.1 in four streams', 6, [...libopus, '-b:a', '256k', '-mapping_family', '1']],
  ] as const)('%s: all lengths, in both decoders of FFmpeg', async (name, channels, encoder) => {
    const loud = await loudFrames(`silence-opus-${name.slice(0, 3)}.mp4`, channels, encoder);
    expect(loud.track).toMatchObject({ codec: 'opus', channels, sampleRate: 48_000 });
    const lengths = [960, 960, ...OPUS_LENGTHS, 960];
    const file = await withSilence(loud, lengths);
    const silentFrom = loud.endTicks + FADING_FRAMES * 960;
    for (const decoder of [['-c:a', 'opus'], libopus]) {
      const { lengths: found, before, after } = await decoded(file, 48_000, silentFrom, decoder);
      expect(found.slice(-lengths.length)).toEqual(lengths);
      expect(before).toBeGreaterThan(0.3);
      expect(after).toBeLessThan(0.0005);
      expect(await warnings(file, decoder)).toBe('');
    }
  });

  test('no packet is as long as 30 ms or longer than 120', async () => {
    const { track } = await loudFrames('silence-opus-mon.mp4', 1, [...libopus, '-b:a', '64k']);
    for (const ms of [0, 1, 30, 121, 140]) expect(silentFrame(track, ms * 48)).toBeUndefined();
    expect(silentFrame({ ...track, timescale: 1000 }, 20)).toEqual(silentFrame(track, 960));
  });
});

describe('G.711', () => {
  test.each([
    ['alaw', 'pcm_alaw', 2],
    ['ulaw', 'pcm_mulaw', 1],
  ] as const)('%s (%s), channels: %d', async (codec, encoder, channels) => {
    const loud = await loudFrames(`silence-${codec}.mov`, channels, ['-ar', '8000', '-c:a', encoder]);
    expect(loud.track).toMatchObject({ codec, channels, sampleRate: 8000 });
    const lengths = [160, 1, 77, 8000];
    const file = await withSilence(loud, lengths);
    const { lengths: found, before, after } = await decoded(file, 8000, loud.endTicks, []);
    expect(found.slice(-lengths.length)).toEqual(lengths);
    expect(before).toBeGreaterThan(0.3);
    // A-law has no zero: its smallest value is 8 of 32 768.
    expect(after).toBeLessThan(0.0005);
    expect(await warnings(file)).toBe('');
  });
});

describe('AAC', () => {
  test.each([
    ['mono', 1],
    ['5.1', 6],
  ] as const)('%s', async (name, channels) => {
    const loud = await loudFrames(`silence-aac-${name}.mp4`, channels, ['-c:a', 'aac', '-b:a', '128k']);
    const file = await withSilence(loud, [1024, 1024, 1024, 1024]);
    const { lengths: found, before, after } = await decoded(file, 48_000, loud.endTicks + 1024, []);
    expect(found.slice(-4)).toEqual([1024, 1024, 1024, 1024]);
    expect(before).toBeGreaterThan(0.3);
    expect(after).toBe(0);
    expect(await warnings(file)).toBe('');
  });
});
