/**
 * What decoder configuration records say: RFC 6381 codec strings, and for sound sample rate and channels (AV1 has a
 * file of its own, av1.ts).
 *
 * It decodes no media and looks into no SPS: the records carry what is needed. Pure functions; bytes that
 * contradict the format are FootageError E_INPUT_FORMAT, what is well-formed but not handled E_INPUT_UNSUPPORTED.
 */
import { FootageError } from '../errors.ts';
import { BitCursor } from './bits.ts';
import { Cursor, damaged } from './box.ts';

/** What `esds` says about a sound track. */
export interface AacInfo {
  /** RFC 6381, e.g. `mp4a.40.2`. */
  readonly codec: string;
  /** Samples per second of the decoded sound (with explicitly signalled SBR: the doubled rate). */
  readonly sampleRate: number;
  /** Decoded channels, or 0 if only the bit stream's program config element tells. */
  readonly channels: number;
}

/** `avc1.PPCCLL` from AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1; RFC 6381 section 3.3). */
export function avcCodec(entry: string, avcC: Uint8Array): string {
  const [version, profile, compatibility, level] = new Cursor(avcC, 'avcC').take(7);
  if (version !== 1) throw damaged(`avcC has version ${version}, not 1`);
  const hex = [profile, compatibility, level].map((byte) => (byte ?? 0).toString(16).padStart(2, '0'));
  return `${entry}.${hex.join('')}`;
}

/** `hvc1.1.6.L93.B0` from HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 8.3.3.1 and Annex E.3). */
export function hevcCodec(entry: string, hvcC: Uint8Array): string {
  if (hvcC.length < 23) throw damaged(`'hvcC' is too short`);
  const record = new Cursor(hvcC, 'hvcC');
  record.skip(1);
  const profile = record.u8();
  const compatibility = reverseBits32(record.u32());
  const constraints = [...record.take(6)];
  const level = record.u8();
  while (constraints.at(-1) === 0) constraints.pop();
  const fields = [
    entry,
    `${['', 'A', 'B', 'C'][profile >> 6]}${profile & 0x1f}`,
    compatibility.toString(16).toUpperCase(),
    `${(profile & 0x20) === 0 ? 'L' : 'H'}${level}`,
    ...constraints.map((byte) => byte.toString(16).toUpperCase()),
  ];
  return fields.join('.');
}

function reverseBits32(n: number): number {
  let reversed = 0;
  for (let bit = 0; bit < 32; bit++) reversed = reversed * 2 + ((n >>> bit) & 1);
  return reversed;
}

/** What `dOps` says about an Opus track (Encapsulation of Opus in ISO Base Media File Format, 4.3.2). */
export interface OpusInfo {
  readonly codec: 'opus';
  /** Opus always decodes at 48 kHz; what was encoded may have had another rate. */
  readonly sampleRate: 48_000;
  readonly channels: number;
  /** Opus streams in each packet, and how many of them (the first ones) are stereo. */
  readonly streams: number;
  readonly coupledStreams: number;
}

/** Reads the body of `dOps`. */
export function parseDops(dOps: Uint8Array): OpusInfo {
  const record = new Cursor(dOps, 'dOps');
  const version = record.u8();
  if (version !== 0) throw damaged(`'dOps' has version ${version}, not 0`);
  const channels = record.u8();
  record.skip(8); // PreSkip, InputSampleRate, OutputGain
  const family = record.u8();
  if (channels === 0 || (family === 0 && channels > 2)) throw damaged(`'dOps' has ${channels} channels`);
  if (family === 0) {
    return { codec: 'opus', sampleRate: 48_000, channels, streams: 1, coupledStreams: channels - 1 };
  }
  const streams = record.u8();
  const coupledStreams = record.u8();
  record.skip(channels); // ChannelMapping
  if (streams === 0 || coupledStreams > streams) throw damaged(`'dOps' has ${coupledStreams} of ${streams} streams`);
  return { codec: 'opus', sampleRate: 48_000, channels, streams, coupledStreams };
}

/**
 * Decoded sound a decoder needs before an instant to be right at it, seconds (with AAC: a frame, so any time short of
 * that). Opus: the binding's 4.3.6; G.711 keeps no state.
 */
export function preRollSeconds(codec: string): number {
  if (isG711(codec)) return 0;
  return codec === 'opus' ? 0.08 : 0.001;
}

/** A-law or µ-law: a byte is one decoded sample of one channel, so a frame is as long as it has bytes. */
export function isG711(codec: string): boolean {
  return codec === 'alaw' || codec === 'ulaw';
}

/** Tags of descriptors (ISO/IEC 14496-1 7.2.2.1). */
const ES_DESCRIPTOR = 3;
const DECODER_CONFIG_DESCRIPTOR = 4;
const DECODER_SPECIFIC_INFO = 5;

/** Object types (ISO/IEC 14496-1 7.2.6.6, table 5) that are AAC: MPEG-4 audio, and MPEG-2 AAC main, LC, SSR. */
const AAC_OBJECT_TYPES: readonly number[] = [0x40, 0x66, 0x67, 0x68];

/** Names of other object types met in `mp4a` entries. */
const OTHER_OBJECT_TYPES: ReadonlyMap<number, string> = new Map([
  [0x69, 'MPEG-2 audio (MP3)'],
  [0x6b, 'MPEG-1 audio (MP3)'],
  [0xa5, 'AC-3'],
  [0xa6, 'E-AC-3'],
  [0xad, 'Opus'],
]);

