/**
 * Parameter sets that change within a stream: those of one clip in front of a sync sample of a track that was made from
 * another one give the configuration that FFmpeg writes for the former.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import type { Track } from '../../src/media.ts';
import { concatBytes, u32 } from '../../src/mp4/box.ts';
import { ConfigurationWatch } from '../../src/mp4/configuration-change.ts';
import { parameterSets } from '../../src/mp4/parameter-sets.ts';
import { errorCodeOf } from '../support/error-code.ts';
import { makeMedia, mediaFile } from '../support/media.ts';

const picture = (size: string) => ['-f', 'lavfi', '-i', `testsrc2=size=${size}:rate=25`, '-frames:v', '3'];
const x264 = (size: string, profile: string, ...more: readonly string[]) => [
  ...[...picture(size), '-c:v', 'libx264', '-preset', 'veryfast', '-profile:v', profile, ...more],
];
const x265 = (size: string, profile: string, format: string) => [
  ...[...picture(size), '-c:v', 'libx265', '-preset', 'ultrafast', '-profile:v', profile, '-pix_fmt', format],
  ...['-x265-params', 'log-level=error', '-tag:v', 'hvc1'],
];

const AVC_CLIPS = {
  'baseline 176x144': x264('176x144', 'baseline', '-pix_fmt', 'yuv420p'),
  'main 178x100': x264('178x100', 'main', '-pix_fmt', 'yuv420p'),
  'high 320x184': x264('320x184', 'high', '-pix_fmt', 'yuv420p'),
  'high 320x180 interlaced': x264('320x180', 'high', '-pix_fmt', 'yuv420p', '-flags', '+ildct+ilme'),
  'high 10 320x180': x264('320x180', 'high10', '-pix_fmt', 'yuv420p10le'),
  'high 4:2:2 of 10 bits, 174x99': x264('174x99', 'high422', '-pix_fmt', 'yuv422p10le'),
  'high 4:4:4, 175x99': x264('175x99', 'high444', '-pix_fmt', 'yuv444p'),
  'high, grey': x264('320x180', 'high', '-pix_fmt', 'gray'),
};
const HEVC_CLIPS = {
  'main 320x180': x265('320x180', 'main', 'yuv420p'),
  'main 178x98': x265('178x98', 'main', 'yuv420p'),
  'main10 320x184': x265('320x184', 'main10', 'yuv420p10le'),
  'main422-10 318x180': x265('318x180', 'main422-10', 'yuv422p10le'),
};

interface Clip {
  readonly track: Track;
  /** Its first sync sample, with no parameter sets in it. */
  readonly sample: Uint8Array;
}

async function clipOf(path: string): Promise<Clip> {
  await using file = await openMediaFile(path);
  const [track] = file.tracks;
  for await (const frame of file.frames()) {
    if (track !== undefined && frame.track === 0) return { track, sample: frame.data };
  }
  throw new Error(`${path} has no frame`);
}

const clips = new Map<string, Clip>();
beforeAll(async () => {
  for (const [name, args] of Object.entries({ ...AVC_CLIPS, ...HEVC_CLIPS })) {
    clips.set(name, await clipOf(await makeMedia('clip.mp4', args)));
  }
});

function clip(name: string): Clip {
  const found = clips.get(name);
  if (found === undefined) throw new RangeError(name);
  return found;
}

/** A sync sample as cameras send it: the sets stand in front. */
const withSets = ({ track, sample }: Clip): Uint8Array => concatBytes([parameterSets(track), sample]);

