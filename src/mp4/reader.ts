/**
 * Reads the movie of an MP4 or QuickTime file (ISO/IEC 14496-12): turns `moov`, and the fragments that may follow it,
 * into one sample table per video and audio track. It reads foreign files and our own sealed segments alike.
 *
 * It does not read media bytes, does not find the boxes in a file (that is `top-level.ts`), and does not apply edit
 * lists (it returns them).
 *
 * Invariants: whatever the bytes are, it ends with a result or a FootageError; a count found in the file is checked
 * against the bytes behind it before anything of that size is allocated (constant sample sizes: against the size of
 * the file); times and offsets are safe integers.
 */
import { FootageError } from '../errors.ts';
import type { Track, TrackKind } from '../media.ts';
import { Cursor, boxes, childBodies, damaged, fourccAt, printableFourcc, viewOf } from './box.ts';
import { FragmentedTrack, changedDescription, readFragment, readTrackExtends } from './fragments.ts';
import type { Budget, BoxPlace, SampleDefaults } from './fragments.ts';
import { isSingleBytes, readSingleBytes } from './pcm.ts';
import { parseStsd } from './sample-entry.ts';
import type { SampleDescription } from './sample-entry.ts';
import type { SampleTable } from './tables.ts';

/** One edit (`elst`, 8.6.6). */
export interface Edit {
  /** Length in ticks of the movie timescale; 0 = to the end of the media. */
  readonly duration: number;
  /** Where in the media it begins, in ticks of the track; −1 = empty edit. */
  readonly mediaTime: number;
  /** Speed; 1 = normal. */
  readonly rate: number;
}

export interface MovieTrack {
  /** track_ID (`tkhd`). */
  readonly id: number;
  readonly kind: TrackKind;
  /** Type of the sample entry, e.g. `avc1`. */
  readonly entry: string;
  readonly track: Track;
  /** Ticks per second (`mdhd`). */
  readonly timescale: number;
  /** The edit list; empty if there is none. */
  readonly edits: readonly Edit[];
  /** DTS begin at 0: media time, before any edit. */
  readonly samples: SampleTable;
  /** Version of `ctts`: 1 if composition offsets may be negative; 0 also if there is no `ctts`. */
  readonly compositionVersion: number;
}

export interface Movie {
  /** Ticks per second of edit durations (`mvhd`). */
  readonly timescale: number;
  readonly tracks: readonly MovieTrack[];
  /** Tracks that are neither video nor audio, one readable line each. */
  readonly skipped: readonly string[];
}

/** What can be read; ends messages about files that cannot. */
export const ACCEPTED =
  'MP4 and MOV files with H.264, H.265, AV1, AAC, Opus and G.711 are accepted; convert with: ffmpeg -i INPUT -c copy OUTPUT.mp4';
const MAX_TRACKS = 64;
/** Samples of constant size need no bytes in the file's header: their number is limited for the whole movie. */
const MAX_CONSTANT_SAMPLES = 2 ** 24;

/** An E_INPUT_TRUNCATED error: the file ends before what it promises. */
export function cutOff(detail: string): FootageError {
  return new FootageError('E_INPUT_TRUNCATED', `The file is cut off: ${detail}. Copy it again, complete.`);
}

/**
 * Reads the body of `moov` alone. With the size of the file given, samples that reach behind its end are
 * E_INPUT_TRUNCATED.
 *
 * Errors: E_INPUT_UNSUPPORTED for a codec that is not handled (named) and media in other files; E_INPUT_FORMAT for
 * contradictions.
 */
export function readMovie(moov: Uint8Array, fileSize: number = Number.MAX_SAFE_INTEGER): Movie {
  return new MovieReader(moov, fileSize).finish();
}

/** A movie that is read piece by piece: `moov`, then its fragments in order of the file. Errors as in `readMovie`. */
export class MovieReader {
  readonly #timescale: number;
  readonly #fileSize: number;
  readonly #maxConstantSamples: number;
  readonly #budget: Budget;
  readonly #tracks: MovieTrack[] = [];
  readonly #skipped: string[] = [];
  /** What `mvex` says, by track_ID; empty if the movie has no fragments. */
  readonly #defaults: ReadonlyMap<number, SampleDefaults>;
  /** By track_ID: those that are not used too, since other tracks' data may lie behind theirs. */
  readonly #fragmented = new Map<number, FragmentedTrack>();

