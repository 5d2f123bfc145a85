/**
 * What the sequence parameter sets of H.264 (ITU-T H.264 7.3.2.1.1) and H.265 (ITU-T H.265 7.3.2.2) say of pictures: their
 * size, and what a decoder configuration repeats of them. Pure functions; bytes that contradict the format are
 * FootageError E_INPUT_FORMAT.
 */
import { BitCursor } from './bits.ts';
import { damaged } from './box.ts';

export interface PictureFormat {
  /** Pixels, cropped as they are shown. */
  readonly width: number;
  readonly height: number;
  /** 0 monochrome, 1 = 4:2:0, 2 = 4:2:2, 3 = 4:4:4. */
  readonly chromaFormat: number;
  readonly lumaBits: number;
  readonly chromaBits: number;
}

/** Profiles of H.264 whose SPS tells the chroma format (7.3.2.1.1). */
const HIGH_PROFILES: ReadonlySet<number> = new Set([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135]);
/** Longest prefix of an Exp-Golomb code that fits 32 bits. */
const MAX_LEADING_ZEROS = 31;
/** Of a sample: what three bits of a decoder configuration can tell beside the usual 8. */
const MAX_BITS = 15;

/** Exp-Golomb codes (H.264 9.1, H.265 9.2) of a NAL unit without its emulation prevention. */
class ParameterBits extends BitCursor {
  constructor(nalUnit: Uint8Array, headerBytes: number, what: string) {
    super(withoutEmulationPrevention(nalUnit.subarray(headerBytes)), what);
  }

  /** ue(v) */
  unsigned(): number {
    let zeros = 0;
    while (!this.flag()) if (++zeros > MAX_LEADING_ZEROS) throw damaged('a parameter set has a code that is too long');
    return 2 ** zeros - 1 + (zeros === 0 ? 0 : this.read(zeros));
  }

  /** se(v) */
  signed(): number {
    const code = this.unsigned();
    return code % 2 === 0 ? -code / 2 : (code + 1) / 2;
  }

  skip(bits: number): void {
    for (let left = bits; left > 0; left -= 32) this.read(Math.min(32, left));
  }
}

/** H.264 7.4.1: the 3 in 00 00 03 is none of the payload's. */
function withoutEmulationPrevention(bytes: Uint8Array): Uint8Array {
  let zeros = 0;
  return bytes.filter((byte) => {
    const prevents = zeros >= 2 && byte === 3;
    zeros = byte === 0 ? zeros + 1 : 0;
    return !prevents;
  });
}

/** Of an H.264 SPS, a whole NAL unit. */
export function avcPictureFormat(sps: Uint8Array): PictureFormat {
  const bits = new ParameterBits(sps, 1, 'the SPS');
  const profile = bits.read(8);
  bits.skip(16); // constraint flags, level_idc
  bits.unsigned(); // seq_parameter_set_id
  const color = HIGH_PROFILES.has(profile) ? avcColor(bits) : { chromaFormat: 1, lumaBits: 8, chromaBits: 8 };
  bits.unsigned(); // log2_max_frame_num_minus4
  skipPictureOrder(bits);
  bits.unsigned(); // max_num_ref_frames
  bits.skip(1); // gaps_in_frame_num_value_allowed_flag
  const widthInMbs = bits.unsigned() + 1;
  const heightInMapUnits = bits.unsigned() + 1;
  const fieldFactor = bits.flag() ? 1 : 2; // frame_mbs_only_flag
  if (fieldFactor === 2) bits.skip(1); // mb_adaptive_frame_field_flag
  bits.skip(1); // direct_8x8_inference_flag
  const crop = cropping(bits, color.chromaFormat, fieldFactor);
  return {
    ...color,
    ...checkedSize(16 * widthInMbs - crop.width, 16 * heightInMapUnits * fieldFactor - crop.height),
  };
}

function avcColor(bits: ParameterBits): Color {
  const chromaFormat = bits.unsigned();
  if (chromaFormat === 3) bits.skip(1); // separate_colour_plane_flag
  const lumaBits = bits.unsigned() + 8;
  const chromaBits = bits.unsigned() + 8;
  bits.skip(1); // qpprime_y_zero_transform_bypass_flag
  if (bits.flag())
    for (let i = 0; i < (chromaFormat === 3 ? 12 : 8); i++) if (bits.flag()) skipScalingList(bits, i < 6 ? 16 : 64);
  return checkedColor({ chromaFormat, lumaBits, chromaBits });
}

/** 7.3.2.1.1.1 */
function skipScalingList(bits: ParameterBits, size: number): void {
  let last = 8;
  let next = 8;
  for (let i = 0; i < size; i++) {
    if (next !== 0) next = (last + bits.signed() + 256) % 256;
    last = next === 0 ? last : next;
  }
}

function skipPictureOrder(bits: ParameterBits): void {
  const type = bits.unsigned();
  if (type === 0) bits.unsigned(); // log2_max_pic_order_cnt_lsb_minus4
  if (type !== 1) return;
  bits.skip(1); // delta_pic_order_always_zero_flag
  bits.signed(); // offset_for_non_ref_pic
  bits.signed(); // offset_for_top_to_bottom_field
  for (let left = bits.unsigned(); left > 0; left--) bits.signed(); // offset_for_ref_frame
}

