/**
 * Sample descriptions (`stsd`, ISO/IEC 14496-12 8.5.2): from a track to bytes, and from bytes of an MP4 or a
 * QuickTime file to a track.
 *
 * One row of CODECS per kind of sample entry; a new codec is a new row. Only what `Track` holds is kept: boxes
 * beside the decoder configuration (`pasp`, `colr`, `btrt`, …) are not carried over, so the shape of pixels is lost
 * for players that do not take it from the bit stream. Pure functions.
 */
import { FootageError } from '../errors.ts';
import type { Track, TrackKind } from '../media.ts';
import {
  Cursor,
  box,
  boxes,
  childBodies,
  concatBytes,
  damaged,
  fourccAt,
  fullBox,
  printableFourcc,
  u16,
  u32,
  zeros,
} from './box.ts';
import { av1Codec } from './av1.ts';
import { CONVERT_HINT, avcCodec, hevcCodec, parseDops, parseEsds } from './codec.ts';

/** What a configuration record tells about its track. */
interface ConfigFacts {
  readonly codec: string;
  readonly sampleRate?: number;
  readonly channels?: number;
}

interface CodecRow {
  readonly kind: TrackKind;
  /** Type of the configuration box inside the sample entry; undefined: the entry says it all. */
  readonly configBox: string | undefined;
  readonly facts: (entry: string, config: Uint8Array) => ConfigFacts;
}

const AVC: CodecRow = {
  kind: 'video',
  configBox: 'avcC',
  facts: (entry, config) => ({ codec: avcCodec(entry, config) }),
};
const HEVC: CodecRow = {
  kind: 'video',
  configBox: 'hvcC',
  facts: (entry, config) => ({ codec: hevcCodec(entry, config) }),
};
const AV1: CodecRow = {
  kind: 'video',
  configBox: 'av1C',
  facts: (entry, config) => ({ codec: av1Codec(entry, config) }),
};
const AAC: CodecRow = { kind: 'audio', configBox: 'esds', facts: (_entry, config) => parseEsds(config) };
const OPUS: CodecRow = { kind: 'audio', configBox: 'dOps', facts: (_entry, config) => parseDops(config) };
const G711: CodecRow = { kind: 'audio', configBox: undefined, facts: (entry) => ({ codec: entry }) };

/** By the type of the sample entry, which is (but for Opus) also what the codec string begins with. */
const CODECS: ReadonlyMap<string, CodecRow> = new Map([
  ['avc1', AVC],
  ['avc3', AVC],
  ['hvc1', HEVC],
  ['hev1', HEVC],
  ['av01', AV1],
  ['mp4a', AAC],
  ['Opus', OPUS],
  ['alaw', G711],
  ['ulaw', G711],
]);

/** Names for messages about entries that have no row. */
const OTHER_CODECS: ReadonlyMap<string, string> = new Map([
  ['ap4h', 'ProRes 4444'],
  ['ap4x', 'ProRes 4444 XQ'],
  ['apch', 'ProRes 422 HQ'],
  ['apcn', 'ProRes 422'],
  ['apco', 'ProRes 422 Proxy'],
  ['apcs', 'ProRes 422 LT'],
  ['mp4v', 'MPEG-4 Part 2'],
  ['jpeg', 'Motion JPEG'],
  ['mjpa', 'Motion JPEG'],
  ['mjpb', 'Motion JPEG'],
  ['s263', 'H.263'],
  ['vp08', 'VP8'],
  ['vp09', 'VP9'],
  ['dvh1', 'Dolby Vision'],
  ['dvhe', 'Dolby Vision'],
  ['encv', 'encrypted'],
  ['enca', 'encrypted'],
  ['fLaC', 'FLAC'],
  ['alac', 'Apple Lossless'],
  ['ac-3', 'AC-3'],
  ['ec-3', 'E-AC-3'],
  ['.mp3', 'MP3'],
  ['samr', 'AMR'],
  ['lpcm', 'PCM'],
  ['sowt', 'PCM'],
  ['twos', 'PCM'],
  ['ipcm', 'PCM'],
]);