/** Reads the body of `esds` (version, flags, ES_Descriptor). Sound that is not AAC is E_INPUT_UNSUPPORTED. */
export function parseEsds(esds: Uint8Array): AacInfo {
  const { objectType, specific } = decoderConfigOf(esds);
  const info = parseAudioSpecificConfig(specific);
  const codec = objectType === 0x40 ? `mp4a.40.${info.objectType}` : `mp4a.${objectType.toString(16)}`;
  return { codec, sampleRate: info.sampleRate, channels: info.channels };
}

/**
 * The part of `esds` that a decoder is set up with (AudioSpecificConfig). The rest tells bit rates and buffer sizes,
 * which differ from file to file of one encoder.
 */
export function audioSpecificConfigOf(esds: Uint8Array): Uint8Array {
  return decoderConfigOf(esds).specific;
}

/** DecoderConfigDescriptor (ISO/IEC 14496-1 7.2.6.6). */
function decoderConfigOf(esds: Uint8Array): { readonly objectType: number; readonly specific: Uint8Array } {
  const body = new Cursor(esds, 'esds');
  body.skip(4);
  const es = descriptor(body, ES_DESCRIPTOR);
  es.skip(2);
  skipEsOptions(es);
  const decoder = descriptor(es, DECODER_CONFIG_DESCRIPTOR);
  const objectType = decoder.u8();
  if (!AAC_OBJECT_TYPES.includes(objectType)) throw notAac(objectType);
  // streamType, bufferSizeDB, maxBitrate, avgBitrate
  decoder.skip(12);
  return { objectType, specific: descriptor(decoder, DECODER_SPECIFIC_INFO).rest() };
}

/** ISO/IEC 14496-1 7.2.6.5: dependsOn_ES_ID, URL, OCR_ES_Id, each behind its flag. */
function skipEsOptions(es: Cursor): void {
  const flags = es.u8();
  if ((flags & 0x80) !== 0) es.skip(2);
  if ((flags & 0x40) !== 0) es.skip(es.u8());
  if ((flags & 0x20) !== 0) es.skip(2);
}

/** The body of the next descriptor, which must have this tag; its size takes 1 to 4 bytes (14496-1 8.3.3). */
function descriptor(from: Cursor, tag: number): Cursor {
  const found = from.u8();
  if (found !== tag) throw damaged(`'esds' has descriptor ${found} where ${tag} belongs`);
  let size = 0;
  for (let bytes = 0; bytes < 4; bytes++) {
    const byte = from.u8();
    size = (size << 7) | (byte & 0x7f);
    if (byte < 0x80) break;
  }
  return new Cursor(from.take(size), 'esds');
}

function notAac(objectType: number): FootageError {
  const name = OTHER_OBJECT_TYPES.get(objectType) ?? `object type 0x${objectType.toString(16)}`;
  return new FootageError('E_INPUT_UNSUPPORTED', `The sound is ${name}, not AAC. ${CONVERT_HINT}`);
}

/** How to get a file that is accepted; ends every message about a codec. */
export const CONVERT_HINT =
  'H.264, H.265, AV1, AAC, Opus and G.711 are accepted; convert with: ffmpeg -i INPUT -c:v libx264 -c:a aac OUTPUT.mp4';

/** samplingFrequencyIndex (ISO/IEC 14496-3 table 1.18); 15 = 24 explicit bits. */
const SAMPLE_RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350] as const;

/** channelConfiguration (ISO/IEC 14496-3 table 1.19); 0 = told by a program config element. */
const CHANNELS = [0, 1, 2, 3, 4, 5, 6, 8, undefined, undefined, undefined, 7, 8, 24, 8] as const;

/** Audio object types (ISO/IEC 14496-3 table 1.17) that announce SBR, and SBR with parametric stereo. */
const SBR = 5;
const PARAMETRIC_STEREO = 29;

/**
 * AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1). SBR signalled only behind the core's own configuration
 * (syncExtensionType) leaves the core's rate and type, as RFC 6381 names such streams.
 */
export function parseAudioSpecificConfig(bytes: Uint8Array): {
  readonly objectType: number;
  readonly sampleRate: number;
  readonly channels: number;
} {
  const bits = new BitCursor(bytes, 'AudioSpecificConfig');
  const objectType = audioObjectType(bits);
  const coreRate = samplingFrequency(bits);
  const channels = CHANNELS[bits.read(4)];
  if (channels === undefined) throw damaged('AudioSpecificConfig has a reserved channel configuration');
  if (objectType !== SBR && objectType !== PARAMETRIC_STEREO) return { objectType, sampleRate: coreRate, channels };
  const stereo = objectType === PARAMETRIC_STEREO && channels === 1;
  return { objectType, sampleRate: samplingFrequency(bits), channels: stereo ? 2 : channels };
}

function audioObjectType(bits: BitCursor): number {
  const type = bits.read(5);
  return type === 31 ? 32 + bits.read(6) : type;
}

function samplingFrequency(bits: BitCursor): number {
  const index = bits.read(4);
  const rate = index === 15 ? bits.read(24) : SAMPLE_RATES[index];
  if (rate === undefined || rate === 0) throw damaged('AudioSpecificConfig has no valid sample rate');
  return rate;
}
