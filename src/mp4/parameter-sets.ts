/**
 * The parameter sets of a video track as bytes that may stand in front of a sync sample: SPS and PPS (H.264), VPS, SPS
 * and PPS (H.265), each behind its length, or the sequence header OBU (AV1). An answer that joins several configurations
 * carries them so, since its sample entry can tell only one.
 */
import type { Track } from '../media.ts';
import { concatBytes, Cursor } from './box.ts';

/** Bytes of a NAL unit's length, or 0 for codecs without NAL units: samples of differing ones cannot be joined. */
export function nalLengthBytes({ codec, config }: Track): number {
  if (codec.startsWith('avc')) return ((config[4] ?? 0) & 3) + 1;
  if (codec.startsWith('hvc') || codec.startsWith('hev')) return ((config[21] ?? 0) & 3) + 1;
  return 0;
}

/** What a decoder has to be told before a sync sample of the track. Malformed configurations are E_INPUT_FORMAT. */
export function parameterSets(track: Track): Uint8Array {
  const { codec, config } = track;
  if (codec.startsWith('av01')) return config.slice(4);
  const lengthBytes = nalLengthBytes(track);
  const sets = codec.startsWith('avc') ? avcSets(config) : hevcSets(config);
  return concatBytes(sets.flatMap((set) => [bigEndian(set.byteLength, lengthBytes), set]));
}

function bigEndian(value: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** (bytes - 1 - i)) & 0xff);
}

/** AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1); SPS extensions are not needed to decode. */
function avcSets(avcC: Uint8Array): Uint8Array[] {
  const cursor = new Cursor(avcC, 'avcC');
  cursor.skip(5);
  const sps = lengthPrefixed(cursor, cursor.u8() & 0x1f);
  return [...sps, ...lengthPrefixed(cursor, cursor.u8())];
}

/** HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 8.3.3.1). */
function hevcSets(hvcC: Uint8Array): Uint8Array[] {
  const cursor = new Cursor(hvcC, 'hvcC');
  cursor.skip(22);
  const arrays = cursor.u8();
  return Array.from({ length: arrays }, () => {
    cursor.skip(1); // array_completeness, NAL_unit_type
    return lengthPrefixed(cursor, cursor.u16());
  }).flat();
}

function lengthPrefixed(cursor: Cursor, count: number): Uint8Array[] {
  return Array.from({ length: count }, () => cursor.take(cursor.u16()));
}
