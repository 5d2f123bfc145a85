/**
 * What an AV1 decoder configuration says: the codec string (AV1 Codec ISO Media File Format Binding, section 5), from
 * `av1C` and, for the colours, from the sequence header it holds (AV1 Bitstream & Decoding Process Specification 5.5).
 *
 * Pure functions; bytes that contradict the format are FootageError E_INPUT_FORMAT.
 */
import { BitCursor } from './bits.ts';
import { Cursor, damaged } from './box.ts';

/** Byte 0 of `av1C`: the marker bit, and version 1. */
const MARKER_AND_VERSION = 0x81;
const OBU_SEQUENCE_HEADER = 1;

/** Values of color_config() (AV1 6.4.2). */
interface Colors {
  readonly primaries: number;
  readonly transfer: number;
  readonly matrix: number;
  readonly fullRange: boolean;
}

/** Unspecified colours of studio range, which is also what no sequence header means. */
const UNSPECIFIED: Colors = { primaries: 2, transfer: 2, matrix: 2, fullRange: false };

/** `av01.P.LLT.DD`, and `.M.CCC.cp.tc.mc.F` behind it where these are not all what a player assumes without them. */
export function av1Codec(entry: string, av1C: Uint8Array): string {
  const record = new Cursor(av1C, 'av1C');
  if (record.u8() !== MARKER_AND_VERSION) throw damaged(`'av1C' is not of version 1`);
  const bits = new BitCursor(record.take(3), `'av1C'`);
  const profile = bits.read(3);
  const level = bits.read(5);
  const tier = bits.flag() ? 'H' : 'M';
  const highBitDepth = bits.flag();
  const depth = bits.flag() ? 12 : highBitDepth ? 10 : 8;
  const monochrome = bits.read(1);
  const chroma = [bits.read(1), bits.read(1), bits.read(2)].join('');
  const base = `${entry}.${profile}.${twoDigits(level)}${tier}.${twoDigits(depth)}`;
  const optional = optionalFields(monochrome, chroma, colorsOf(record.rest()));
  return optional === '' ? base : `${base}.${optional}`;
}

/** All of them or none: they are mutually inclusive. */
function optionalFields(monochrome: number, chroma: string, colors: Colors): string {
  const { primaries, transfer, matrix, fullRange } = colors;
  const usualColors = [primaries, transfer, matrix].every((value) => value === 1 || value === 2);
  if (monochrome === 0 && chroma === '110' && usualColors && !fullRange) return '';
  const described = [primaries, transfer, matrix].map(twoDigits).join('.');
  return `${monochrome}.${chroma}.${described}.${fullRange ? 1 : 0}`;
}

function twoDigits(n: number): string {
  return String(n).padStart(2, '0');
}

/** The colours of the sequence header among the configOBUs; they may be empty. */
function colorsOf(configObus: Uint8Array): Colors {
  const cursor = new Cursor(configObus, 'av1C');
  while (cursor.remaining > 0) {
    const header = cursor.u8();
    if ((header & 0x04) !== 0) cursor.skip(1); // obu_extension_header
    const hasSize = (header & 0x02) !== 0;
    const payload = cursor.take(hasSize ? leb128(cursor) : cursor.remaining);
    if (((header >> 3) & 0x0f) === OBU_SEQUENCE_HEADER) return readSequenceHeader(payload);
  }
  return UNSPECIFIED;
}

/** AV1 4.10.5; sizes of configuration OBUs need no more than 4 bytes. */
function leb128(cursor: Cursor): number {
  let value = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = cursor.u8();
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  throw damaged(`'av1C' has an OBU of more than 256 MiB`);
}

/** sequence_header_obu() (5.5.1), read for what stands at its end: color_config(). */
function readSequenceHeader(payload: Uint8Array): Colors {
  const bits = new BitCursor(payload, 'the AV1 sequence header');
  const profile = bits.read(3);
  bits.read(1); // still_picture
  const reduced = bits.flag();
  if (reduced) bits.read(5);
  else skipOperatingPoints(bits);
  skipFrameSize(bits, reduced);
  bits.read(3); // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
  if (!reduced) skipInterTools(bits);
  bits.read(3); // enable_superres, enable_cdef, enable_restoration
  return readColors(bits, profile);
}

function skipOperatingPoints(bits: BitCursor): void {
  const delayBits = bits.flag() ? skipTimingInfo(bits) : 0;
  const displayDelays = bits.flag();
  const points = bits.read(5) + 1;
  for (let i = 0; i < points; i++) {
    bits.read(12); // operating_point_idc
    if (bits.read(5) > 7) bits.read(1); // seq_level_idx, seq_tier
    if (delayBits > 0 && bits.flag()) {
      bits.read(delayBits); // decoder_buffer_delay
      bits.read(delayBits + 1); // encoder_buffer_delay, low_delay_mode_flag
    }
    if (displayDelays && bits.flag()) bits.read(4);
  }
}

/** timing_info() and decoder_model_info() (5.5.3, 5.5.4); returns the bits of a buffer delay, 0 without a model. */
function skipTimingInfo(bits: BitCursor): number {
  bits.read(32); // num_units_in_display_tick
  bits.read(32); // time_scale
  if (bits.flag()) skipUvlc(bits); // num_ticks_per_picture_minus_1
  if (!bits.flag()) return 0;
  const delayBits = bits.read(5) + 1;
  bits.read(32); // num_units_in_decoding_tick
  bits.read(10); // buffer_removal_time_length_minus_1, frame_presentation_time_length_minus_1
  return delayBits;
}

/** uvlc() (4.10.3). */
function skipUvlc(bits: BitCursor): void {
  let leadingZeros = 0;
  while (!bits.flag()) leadingZeros++;
  if (leadingZeros < 32) bits.read(leadingZeros);
}

function skipFrameSize(bits: BitCursor, reduced: boolean): void {
  const widthBits = bits.read(4) + 1;
  const heightBits = bits.read(4) + 1;
  bits.read(widthBits);
  bits.read(heightBits);
  if (!reduced && bits.flag()) bits.read(7); // delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
}

function skipInterTools(bits: BitCursor): void {
  bits.read(4); // enable_interintra_compound, enable_masked_compound, enable_warped_motion, enable_dual_filter
  const orderHint = bits.flag();
  if (orderHint) bits.read(2); // enable_jnt_comp, enable_ref_frame_mvs
  const chooseScreenContent = bits.flag();
  const screenContent = chooseScreenContent || bits.flag();
  if (screenContent && !bits.flag()) bits.read(1); // seq_choose_integer_mv, seq_force_integer_mv
  if (orderHint) bits.read(3); // order_hint_bits_minus_1
}

/** color_config() (5.5.2). sRGB (1, 13, 0) has no bit for its range: it is full. */
function readColors(bits: BitCursor, profile: number): Colors {
  const highBitDepth = bits.flag();
  if (profile === 2 && highBitDepth) bits.read(1); // twelve_bit
  if (profile !== 1) bits.read(1); // mono_chrome
  if (!bits.flag()) return { ...UNSPECIFIED, fullRange: bits.flag() };
  const [primaries, transfer, matrix] = [bits.read(8), bits.read(8), bits.read(8)];
  const srgb = primaries === 1 && transfer === 13 && matrix === 0;
  return { primaries, transfer, matrix, fullRange: srgb || bits.flag() };
}