/** Type of the sample entry of a codec (RFC 6381 3.3): its first four characters, but `opus` is in an entry `Opus`. */
function entryType(codec: string): string {
  return codec === 'opus' ? 'Opus' : codec.slice(0, 4);
}

/** The sample entry of a track, with its box header. A codec without a row is E_TRACK. */
export function writeSampleEntry(track: Track): Uint8Array {
  const entry = entryType(track.codec);
  const row = CODECS.get(entry);
  if (row === undefined || row.kind !== track.kind) {
    throw new FootageError('E_TRACK', `${track.kind} of codec ${track.codec} cannot be written: ${CONVERT_HINT}`);
  }
  const fields = track.kind === 'video' ? visualFields(track) : soundFields(track);
  const config = row.configBox === undefined ? channelLayout(track) : [box(row.configBox, track.config)];
  return box(entry, zeros(6), u16(1), ...fields, ...config);
}

/** The whole `stsd` box with the track's one sample entry (ISO/IEC 14496-12 8.5.2.2). */
export function writeStsd(track: Track): Uint8Array {
  return fullBox('stsd', 0, 0, u32(1), writeSampleEntry(track));
}

/**
 * Whether the track's sample entry can be written and read back.
 * @throws FootageError E_TRACK, E_INPUT_FORMAT, E_INPUT_UNSUPPORTED
 */
export function checkSampleEntry(track: Track): void {
  const entry = writeSampleEntry(track);
  parseSampleEntry(fourccAt(entry, 4), entry.subarray(8), track.kind, 0);
}

/** VisualSampleEntry behind SampleEntry (ISO/IEC 14496-12 12.1.3.2). */
function visualFields(track: Track): Uint8Array[] {
  const { width, height } = track;
  if (width === undefined || height === undefined)
    throw new FootageError('E_TRACK', 'A video track needs width and height.');
  return [
    zeros(16), // pre_defined, reserved
    u16(width),
    u16(height),
    u32(0x0048_0000), // horizresolution, 72 dpi
    u32(0x0048_0000), // vertresolution
    u32(0), // reserved
    u16(1), // frame_count
    zeros(32), // compressorname
    u16(0x0018), // depth
    u16(0xffff), // pre_defined
  ];
}

/** AudioSampleEntry, version 0, behind SampleEntry (ISO/IEC 14496-12 12.2.3.2). */
function soundFields(track: Track): Uint8Array[] {
  const { sampleRate, channels } = track;
  if (sampleRate === undefined || channels === undefined) {
    throw new FootageError('E_TRACK', 'An audio track needs sampleRate and channels.');
  }
  // The field has 16 bits before the point; a higher rate is left to the decoder configuration.
  const integerRate = sampleRate <= 0xffff ? sampleRate : 0;
  return [
    zeros(8), // reserved
    u16(channels),
    u16(16), // samplesize
    u32(0), // pre_defined, reserved
    concatBytes([u16(integerRate), u16(0)]), // samplerate 16.16
  ];
}

/** Channel layout tags of QuickTime (Core Audio): mono, and left and right. */
const LAYOUT_TAGS: ReadonlyMap<number, number> = new Map([
  [1, 0x0064_0001],
  [2, 0x0065_0002],
]);

/** `chan` (QuickTime File Format, "Channel Layout"): without it FFmpeg guesses aloud. */
function channelLayout({ channels = 0 }: Track): Uint8Array[] {
  const tag = LAYOUT_TAGS.get(channels);
  return tag === undefined ? [] : [fullBox('chan', 0, 0, u32(tag), u32(0), u32(0))];
}

/** What one sample entry says. */
export interface SampleDescription {
  readonly track: Omit<Track, 'timescale'>;
  /** Type of the sample entry, e.g. `hev1`. */
  readonly entry: string;
  /** 1-based index into `dref`: where the media bytes are. */
  readonly dataReference: number;
}

/**
 * Reads entry `index` (1-based) of the body of an `stsd` box that belongs to a track of this kind. A codec that has
 * no row is E_INPUT_UNSUPPORTED and named; anything malformed E_INPUT_FORMAT.
 */
