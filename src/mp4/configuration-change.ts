/**
 * Notices that a stream goes on with another configuration: parameter sets that stand in front of a sync sample and are
 * not those of the track (cameras send them again and again, mostly unchanged). It makes the track that holds from there
 * on: a decoder configuration record of the sets (ISO/IEC 14496-15 5.3.3.1 and 8.3.3.1), and the size of the picture.
 *
 * It changes no sample. Pure functions; malformed sets are FootageError E_INPUT_FORMAT.
 */
import { FootageError } from '../errors.ts';
import type { Track } from '../media.ts';
import { concatBytes, damaged, u16, u8 } from './box.ts';
import { avcCodec, hevcCodec } from './codec.ts';
import { nalLengthBytes, parameterSets } from './parameter-sets.ts';
import * as sets from './sequence-parameters.ts';

/** Profiles whose avcC does not end with chroma format and bit depths (ISO/IEC 14496-15 5.3.3.1.2). */
const AVC_WITHOUT_FORMAT: ReadonlySet<number> = new Set([66, 77, 88]);
/** Its length has two bytes. */
const MAX_SET_BYTES = 0xffff;

/** A kind of parameter sets. */
interface SetKind {
  /** Of its NAL units: H.264 table 7-1, H.265 table 7-1. */
  readonly type: number;
  readonly isSps: boolean;
  readonly numberOf: (nalUnit: Uint8Array) => number;
}

interface Family {
  readonly kinds: readonly SetKind[];
  readonly typeOf: (nalUnit: Uint8Array) => number;
  readonly configuration: (sets: readonly (readonly Uint8Array[])[], lengthBytes: number) => Uint8Array;
  readonly codec: (entry: string, config: Uint8Array) => string;
  readonly format: (sps: Uint8Array) => { readonly width: number; readonly height: number };
}

const AVC: Family = {
  kinds: [
    { type: 7, isSps: true, numberOf: sets.avcSpsNumber },
    { type: 8, isSps: false, numberOf: sets.avcPpsNumber },
  ],
  typeOf: ([first = 0]) => first & 0x1f,
  configuration: avcConfiguration,
  codec: avcCodec,
  format: sets.avcPictureFormat,
};

/** Of another layer (H.265 7.3.1.2: nuh_layer_id), which a track does not need. */
const NO_TYPE = -1;

const HEVC: Family = {
  kinds: [
    { type: 32, isSps: false, numberOf: sets.hevcVpsNumber },
    { type: 33, isSps: true, numberOf: sets.hevcSpsNumber },
    { type: 34, isSps: false, numberOf: sets.hevcPpsNumber },
  ],
  typeOf: ([first = 0, second = 0]) => ((first & 1) === 0 && second < 8 ? (first >> 1) & 0x3f : NO_TYPE),
  configuration: hevcConfiguration,
  codec: hevcCodec,
  format: sets.hevcPictureFormat,
};

/** Parameter sets of each kind, by number. */
type Sets = readonly ReadonlyMap<number, Uint8Array>[];

/** Of one video track; other codecs than H.264 and H.265 are not looked into, but for AV1's sequence header. */
export class ConfigurationWatch {
  #track: Track;
  #family: Family | undefined;
  /** In force. */
  #sets: Sets = [];
  /** Of AV1: the sequence header in force. */
  #header: Uint8Array | undefined;

