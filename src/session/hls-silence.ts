/**
 * Silence for a unit whose sound pauses: a browser has one buffer for sound and pictures, shows nothing where either is
 * missing, and cannot go on without the sound that it began with. What is filled depends on the unit alone.
 */
import type { Track } from '../media.ts';
import { isG711 } from '../mp4/codec.ts';
import type { SampleTable } from '../mp4/tables.ts';
import type { Samples, Stretch } from './hls-units.ts';
import { silentFrame } from './silence.ts';

/** Sound and pictures of one instant may lie so far apart in a file; what is missing for longer is a pause. */
const LAG_S = 1;

/** A frame of silence. */
export interface Silence {
  readonly data: Uint8Array;
  readonly ticks: number;
}

/** Frames of silence that are put into a unit. */
export interface Fill {
  /** They go in front of this offset of the file. */
  readonly at: number;
  /** The sample of the unit, from 0, that follows them. */
  readonly before: number;
  readonly dts: number;
  readonly count: number;
}

/** Undefined for a codec without a known silence. */
export function silenceOf(track: Track): Silence | undefined {
  const ticks = Math.round(frameSeconds(track) * track.timescale);
  const data = silentFrame(track, ticks);
  return data === undefined ? undefined : { data, ticks };
}

function frameSeconds({ codec, sampleRate = 48_000 }: Track): number {
  if (codec === 'opus' || isG711(codec)) return 0.02;
  const doubled = codec === 'mp4a.40.5' || codec === 'mp4a.40.29';
  return (doubled ? 2048 : 1024) / sampleRate;
}

/**
 * When the sound of a unit begins at the earliest, ticks. A pause before it has been filled up to its beginning, so what was
 * written late of the time of the pause comes too late: times that go back cost browsers pictures. `previousEnd` is that of
 * the sound before it in the segment, if there is any; `goesOn` tells that the segment is not the first of its run.
 */
export function earliestSound(
  timescale: number,
  shown: Samples,
  previousEnd: number | undefined,
  goesOn: boolean,
): number {
  const lagging = shown.from - LAG_S * timescale;
  if (previousEnd === undefined) return goesOn ? lagging : -Infinity;
  return previousEnd < lagging ? shown.from : -Infinity;
}

/** The pauses of the sound of a unit that is shown in [shown.from, shown.to), ticks of the sound. */
export function fillsOf(
  sound: SampleTable,
  timescale: number,
  stretch: Stretch,
  shown: Samples,
  ticks: number,
): Fill[] {
  const { count, dts, duration, offset } = sound;
  const lag = LAG_S * timescale;
  const fills: Fill[] = [];
  const fill = (at: number, before: number, from: number, to: number) => {
    const frames = Math.floor((to - from) / ticks);
    if (frames > 0) fills.push({ at, before, dts: Math.round(from), count: frames });
  };
  const endOf = (i: number) => (dts[i] ?? 0) + (duration[i] ?? 0);
  if (count === 0) fill(stretch.to, 0, shown.from, shown.to);
  else if ((dts[0] ?? 0) > shown.from + lag) fill(stretch.from, 0, shown.from, dts[0] ?? 0);
  for (let i = 1; i < count; i++) fill(offset[i] ?? 0, i, endOf(i - 1), dts[i] ?? 0);
  if (count > 0 && endOf(count - 1) < shown.to - lag) fill(stretch.to, count, endOf(count - 1), shown.to);
  return fills;
}

/** Bytes of silence in front of what lies at a file offset. */
export function filledBefore(fills: readonly Fill[], silence: Silence | undefined, offset: number): number {
  const frameBytes = silence?.data.byteLength ?? 0;
  return fills.reduce((sum, { at, count }) => sum + (at <= offset ? count * frameBytes : 0), 0);
}

/** The samples of the sound with its fills, in order; offsets count the silence in front of them. */
export function withFills(sound: SampleTable, fills: readonly Fill[], silence: Silence): SampleTable {
  const count = fills.reduce((sum, fill) => sum + fill.count, sound.count);
  const all = {
    count,
    dts: new Float64Array(count),
    duration: new Float64Array(count),
    compositionOffset: new Int32Array(count),
    size: new Uint32Array(count),
    offset: new Float64Array(count),
    sync: new Uint8Array(count).fill(1),
  };
  let next = 0;
  const put = (dts: number, duration: number, size: number, offset: number) => {
    all.dts[next] = dts;
    all.duration[next] = duration;
    all.size[next] = size;
    all.offset[next++] = offset;
  };
  let silent = 0;
  const putFills = (before: number) => {
    for (const fill of fills.filter((one) => one.before === before)) {
      for (let i = 0; i < fill.count; i++, silent += silence.data.byteLength) {
        put(fill.dts + i * silence.ticks, silence.ticks, silence.data.byteLength, fill.at + silent);
      }
    }
  };
  for (let i = 0; i < sound.count; i++) {
    putFills(i);
    const offset = sound.offset[i] ?? 0;
    put(sound.dts[i] ?? 0, sound.duration[i] ?? 0, sound.size[i] ?? 0, offset + filledBefore(fills, silence, offset));
  }
  putFills(sound.count);
  return all;
}