export function parseStsd(stsd: Uint8Array, kind: TrackKind, index = 1): SampleDescription {
  const cursor = new Cursor(stsd, 'stsd');
  const stsdVersion = cursor.u8();
  cursor.skip(7); // flags, entry_count
  let position = 0;
  for (const { type, body } of boxes(cursor.rest(), 'stsd')) {
    position += 1;
    if (position === index) return parseSampleEntry(type, body, kind, stsdVersion);
  }
  throw damaged(`'stsd' has no entry ${index}`);
}

function parseSampleEntry(entry: string, body: Uint8Array, kind: TrackKind, stsdVersion: number): SampleDescription {
  const row = CODECS.get(entry);
  if (row === undefined || row.kind !== kind) throw unsupportedCodec(entry, kind);
  const cursor = new Cursor(body, entry);
  cursor.skip(6);
  const dataReference = cursor.u16();
  const fields = kind === 'video' ? readVisualFields(cursor) : readSoundFields(cursor, stsdVersion);
  // A copy, since the track outlives the tables around it (not `slice`, which copies nothing of a Buffer).
  const config = new Uint8Array(findConfig(cursor.rest(), entry, row.configBox));
  const { codec, ...told } = row.facts(entry, config);
  const size = kind === 'video' ? fields : mergeSound(fields, told);
  return { track: { kind, codec, config, ...size }, entry, dataReference };
}

function unsupportedCodec(entry: string, kind: TrackKind): FootageError {
  const code = `'${printableFourcc(entry)}'`;
  const name = OTHER_CODECS.get(entry);
  const shown = name === undefined ? code : `${name} (${code})`;
  return new FootageError('E_INPUT_UNSUPPORTED', `The ${kind} is ${shown}, which is not supported. ${CONVERT_HINT}`);
}

interface EntryFields {
  readonly width?: number;
  readonly height?: number;
  readonly sampleRate?: number;
  readonly channels?: number;
}

function readVisualFields(cursor: Cursor): EntryFields {
  cursor.skip(16);
  const width = cursor.u16();
  const height = cursor.u16();
  cursor.skip(50);
  if (width === 0 || height === 0) throw damaged(`the video has a size of ${width}x${height}`);
  return { width, height };
}

/**
 * AudioSampleEntry; a QuickTime SoundDescription of version 1 or 2 has more fields (QuickTime File Format, "Sound
 * Sample Description"), the version 1 of ISO (in an `stsd` of version 1) has not.
 */
function readSoundFields(cursor: Cursor, stsdVersion: number): EntryFields {
  const version = cursor.u16();
  cursor.skip(6);
  const channels = cursor.u16();
  cursor.skip(6);
  const sampleRate = cursor.u32() / 0x1_0000;
  if (version === 2) return readSoundFieldsV2(cursor);
  if (version === 1 && stsdVersion === 0) cursor.skip(16);
  return { channels, sampleRate };
}

function readSoundFieldsV2(cursor: Cursor): EntryFields {
  cursor.skip(4); // sizeOfStructOnly
  const sampleRate = cursor.f64();
  const channels = cursor.u32();
  cursor.skip(20);
  return { channels, sampleRate };
}

/** The decoder's own configuration is right where the entry disagrees; the entry fills what it leaves open. */
function mergeSound(entry: EntryFields, told: Omit<ConfigFacts, 'codec'>): EntryFields {
  const sampleRate = told.sampleRate || entry.sampleRate;
  const channels = told.channels || entry.channels;
  if (!isCount(sampleRate) || !isCount(channels)) throw damaged('the sound has no valid sample rate or no channels');
  return { sampleRate, channels };
}

function isCount(n: number | undefined): n is number {
  return n !== undefined && Number.isInteger(n) && n > 0;
}

/** The body of the configuration box: in the entry, or (QuickTime sound) in a `wave` box inside it. */
function findConfig(extensions: Uint8Array, entry: string, configBox: string | undefined): Uint8Array {
  if (configBox === undefined) return zeros(0);
  const direct = childBodies(extensions, entry);
  const wave = direct.get('wave');
  const config = direct.get(configBox) ?? (wave === undefined ? undefined : childBodies(wave, 'wave').get(configBox));
  if (config === undefined) throw damaged(`a sample entry '${entry}' has no '${configBox}'`);
  return config;
}
