/** What a file holds, packet by packet as FFmpeg's demuxer gives it, and whether an export holds the same. */
import { expect } from 'vitest';
import { packets, probe, type Packet } from './ffmpeg.ts';

const essences = new Map<string, ReturnType<typeof readEssence>>();

/** As `readEssence`, of a source that does not change. */
function essenceOfSource(file: string): ReturnType<typeof readEssence> {
  const known = essences.get(file) ?? readEssence(file);
  essences.set(file, known);
  return known;
}

/** What must survive the archive, per stream in decode order. */
async function readEssence(file: string) {
  const [all, { streams }] = await Promise.all([packets(file, { hash: true }), probe(file)]);
  return streams.map(({ index, codec_type, codec_tag_string, time_base }) => ({
    kind: codec_type,
    codec: codec_tag_string,
    timeBase: time_base,
    packets: all.filter((packet) => packet.stream === index),
  }));
}

function line({ dts, pts, size, hash, flags }: Packet, late: number): string {
  return `${dts - late} ${pts - late} ${size} ${hash} ${flags}`;
}

/** Every packet of the source, and nothing else, is in the export; with `kind`, of the streams of that kind. */
export async function expectSamePackets(exported: string, source: string, kind?: 'video' | 'audio'): Promise<void> {
  const both = await Promise.all([essenceOfSource(source), readEssence(exported)]);
  const [before, after] = both.map((streams) => streams.filter((stream) => kind === undefined || stream.kind === kind));
  if (before === undefined || after === undefined) throw new RangeError('both files have been read');
  // A wait before a track is a whole number of the movie's ticks, which are the video's.
  const late = after.map(({ packets: found }, i) => (found[0]?.pts ?? 0) - (before[i]?.packets[0]?.pts ?? 0));
  late.forEach((ticks, i) =>
    expect(Math.abs(ticks)).toBeLessThanOrEqual((before[i]?.packets[0]?.pts ?? 0) > 0 ? 1 : 0),
  );
  expect(after.map(({ codec, timeBase }) => [codec, timeBase])).toEqual(
    before.map(({ codec, timeBase }) => [codec, timeBase]),
  );
  before.forEach(({ packets: wanted }, i) => {
    const found = after[i]?.packets.map((packet) => line(packet, late[i] ?? 0)) ?? [];
    const wrong = wanted.findIndex((packet, n) => line(packet, 0) !== found[n]);
    expect({ stream: i, at: wrong, is: found[wrong], count: found.length }).toEqual({
      stream: i,
      at: -1,
      is: undefined,
      count: wanted.length,
    });
  });
}