/** NAL units, each behind a length of four bytes. */
function unitsOf(bytes: Uint8Array): Uint8Array[] {
  const units: Uint8Array[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length;) {
    const length = view.getUint32(at);
    units.push(bytes.slice(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return units;
}

const sampleOf = (...units: readonly Uint8Array[]) => concatBytes(units.flatMap((unit) => [u32(unit.length), unit]));

describe.each(Object.keys(AVC_CLIPS))('H.264: %s', (name) => {
  test('has the configuration that FFmpeg writes, whatever was before', () => {
    const { track } = clip(name);
    for (const other of Object.keys(AVC_CLIPS)) {
      const watch = new ConfigurationWatch(clip(other).track);
      const changed = watch.changed(withSets(clip(name)));
      expect(changed, other).toEqual(other === name ? undefined : { ...track, timescale: clip(other).track.timescale });
      expect(watch.changed(withSets(clip(name))), 'told once').toBeUndefined();
      expect(watch.changed(clip(name).sample), 'none stay as they are').toBeUndefined();
    }
  });
});

const isSet = ([first = 0]: Uint8Array) => [32, 33, 34].includes((first >> 1) & 0x3f);

/** What `hvcC` says besides restrictions of the VUI (bytes 13 to 15), which we leave open. */
function essentials(config: Uint8Array): Uint8Array {
  const known = config.slice();
  known.set([0xf0, 0, 0xfc], 13);
  // Sets of other kinds (the encoder's SEI) are not needed.
  return concatBytes([known.subarray(0, 22)]);
}

describe.each(Object.keys(HEVC_CLIPS))('H.265: %s', (name) => {
  test('has the sets, the codec and the size that FFmpeg writes', () => {
    const { track } = clip(name);
    for (const other of Object.keys(HEVC_CLIPS).filter((one) => one !== name)) {
      const watch = new ConfigurationWatch(clip(other).track);
      const changed = watch.changed(withSets(clip(name)));
      if (changed === undefined) throw new Error(`${name} behind ${other} is no change`);
      const { config, ...rest } = changed;
      const { config: theirs, ...facts } = track;
      expect(rest).toEqual({ ...facts, timescale: clip(other).track.timescale });
      expect(essentials(config)).toEqual(essentials(theirs));
      expect(unitsOf(parameterSets(changed))).toEqual(unitsOf(parameterSets(track)).filter(isSet));
      expect(watch.changed(withSets(clip(name)))).toBeUndefined();
    }
  });
});

const setsOf = (name: string) => unitsOf(parameterSets(clip(name).track));

describe('sets', () => {
  const [baseline, main, high] = ['baseline 176x144', 'main 178x100', 'high 320x184'] as const;
  test('that come twice, as depayloaders write them, are one', () => {
    const [sps = new Uint8Array(0), pps = new Uint8Array(0)] = setsOf(main);
    const changed = new ConfigurationWatch(clip(baseline).track).changed(sampleOf(sps, pps, sps, pps));
    expect(changed?.config).toEqual(clip(main).track.config);
  });

  test('of which the old ones stand in front of the new ones, in each sync sample, change once', () => {
    const watch = new ConfigurationWatch(clip(baseline).track);
    const sample = sampleOf(...setsOf(baseline), ...setsOf(main), ...unitsOf(clip(main).sample));
    expect(watch.changed(sample)?.config).toEqual(clip(main).track.config);
    expect(watch.changed(sample)).toBeUndefined();
    expect(watch.changed(sampleOf(...setsOf(baseline)))?.config).toEqual(clip(baseline).track.config);
  });

  test('a PPS alone takes the place of that of its number, and stays beside others', () => {
    const watch = new ConfigurationWatch(clip(main).track);
    const [sps = new Uint8Array(0), pps = new Uint8Array(0)] = setsOf(main);
    const [, otherPps = new Uint8Array(0)] = setsOf(high);
    expect(unitsOf(parameterSets(watch.changed(sampleOf(otherPps)) ?? clip(main).track))).toEqual([sps, otherPps]);
    // Number 1 instead of 0: ue(v) 010 instead of 1, all bits behind it two further.
    const second = Uint8Array.of(0x68, 0b0101_1100, 0x80);
    const changed = watch.changed(sampleOf(second)) ?? clip(main).track;
    expect(unitsOf(parameterSets(changed))).toEqual([sps, otherPps, second]);
    expect(watch.changed(sampleOf(otherPps))).toBeUndefined();
    expect(unitsOf(parameterSets(watch.changed(sampleOf(sps, pps)) ?? changed))).toEqual([sps, pps]);
  });

  test('do not hold the memory of their sample', () => {
    const changed = new ConfigurationWatch(clip(baseline).track).changed(withSets(clip(main)));
    expect(changed?.config.buffer.byteLength).toBe(changed?.config.byteLength);
  });

  test.each([
    ['an SPS cut off', () => sampleOf((setsOf(main)[0] ?? new Uint8Array(0)).subarray(0, 5))],
    ['an SPS of nothing', () => sampleOf(Uint8Array.of(0x67))],
    ['a PPS of nothing', () => sampleOf(Uint8Array.of(0x68))],
    ['a NAL unit behind the end', () => concatBytes([u32(5000), Uint8Array.of(0x67, 1, 2)])],
    ['a PPS of 64 KiB', () => sampleOf(Uint8Array.of(0x68, 0x80), new Uint8Array(65_536).fill(0x68).fill(0xff, 1))],
  ])('%s is E_INPUT_FORMAT, and changes nothing', (_what, sample) => {
    const watch = new ConfigurationWatch(clip(baseline).track);
    expect(errorCodeOf(() => watch.changed(sample()))).toBe('E_INPUT_FORMAT');
    expect(watch.changed(withSets(clip(baseline)))).toBeUndefined();
  });
});

/** The sync samples of a stream, each with its sequence header. */
async function syncSamples(): Promise<{ track: Track; samples: Uint8Array[] }> {
  await using file = await openMediaFile(await mediaFile('av1-opus'));
  const [track] = file.tracks;
  const samples: Uint8Array[] = [];
  for await (const frame of file.frames()) if (frame.track === 0 && frame.sync) samples.push(frame.data);
  if (track === undefined) throw new Error('no track');
  return { track, samples };
}

describe('AV1', () => {
  test('goes on with the sequence header of its first sample, though this encoder writes another one into av1C', async () => {
    const { track, samples } = await syncSamples();
    expect(samples.length).toBeGreaterThan(2);
    const [first = new Uint8Array(0)] = samples;
    const header = first.subarray(0, 2 + (first[1] ?? 0));
    expect(Buffer.from(track.config).indexOf(header)).toBe(-1);
    const watch = new ConfigurationWatch(track);
    for (const sample of samples) expect(watch.changed(sample)).toBeUndefined();
    expect(watch.changed(concatBytes([Uint8Array.of(0x12, 0), first])), 'behind a delimiter').toBeUndefined();
    expect(watch.changed(first.subarray(header.length)), 'without a header').toBeUndefined();
    expect(watch.changed(new Uint8Array(0))).toBeUndefined();
  });

  test('with another one has to be connected anew', async () => {
    const { track, samples } = await syncSamples();
    const [first = new Uint8Array(0)] = samples;
    const watch = new ConfigurationWatch(track);
    watch.changed(first);
    const other = first.slice();
    other[5] = (other[5] ?? 0) ^ 1;
    expect(errorCodeOf(() => watch.changed(other))).toBe('E_CAMERA_LOST');
  });
});

test('sound has no sets', () => {
  const track: Track = { kind: 'audio', codec: 'opus', timescale: 48_000, config: new Uint8Array(11) };
  expect(new ConfigurationWatch(track).changed(Uint8Array.of(1, 2, 3))).toBeUndefined();
});
