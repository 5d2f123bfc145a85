/**
 * Sample groups of a track (ISO/IEC 14496-12 8.9). Only Opus has one: its binding (Encapsulation of Opus in ISO Base Media
 * File Format, 4.3.6) asks for `roll`, which says how many samples earlier decoding has to begin.
 */
import type { Track } from '../media.ts';
import { fourcc, fullBox, i16, u32 } from './box.ts';
import { preRollSeconds } from './codec.ts';

/** `sgpd` and `sbgp` of a track with `samples` samples in `durationTicks`; none if its codec or emptiness needs none. */
export function sampleGroups({ codec, timescale }: Track, samples: number, durationTicks: number): Uint8Array[] {
  if (codec !== 'opus' || samples === 0 || durationTicks === 0) return [];
  // All samples are in one group, so the usual length decides; a hair less than a whole number is that number.
  const preRollSamples = Math.ceil((preRollSeconds(codec) * timescale * samples) / durationTicks - 0.01);
  return [
    fullBox('sgpd', 1, 0, fourcc('roll'), u32(2), u32(1), i16(-preRollSamples)),
    fullBox('sbgp', 0, 0, fourcc('roll'), u32(1), u32(samples), u32(1)),
  ];
}