  /** `maxConstantSamples`: of a stream that is read as it comes, in each fragment. */
  constructor(moov: Uint8Array, fileSize: number, maxConstantSamples: number = MAX_CONSTANT_SAMPLES) {
    const children = childBodies(moov, 'moov');
    if (children.has('cmov'))
      throw new FootageError('E_INPUT_UNSUPPORTED', `The file has a compressed index. ${ACCEPTED}`);
    this.#timescale = timescaleOf(required(children, 'mvhd', 'moov'), 'mvhd');
    this.#fileSize = fileSize;
    this.#maxConstantSamples = maxConstantSamples;
    this.#budget = { samples: maxConstantSamples, bytes: fileSize };
    this.#defaults = readTrackExtends(children.get('mvex'));
    for (const { type, body } of boxes(moov, 'moov')) if (type === 'trak') this.#addTrack(body);
  }

  #addTrack(trak: Uint8Array): void {
    if (this.#tracks.length + this.#skipped.length === MAX_TRACKS) throw tooManyTracks();
    const result = readTrack(trak, this.#budget, this.#defaults);
    const defaults = this.#defaults.get(result.id);
    if (defaults !== undefined && this.#fragmented.has(result.id)) throw damaged(`two tracks are track ${result.id}`);
    if (defaults !== undefined) this.#fragmented.set(result.id, new FragmentedTrack(result, defaults));
    if ('why' in result) this.#skipped.push(result.why);
    else this.#tracks.push(checkedPositions(result, this.#fileSize));
  }

  /** Adds the samples of one `moof`; `place` is where the whole box lies in the file. */
  addFragment(moof: Uint8Array, place: BoxPlace): void {
    readFragment(moof, place, { tracks: this.#fragmented, fileSize: this.#fileSize, budget: this.#budget });
  }

  /** Ticks per second of edit durations (`mvhd`). */
  get timescale(): number {
    return this.#timescale;
  }

  /** Video and audio, with the samples that `moov` itself describes. */
  get tracks(): readonly MovieTrack[] {
    return this.#tracks;
  }

  /**
   * Of a stream that is read as it comes: the samples that fragments have added to a track since the last call. Their
   * offsets count as `place` of the fragment does; valid until the next fragment is added.
   */
  takeSamples({ id }: MovieTrack): SampleTable | undefined {
    // A stream has no end: what it may claim is counted anew.
    this.#budget.samples = this.#maxConstantSamples;
    this.#budget.bytes = this.#fileSize;
    return this.#fragmented.get(id)?.take();
  }

  /** The movie, once all fragments are added. */
  finish(): Movie {
    const tracks = this.#tracks.map((track) => this.#fragmented.get(track.id)?.extend(track) ?? track);
    if (this.#defaults.size > 0 && tracks.length > 0 && tracks.every(({ samples }) => samples.count === 0)) {
      throw cutOff('it announces fragments and holds no whole one, as an init segment without its media segments');
    }
    const lost = tracks.flatMap(({ id }) => this.#fragmented.get(id)?.lostLine() ?? []);
    return { timescale: this.#timescale, tracks, skipped: [...this.#skipped, ...lost] };
  }
}

function tooManyTracks(): FootageError {
  return new FootageError('E_INPUT_UNSUPPORTED', `The file has more than ${MAX_TRACKS} tracks.`);
}

function required(from: ReadonlyMap<string, Uint8Array>, type: string, parent: string): Uint8Array {
  const body = from.get(type);
  if (body === undefined) throw damaged(`'${parent}' has no '${type}'`);
  return body;
}

/** The timescale of `mvhd` (8.2.2) or `mdhd` (8.4.2), both of which begin alike. */
function timescaleOf(header: Uint8Array, what: string): number {
  const cursor = new Cursor(header, what);
  cursor.skip(cursor.u8() === 1 ? 3 + 16 : 3 + 8);
  const timescale = cursor.u32();
  if (timescale === 0) throw damaged(`'${what}' has a timescale of 0`);
  return timescale;
}

/** track_ID of `tkhd` (8.3.2). */
function trackIdOf(tkhd: Uint8Array): number {
  const cursor = new Cursor(tkhd, 'tkhd');
  cursor.skip(cursor.u8() === 1 ? 3 + 16 : 3 + 8);
  return cursor.u32();
}

/** handler_type (8.4.3). */
const HANDLERS: ReadonlyMap<string, TrackKind> = new Map([
  ['vide', 'video'],
  ['soun', 'audio'],
]);

/** A track that is left out. */
interface SkippedTrack {
  readonly id: number;
  /** One readable line. */
  readonly why: string;
}

function readTrack(
  trak: Uint8Array,
  budget: Budget,
  extended: ReadonlyMap<number, SampleDefaults>,
): MovieTrack | SkippedTrack {
  const children = childBodies(trak, 'trak');
  const id = trackIdOf(required(children, 'tkhd', 'trak'));
  const mdia = childBodies(required(children, 'mdia', 'trak'), 'mdia');
  const handler = fourccAt(new Cursor(required(mdia, 'hdlr', 'mdia'), 'hdlr').take(12), 8);
  const kind = HANDLERS.get(handler);
  if (kind === undefined) return { id, why: `track ${id} of type '${printableFourcc(handler)}'` };
  const timescale = timescaleOf(required(mdia, 'mdhd', 'mdia'), 'mdhd');
  const minf = childBodies(required(mdia, 'minf', 'mdia'), 'minf');
  const stbl = childBodies(required(minf, 'stbl', 'minf'), 'stbl');
  const stsc = required(stbl, 'stsc', 'stbl');
  const description = parseStsd(required(stbl, 'stsd', 'stbl'), kind, descriptionIndex(stsc, extended.get(id)));
  checkDataReference(minf.get('dinf'), description);
  return {
    id,
    kind,
    entry: description.entry,
    track: { ...description.track, timescale },
    timescale,
    edits: readEdits(children.get('edts')),
    samples: isSingleBytes(stbl, description.track)
      ? readSingleBytes(stbl, description.track, readChunkOffsets(stbl), budget)
      : readSamples(stbl, budget),
    compositionVersion: stbl.get('ctts')?.[0] ?? 0,
  };
}

/** The media must be in this file (`dref`, 8.7.2: flag 1 of its entry). */
function checkDataReference(dinf: Uint8Array | undefined, description: SampleDescription): void {
  const dref = dinf === undefined ? undefined : childBodies(dinf, 'dinf').get('dref');
  if (dref === undefined) return;
  const cursor = new Cursor(dref, 'dref');
  cursor.skip(8);
  let index = 0;
  for (const { body } of boxes(cursor.rest(), 'dref')) {
    index += 1;
    if (index !== description.dataReference) continue;
    if (((body[3] ?? 0) & 1) === 1) return;
    throw new FootageError('E_INPUT_UNSUPPORTED', `The media of the file is in another file. ${ACCEPTED}`);
  }
  throw damaged(`'dref' has no entry ${description.dataReference}`);
}

/** The edit list in `edts` (8.6.6). */
function readEdits(edts: Uint8Array | undefined): Edit[] {
  const elst = edts === undefined ? undefined : childBodies(edts, 'edts').get('elst');
  if (elst === undefined) return [];
  const long = elst[0] === 1;
  const { cursor, count } = openTable(elst, 'elst', long ? 20 : 12);
  const edits: Edit[] = [];
  for (let i = 0; i < count; i++) {
    const duration = long ? cursor.u64() : cursor.u32();
    const mediaTime = long ? cursor.i64() : cursor.i32();
    edits.push({ duration, mediaTime, rate: cursor.i16() + cursor.u16() / 0x1_0000 });
  }
  return edits;
}

/** A table behind version, flags and entry_count: the count is checked against the bytes there are. */
function openTable(body: Uint8Array, what: string, entryBytes: number): { cursor: Cursor; count: number } {
  const cursor = new Cursor(body, what);
  cursor.skip(4);
  const count = cursor.u32();
  if (count * entryBytes > cursor.remaining) throw damaged(`'${what}' claims ${count} entries but is too short`);
  return { cursor, count };
}

/** The same as a DataView of the entries, for the loops over all samples. */
function tableView(body: Uint8Array, what: string, entryBytes: number): { view: DataView; count: number } {
  const { cursor, count } = openTable(body, what, entryBytes);
  return { view: viewOf(cursor.rest()), count };
}

type Tables = ReadonlyMap<string, Uint8Array>;

function readSamples(stbl: Tables, budget: Budget): SampleTable {
  const size = readSizes(stbl, budget);
  const count = size.length;
  const { dts, duration } = readTimes(required(stbl, 'stts', 'stbl'), count);
  return {
    count,
    dts,
    duration,
    compositionOffset: readCompositionOffsets(stbl.get('ctts'), count),
    size,
    offset: readOffsets(required(stbl, 'stsc', 'stbl'), readChunkOffsets(stbl), size),
    sync: readSync(stbl.get('stss'), count),
  };
}

/** Sizes in bytes: `stsz` (8.7.3.2), with a size per sample or one for all, or `stz2` (8.7.3.3). */
function readSizes(stbl: Tables, budget: Budget): Uint32Array {
  const stz2 = stbl.get('stz2');
  const stsz = stbl.get('stsz');
  if (stsz === undefined && stz2 !== undefined) return readCompactSizes(stz2);
  const cursor = new Cursor(required(stbl, 'stsz', 'stbl'), 'stsz');
  cursor.skip(4);
  const constant = cursor.u32();
  const count = cursor.u32();
  if (constant !== 0) return constantSizes(constant, count, budget);
  if (count * 4 > cursor.remaining) throw damaged(`'stsz' claims ${count} samples but is too short`);
  const view = viewOf(cursor.rest());
  const sizes = new Uint32Array(count);
  for (let i = 0; i < count; i++) sizes[i] = view.getUint32(i * 4);
  return sizes;
}

function constantSizes(size: number, count: number, budget: Budget): Uint32Array {
  budget.bytes -= size * count;
  budget.samples -= count;
  if (budget.bytes < 0) throw cutOff(`its index speaks of ${count} samples of ${size} bytes, more than the file has`);
  if (budget.samples < 0) {
    throw new FootageError(
      'E_INPUT_UNSUPPORTED',
      `The file has more than ${MAX_CONSTANT_SAMPLES} samples of equal size.`,
    );
  }
  return new Uint32Array(count).fill(size);
}

function readCompactSizes(stz2: Uint8Array): Uint32Array {
  const cursor = new Cursor(stz2, 'stz2');
  cursor.skip(7); // version, flags, reserved
  const fieldBits = cursor.u8();
  const count = cursor.u32();
  if (fieldBits !== 4 && fieldBits !== 8 && fieldBits !== 16) throw damaged(`'stz2' has fields of ${fieldBits} bits`);
  const fields = cursor.rest();
  if (Math.ceil((count * fieldBits) / 8) > fields.length)
    throw damaged(`'stz2' claims ${count} samples but is too short`);
  const sizes = new Uint32Array(count);
  for (let i = 0; i < count; i++) sizes[i] = compactField(fields, fieldBits, i);
  return sizes;
}

/** Field `i`; of two 4-bit fields in a byte the first is the upper one. */
function compactField(fields: Uint8Array, bits: 4 | 8 | 16, i: number): number {
  if (bits === 16) return ((fields[i * 2] ?? 0) << 8) | (fields[i * 2 + 1] ?? 0);
  if (bits === 8) return fields[i] ?? 0;
  const pair = fields[i >> 1] ?? 0;
  return i % 2 === 0 ? pair >> 4 : pair & 0x0f;
}

/** Decode times and durations in ticks: `stts` (8.6.1.2), from 0 on. */
function readTimes(stts: Uint8Array, samples: number): { dts: Float64Array; duration: Float64Array } {
  const { view, count } = tableView(stts, 'stts', 8);
  const dts = new Float64Array(samples);
  const duration = new Float64Array(samples);
  let time = 0;
  let i = 0;
  for (let run = 0; run < count && i < samples; run++) {
    const end = Math.min(samples, i + view.getUint32(run * 8));
    const delta = view.getUint32(run * 8 + 4);
    for (; i < end; i++, time += delta) {
      dts[i] = time;
      duration[i] = delta;
    }
  }
  if (i < samples) throw damaged(`'stts' has times for ${i} of ${samples} samples`);
  if (!Number.isSafeInteger(time)) throw damaged(`times in 'stts' exceed 2^53`);
  return { dts, duration };
}

/** Composition offsets in ticks: `ctts` (8.6.1.3). Version 0 is read as signed too: QuickTime and FFmpeg do. */
function readCompositionOffsets(ctts: Uint8Array | undefined, samples: number): Int32Array {
  const offsets = new Int32Array(samples);
  if (ctts === undefined) return offsets;
  const { view, count } = tableView(ctts, 'ctts', 8);
  let i = 0;
  for (let run = 0; run < count && i < samples; run++) {
    const end = Math.min(samples, i + view.getUint32(run * 8));
    const offset = view.getInt32(run * 8 + 4);
    for (; i < end; i++) offsets[i] = offset;
  }
  if (i < samples) throw damaged(`'ctts' has offsets for ${i} of ${samples} samples`);
  return offsets;
}

/** Sync samples: `stss` (8.6.2); without it every sample is one. */
function readSync(stss: Uint8Array | undefined, samples: number): Uint8Array {
  const sync = new Uint8Array(samples);
  if (stss === undefined) return sync.fill(1);
  const { view, count } = tableView(stss, 'stss', 4);
  for (let i = 0; i < count; i++) {
    const number = view.getUint32(i * 4);
    if (number === 0 || number > samples) throw damaged(`'stss' names sample ${number} of ${samples}`);
    sync[number - 1] = 1;
  }
  return sync;
}

/** Chunk offsets in the file: `stco` or `co64` (8.7.5). */
function readChunkOffsets(stbl: Tables): Float64Array {
  const co64 = stbl.get('co64');
  if (co64 === undefined) {
    const { view, count } = tableView(required(stbl, 'stco', 'stbl'), 'stco', 4);
    const offsets = new Float64Array(count);
    for (let i = 0; i < count; i++) offsets[i] = view.getUint32(i * 4);
    return offsets;
  }
  const { view, count } = tableView(co64, 'co64', 8);
  const offsets = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    // More than 2^53 is rounded here and refused when the range is checked against the file.
    offsets[i] = view.getUint32(i * 8) * 0x1_0000_0000 + view.getUint32(i * 8 + 4);
  }
  return offsets;
}

/** Lays the samples into their chunks: `stsc` (8.7.4). */
function readOffsets(stsc: Uint8Array, chunks: Float64Array, size: Uint32Array): Float64Array {
  const { view, count: runs } = tableView(stsc, 'stsc', 12);
  const samples = size.length;
  const offset = new Float64Array(samples);
  let i = 0;
  for (let run = 0; run < runs && i < samples; run++) {
    const first = view.getUint32(run * 12) - 1;
    const perChunk = view.getUint32(run * 12 + 4);
    const next = run + 1 < runs ? view.getUint32((run + 1) * 12) - 1 : chunks.length;
    if (first < 0 || next < first || (run === 0 && first !== 0)) throw damaged(`chunks in 'stsc' are out of order`);
    const lastChunk = Math.min(next, chunks.length);
    for (let chunk = first; chunk < lastChunk && i < samples; chunk++) {
      let at = chunks[chunk] ?? 0;
      for (const end = Math.min(samples, i + perChunk); i < end; i++) {
        offset[i] = at;
        at += size[i] ?? 0;
      }
    }
  }
  if (i < samples) throw damaged(`the chunks hold only ${i} of ${samples} samples`);
  return offset;
}

/** The one sample description the track uses (1-based); a change in mid-file is E_INPUT_UNSUPPORTED. */
function descriptionIndex(stsc: Uint8Array, defaults: SampleDefaults | undefined): number {
  const { view, count } = tableView(stsc, 'stsc', 12);
  const index = defaults?.descriptionIndex ?? (count === 0 ? 1 : view.getUint32(8));
  for (let run = 0; run < count; run++) if (view.getUint32(run * 12 + 8) !== index) throw changedDescription();
  return index;
}

function checkedPositions(track: MovieTrack, fileSize: number): MovieTrack {
  const { count, offset, size } = track.samples;
  for (let i = 0; i < count; i++) {
    const end = (offset[i] ?? 0) + (size[i] ?? 0);
    if (end > fileSize) {
      throw cutOff(`sample ${i + 1} of track ${track.id} should reach to byte ${end}, the file ends at ${fileSize}`);
    }
  }
  return track;
}