/** Pixels cut off the coded picture: conformance window, or frame cropping, which both count in chroma samples. */
function cropping(bits: ParameterBits, chromaFormat: number, fieldFactor: number): { width: number; height: number } {
  if (!bits.flag()) return { width: 0, height: 0 };
  const [left, right, top, bottom] = [bits.unsigned(), bits.unsigned(), bits.unsigned(), bits.unsigned()];
  const unitX = chromaFormat === 1 || chromaFormat === 2 ? 2 : 1;
  const unitY = (chromaFormat === 1 ? 2 : 1) * fieldFactor;
  return { width: unitX * (left + right), height: unitY * (top + bottom) };
}

type Color = Pick<PictureFormat, 'chromaFormat' | 'lumaBits' | 'chromaBits'>;

function checkedColor(color: Color): Color {
  const { chromaFormat, lumaBits, chromaBits } = color;
  if (chromaFormat <= 3 && lumaBits <= MAX_BITS && chromaBits <= MAX_BITS) return color;
  throw damaged(`a parameter set has pictures of ${lumaBits} and ${chromaBits} bits in format ${chromaFormat}`);
}

function checkedSize(width: number, height: number): { width: number; height: number } {
  if ([width, height].every((pixels) => pixels >= 1 && pixels <= 0xffff)) return { width, height };
  throw damaged(`a parameter set has pictures of ${width}x${height} pixels`);
}

export interface HevcFormat extends PictureFormat {
  /** general_profile_space to general_level_idc: 12 bytes, as `hvcC` has them (ISO/IEC 14496-15 8.3.3.1.2). */
  readonly profileTierLevel: Uint8Array;
  readonly temporalLayers: number;
  readonly temporalIdNested: boolean;
}

/** Of an H.265 SPS, a whole NAL unit. */
export function hevcPictureFormat(sps: Uint8Array): HevcFormat {
  const bits = new ParameterBits(sps, 2, 'the SPS');
  const { subLayers, temporalIdNested, profileTierLevel } = hevcLayers(bits);
  bits.unsigned(); // sps_seq_parameter_set_id
  const chromaFormat = bits.unsigned();
  if (chromaFormat === 3) bits.skip(1); // separate_colour_plane_flag
  const [width, height] = [bits.unsigned(), bits.unsigned()];
  const crop = cropping(bits, chromaFormat, 1);
  const [lumaBits, chromaBits] = [bits.unsigned() + 8, bits.unsigned() + 8];
  const size = checkedSize(width - crop.width, height - crop.height);
  return {
    ...size,
    ...checkedColor({ chromaFormat, lumaBits, chromaBits }),
    profileTierLevel,
    temporalLayers: subLayers + 1,
    temporalIdNested,
  };
}

/** What an H.265 SPS begins with. */
function hevcLayers(bits: ParameterBits) {
  bits.skip(4); // sps_video_parameter_set_id
  const subLayers = bits.read(3); // sps_max_sub_layers_minus1
  if (subLayers > 6) throw damaged(`a parameter set has ${subLayers + 1} layers`);
  const temporalIdNested = bits.flag();
  const profileTierLevel = Uint8Array.from({ length: 12 }, () => bits.read(8));
  skipSubLayers(bits, subLayers);
  return { subLayers, temporalIdNested, profileTierLevel };
}

/** The rest of profile_tier_level() (7.3.3). */
function skipSubLayers(bits: ParameterBits, subLayers: number): void {
  if (subLayers === 0) return;
  const present = Array.from({ length: 8 }, () => ({ profile: bits.flag(), level: bits.flag() }));
  for (const { profile, level } of present.slice(0, subLayers)) bits.skip((profile ? 88 : 0) + (level ? 8 : 0));
}

/** Largest numbers of parameter sets: H.264 7.4.2, H.265 7.4.3. */
const MAX_AVC_SPS = 31;
const MAX_AVC_PPS = 255;
const MAX_HEVC_SPS = 15;
const MAX_HEVC_PPS = 63;

/** The number of an H.264 SPS: another one of that number takes its place. Whole NAL units, here and below. */
export function avcSpsNumber(sps: Uint8Array): number {
  const bits = new ParameterBits(sps, 1, 'the SPS');
  bits.skip(24); // profile_idc, constraint flags, level_idc
  return numberIn(bits, MAX_AVC_SPS);
}

export function avcPpsNumber(pps: Uint8Array): number {
  return numberIn(new ParameterBits(pps, 1, 'the PPS'), MAX_AVC_PPS);
}

export function hevcVpsNumber(vps: Uint8Array): number {
  return new ParameterBits(vps, 2, 'the VPS').read(4);
}

export function hevcSpsNumber(sps: Uint8Array): number {
  const bits = new ParameterBits(sps, 2, 'the SPS');
  hevcLayers(bits);
  return numberIn(bits, MAX_HEVC_SPS);
}

export function hevcPpsNumber(pps: Uint8Array): number {
  return numberIn(new ParameterBits(pps, 2, 'the PPS'), MAX_HEVC_PPS);
}

function numberIn(bits: ParameterBits, most: number): number {
  const number = bits.unsigned();
  if (number <= most) return number;
  throw damaged(`a parameter set has the number ${number}, and ${most} is the highest`);
}