  constructor(track: Track) {
    this.#track = track;
    this.#family = familyOf(track);
    if (this.#family === undefined) return;
    this.#sets = setsIn(this.#family, parameterSets(track), nalLengthBytes(track));
  }

  /**
   * The track as it is from this sync sample on, if the sample says that it has changed.
   * @throws FootageError E_INPUT_FORMAT; E_CAMERA_LOST for AV1, which has to be connected anew
   */
  changed(sample: Uint8Array): Track | undefined {
    const family = this.#family;
    if (family === undefined) return this.#checkSequenceHeader(sample);
    const found = setsIn(family, sample, nalLengthBytes(this.#track));
    if (found.every((units, i) => [...units].every(([number, unit]) => isEqual(this.#sets[i]?.get(number), unit)))) {
      return undefined;
    }
    const next = joined(family, this.#sets, found);
    this.#track = trackOf(family, this.#track, next);
    this.#sets = next;
    return this.#track;
  }

  /**
   * The first sync sample's header is in force, not that of `av1C`: encoders write one there before they know all of it.
   */
  #checkSequenceHeader(sample: Uint8Array): undefined {
    if (!this.#track.codec.startsWith('av01')) return undefined;
    const begins = (sample[0] ?? 0) >> 3 === TEMPORAL_DELIMITER ? sample.subarray(2) : sample;
    const found = firstObu(begins);
    if (!isSequenceHeader(found)) return undefined;
    this.#header ??= found.slice();
    if (isEqual(this.#header, found)) return undefined;
    throw new FootageError(
      'E_CAMERA_LOST',
      'The camera has changed its AV1 configuration: it is connected anew by itself.',
    );
  }
}

/** Types of OBUs (AV1 6.2.2). */
const SEQUENCE_HEADER = 1;
const TEMPORAL_DELIMITER = 2;
/** Flags of obu_header() (AV1 5.3.2). */
const OBU_HAS_EXTENSION = 0x04;
const OBU_HAS_SIZE = 0x02;

function familyOf({ codec }: Track): Family | undefined {
  if (codec.startsWith('avc')) return AVC;
  return codec.startsWith('hvc') || codec.startsWith('hev') ? HEVC : undefined;
}

/** Of several sets with one number the last one counts, as for a decoder. */
function setsIn(family: Family, sample: Uint8Array, lengthBytes: number): Sets {
  const units = nalUnits(sample, lengthBytes);
  return family.kinds.map(({ type, numberOf }) => {
    const ofKind = units.filter((unit) => family.typeOf(unit) === type);
    return new Map(ofKind.map((unit) => [numberOf(unit), unit]));
  });
}

/** What holds from a sample on. Those that come with another SPS are all there are; what the sample does not bring stays. */
function joined({ kinds }: Family, before: Sets, found: Sets): Sets {
  const hasSps = kinds.some(({ isSps }, i) => isSps && (found[i]?.size ?? 0) > 0);
  return before.map((known, i) => {
    const units = found[i];
    if (units === undefined || units.size === 0) return known;
    // Copied: the sample that they came with is not kept for them.
    const copied = [...units].map(([number, unit]) => [number, unit.slice()] as const);
    return new Map(hasSps ? copied : [...known, ...copied]);
  });
}

/** The first OBU (AV1 5.3.1); nothing where it has no size or is not whole. */
function firstObu(bytes: Uint8Array): Uint8Array {
  const [header = 0] = bytes;
  if ((header & OBU_HAS_SIZE) === 0) return new Uint8Array(0);
  const sizeAt = (header & OBU_HAS_EXTENSION) === 0 ? 1 : 2;
  let size = 0;
  for (let i = 0; i < 4; i++) {
    const byte = bytes[sizeAt + i] ?? 0;
    size += (byte & 0x7f) * 128 ** i;
    if (byte < 0x80) return bytes.subarray(0, sizeAt + i + 1 + size);
  }
  return new Uint8Array(0);
}

function isSequenceHeader([header = 0]: Uint8Array): boolean {
  return ((header >> 3) & 0x0f) === SEQUENCE_HEADER;
}

/** The NAL units of a sample, each behind its length (ISO/IEC 14496-15 5.3.4.2). */
function nalUnits(sample: Uint8Array, lengthBytes: number): Uint8Array[] {
  const units: Uint8Array[] = [];
  for (let at = 0; at + lengthBytes < sample.byteLength;) {
    let length = 0;
    for (let i = 0; i < lengthBytes; i++) length = length * 256 + (sample[at + i] ?? 0);
    at += lengthBytes;
    if (length > sample.byteLength - at) throw damaged('a NAL unit reaches behind the end of its sample');
    if (length > 0) units.push(sample.subarray(at, at + length));
    at += length;
  }
  return units;
}

function isEqual(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}

function trackOf(family: Family, track: Track, all: Sets): Track {
  const units = all.map((byNumber) => [...byNumber.values()]);
  if (units.flat().some(({ byteLength }) => byteLength > MAX_SET_BYTES)) throw damaged('a parameter set is too long');
  const [sps] = units[family.kinds.findIndex(({ isSps }) => isSps)] ?? [];
  if (sps === undefined) throw damaged('a stream has no SPS');
  const config = family.configuration(units, nalLengthBytes(track));
  const { width, height } = family.format(sps);
  return { ...track, codec: family.codec(track.codec.slice(0, 4), config), config, width, height };
}

/** AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1.2). */
function avcConfiguration([sps = [], pps = []]: readonly (readonly Uint8Array[])[], lengthBytes: number): Uint8Array {
  const [first = new Uint8Array(0)] = sps;
  // Both counts fit their bits; a count of 256 PPS does not, and nobody has so many.
  if (sps.length > 31 || pps.length > 255) throw damaged('a stream has more parameter sets than a track can tell');
  const { chromaFormat, lumaBits, chromaBits } = sets.avcPictureFormat(first);
  const [, profile = 0, compatibility = 0, level = 0] = first;
  const parts = [
    Uint8Array.of(1, profile, compatibility, level, 0xfc | (lengthBytes - 1), 0xe0 | sps.length),
    ...sps.flatMap(withLength),
    u8(pps.length),
    ...pps.flatMap(withLength),
  ];
  if (AVC_WITHOUT_FORMAT.has(profile)) return concatBytes(parts);
  return concatBytes([...parts, Uint8Array.of(0xfc | chromaFormat, 0xf8 | (lumaBits - 8), 0xf8 | (chromaBits - 8), 0)]);
}

/** HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 8.3.3.1.2). */
function hevcConfiguration(all: readonly (readonly Uint8Array[])[], lengthBytes: number): Uint8Array {
  const [sps = new Uint8Array(0)] = all[1] ?? [];
  const format = sets.hevcPictureFormat(sps);
  const head = Uint8Array.of(
    ...[1, ...format.profileTierLevel],
    ...[0xf0, 0], // min_spatial_segmentation_idc: unknown
    0xfc, // parallelismType: unknown
    ...[0xfc | format.chromaFormat, 0xf8 | (format.lumaBits - 8), 0xf8 | (format.chromaBits - 8)],
    ...[0, 0], // avgFrameRate: unknown
    (format.temporalLayers << 3) | (format.temporalIdNested ? 4 : 0) | (lengthBytes - 1),
    all.length,
  );
  const arrays = all.flatMap((units, i) => [
    u8(0x80 | (HEVC.kinds[i]?.type ?? 0)), // array_completeness
    u16(units.length),
    ...units.flatMap(withLength),
  ]);
  return concatBytes([head, ...arrays]);
}

const withLength = (unit: Uint8Array): Uint8Array[] => [u16(unit.byteLength), unit];
