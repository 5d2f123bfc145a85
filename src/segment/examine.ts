/**
 * Looks at all of one segment, and says what is wrong with it: every checksum, and every table against the frames.
 * Changes nothing, and keeps what a repair needs of what was read.
 */
import type { Head } from '../format/records.ts';
import { TABLE_NAMES, type Trailer } from '../format/trailer.ts';
import { FootageError } from '../errors.ts';
import { FTYP } from '../mp4/movie.ts';
import { tablesEqual } from '../mp4/tables.ts';
import type { Native } from '../native-types.ts';
import { ContentsBuilder, type SegmentContents } from './contents.ts';
import { type DiskFile, isThere, readUpTo, type SegmentIo } from './disk.ts';
import { checkIndex } from './index-check.ts';
import { DATA_START, journalPathOf, MDAT_HEADER_AT, OPEN_PREFIX, sealedPrefix } from './layout.ts';
import { readFileHead, readSealed, readTrailer, scanInto } from './reader.ts';
import { countersOf, extentOf, type SegmentCounters } from './summary.ts';

/** What can be wrong with a segment; docs/durability.md says what a repair does about each. */
export type SegmentProblemCode =
  | 'configuration-damaged'
  | 'end-missing'
  | 'frame-damaged'
  | 'head-damaged'
  | 'header-damaged'
  | 'index-damaged'
  | 'moov-damaged'
  | 'newer-format'
  | 'record-damaged'
  | 'repair-unfinished'
  | 'tables-differ'
  | 'trailer-damaged'
  | 'unreadable';

export interface Problem<Code extends string = SegmentProblemCode> {
  /** Stable. */
  readonly code: Code;
  /** The bytes [from, to) of the file that it concerns. */
  readonly from: number;
  readonly to: number;
  /** One sentence. */
  readonly message: string;
}

export interface ExamineOptions {
  /** The segment is known to have been sealed: without a valid trailer it has lost it. */
  readonly wasSealed?: boolean | undefined;
  /** Called as the segment is read, with the bytes read since: holds the check up. */
  readonly pace?: ((bytes: number) => Promise<void>) | undefined;
}

export type ByteRange = readonly [from: number, to: number];

/** What the ends of a segment say of it. */
interface Outline {
  readonly size: number;
  /** From the file, else from the trailer's copy, else from that of the pseudo-header. */
  readonly head: Head | undefined;
  /** One that holds. */
  readonly trailer: Trailer | undefined;
  /** It was sealed once: with no trailer now, it has lost it. */
  readonly wasSealed: boolean;
  /** What the tables of `moov` say, if they hold. */
  readonly named: SegmentContents | undefined;
}

/** What its records say. */
interface Scanned {
  /** The frames that are intact; undefined if nobody says what they are frames of. */
  readonly contents: SegmentContents | undefined;
  /** Tracks whose configuration record is lost. */
  readonly unconfigured: readonly number[];
  /** Bytes among the records that belong to none. */
  readonly damaged: readonly ByteRange[];
  readonly ended: boolean;
  /** Video frames behind holes that no table refers to. */
  readonly unreferenced: number;
  readonly unexplainedBytes: number;
}

export type Examination = Outline & Scanned & { readonly problems: readonly Problem[] };

/** @throws FootageError E_FORMAT_VERSION for a segment that only a newer program may touch; E_IO */
export async function examine(
  file: DiskFile,
  path: string,
  io: SegmentIo,
  options: ExamineOptions = {},
): Promise<Examination> {
  const problems: Problem[] = [];
  const outline = await readOutline(file, path, io, options, problems);
  const scanned = await scanAll(file, outline, options, io.native);
  problems.push(...judgeRecords(outline, scanned));
  if (problems.length === 0) problems.push(...compare(outline, scanned));
  return { ...outline, ...scanned, problems };
}

async function readOutline(
  file: DiskFile,
  path: string,
  io: SegmentIo,
  options: ExamineOptions,
  problems: Problem[],
): Promise<Outline> {
  const { size } = await file.stat();
  if (await isThere(io.disk, journalPathOf(path)))
    problems.push({ code: 'repair-unfinished', from: 0, to: size, message: 'a repair of it was interrupted' });
  const own = await readFileHead(file, io.native);
  const last = await readTrailer(file, io.native);
  // The last block may be one that another segment left on the disk.
  const trailer = own === undefined || last?.head.segment === own.segment ? last : undefined;
  const prefix = await readUpTo(file, 0, DATA_START);
  const wasSealed = trailer !== undefined || options.wasSealed === true || beginsSealed(prefix);
  const index = trailer === undefined ? await checkIndex(file, path, own, io) : undefined;
  // Of a sealed segment it is a leftover.
  if (!wasSealed && index?.problem !== undefined) problems.push(index.problem);
  problems.push(...checkPrefix(prefix, trailer, wasSealed));
  if (wasSealed && trailer === undefined) problems.push(noTrailer(size));
  const head = own ?? trailer?.head ?? index?.head;
  const named = trailer && (await checkMovie(file, trailer, io.native, problems));
  return { size, head, trailer, wasSealed, named };
}

function noTrailer(size: number): Problem {
  const message = 'it was sealed, and no trailer that holds is at its end';
  return { code: 'trailer-damaged', from: Math.max(0, size - 1), to: size, message };
}

/** Only sealing writes this. */
function beginsSealed(prefix: Uint8Array): boolean {
  const sealed = sealedPrefix(DATA_START);
  return Buffer.compare(prefix.subarray(MDAT_HEADER_AT, MDAT_HEADER_AT + 8), sealed.subarray(MDAT_HEADER_AT, -8)) === 0;
}

function checkPrefix(prefix: Uint8Array, trailer: Trailer | undefined, wasSealed: boolean): Problem[] {
  const whole = trailer === undefined ? OPEN_PREFIX : sealedPrefix(trailer.moov.offset);
  // How long the records are is not known without a trailer.
  const expected = trailer === undefined && wasSealed ? FTYP : whole;
  if (Buffer.compare(prefix.subarray(0, expected.byteLength), expected) === 0) return [];
  const message = 'the boxes in front of the records are not those of a segment';
  return [{ code: 'header-damaged', from: 0, to: DATA_START, message }];
}

/** What `moov` says, if it holds, together with the trailer. */
async function checkMovie(
  file: DiskFile,
  trailer: Trailer,
  native: Native,
  problems: Problem[],
): Promise<SegmentContents | undefined> {
  const { offset, length, crc } = trailer.moov;
  const bytes = await readUpTo(file, offset, length);
  if (bytes.byteLength !== length || native.crc32c(bytes) !== crc) {
    const message = 'moov is damaged';
    problems.push({ code: 'moov-damaged', from: offset, to: offset + length, message });
    return undefined;
  }
  const tables = [trailer.index, ...trailer.tracks.flatMap((track) => TABLE_NAMES.map((name) => track.tables[name]))];
  const bad = tables.filter((table) => {
    const at = table.offset - offset;
    return table.length > 0 && native.crc32c(bytes.subarray(at, at + table.length)) !== table.crc;
  });
  for (const table of bad) problems.push(differs(table, 'the table is not the one that the trailer names'));
  if (bad.length > 0) return undefined;
  return readSealed(file, trailer, native).catch((error: unknown) => {
    if (!(error instanceof FootageError) || error.code === 'E_IO') throw error;
    problems.push(differs(trailer.moov, error.message));
    return undefined;
  });
}

function differs({ offset, length }: { readonly offset: number; readonly length: number }, message: string): Problem {
  return { code: 'tables-differ', from: offset, to: offset + length, message };
}

async function scanAll(
  file: DiskFile,
  { head, trailer, named, size }: Outline,
  { pace }: ExamineOptions,
  native: Native,
): Promise<Scanned> {
  if (head === undefined) {
    const damaged: ByteRange[] = [[0, size]];
    const nothing = { contents: undefined, unconfigured: [], ended: false, unreferenced: 0 };
    return { ...nothing, damaged, unexplainedBytes: size };
  }
  const builder = new ContentsBuilder(head, native.crc32c, named?.tracks);
  const to = trailer?.moov.offset ?? size;
  const { damaged, next } = await scanInto(file, builder, DATA_START, { verify: true, resync: true, to, pace }, native);
  const { unconfigured, ended, unreferenced } = builder;
  for (const track of unconfigured) {
    const known = named?.tracks[track]?.track;
    if (known !== undefined) builder.configure(track, known);
  }
  const contents = builder.unconfigured.length === 0 ? builder.contents(true) : undefined;
  // An earlier repair left the tables of before between the end record and `moov`.
  const behind = trailer !== undefined && ended ? to - next : 0;
  const unexplainedBytes = damaged.reduce((sum, range) => sum + range[1] - range[0], behind);
  return { contents, unconfigured, damaged, ended, unreferenced, unexplainedBytes };
}

/** What the scan of the records says. */
function judgeRecords(outline: Outline, { damaged, unconfigured, ended }: Scanned): Problem[] {
  const { head, size, trailer, wasSealed } = outline;
  if (head === undefined)
    return [{ code: 'head-damaged', from: DATA_START, to: size, message: 'it does not begin with a head' }];
  // What lies before the first sample and lost a configuration is told as that.
  const told = unconfigured.length > 0 ? (trailer?.payload.offset ?? 0) : 0;
  const problems: Problem[] = damaged.flatMap(([from, to]) => judgeRange(outline, from, to, told));
  if (unconfigured.length > 0) {
    const [from, to] = damaged[0] ?? [DATA_START, DATA_START];
    const message = `the configuration of track ${unconfigured.join(' and ')} is lost`;
    problems.push({ code: 'configuration-damaged', from, to, message });
  }
  if (wasSealed && !ended) {
    const from = damaged.at(-1)?.[0] ?? size;
    const message = 'the end record is missing';
    problems.push({ code: 'end-missing', from, to: trailer?.moov.offset ?? size, message });
  }
  return problems;
}

function judgeRange(
  { head, size, trailer, named, wasSealed }: Outline,
  from: number,
  to: number,
  told: number,
): Problem[] {
  const problems: Problem[] = [];
  if (from === DATA_START && head !== undefined)
    problems.push({ code: 'head-damaged', from, to, message: 'the head is damaged' });
  const frames = named === undefined ? 0 : namedIn(named, from, to);
  if (frames > 0) {
    const message = `${frames} ${frames === 1 ? 'frame is' : 'frames are'} damaged`;
    return [...problems, { code: 'frame-damaged', from, to, message }];
  }
  // A recovered or repaired segment keeps bytes that no record explains; so does an open one at its end.
  const expected = trailer?.recovered === true || (!wasSealed && to === size);
  // What lost its trailer has the rest of it at its end.
  const tail = wasSealed && trailer === undefined && to === size;
  if (problems.length > 0 || expected || tail || from < told) return problems;
  const message = 'bytes that should be a record are none';
  return [{ code: named === undefined && !wasSealed ? 'frame-damaged' : 'record-damaged', from, to, message }];
}

/** Frames that the tables name and that reach into [from, to). */
export function namedIn({ tracks }: SegmentContents, from: number, to: number): number {
  let frames = 0;
  for (const { samples } of tracks) {
    for (let i = 0; i < samples.count; i++) {
      const at = samples.offset[i] ?? 0;
      if (at < to && at + (samples.size[i] ?? 0) > from) frames++;
    }
  }
  return frames;
}

/** Tables and counters against the frames; only where everything else holds, since they follow from it. */
function compare({ trailer, named }: Outline, { contents }: Scanned): Problem[] {
  if (trailer === undefined || named === undefined || contents === undefined) return [];
  const said: string[] = [];
  named.tracks.forEach(({ samples }, i) => {
    const found = contents.tracks[i]?.samples;
    if (found !== undefined && tablesEqual(samples, found)) return;
    said.push(`track ${i}: the tables name ${samples.count} frames, ${found?.count ?? 0} were found intact`);
  });
  if (said.length === 0) said.push(...compareAnchors(named, contents));
  if (said.length === 0) said.push(...compareCounters(trailer, { ...contents, anchors: named.anchors }));
  return said.map((message) => differs(trailer.moov, message));
}

/** The index in `moov` may know more anchors: those of holes, and copies of records that were lost since. */
function compareAnchors(named: SegmentContents, found: SegmentContents): string[] {
  const known = new Set(named.anchors.map((anchor) => JSON.stringify(anchor)));
  const missing = found.anchors.filter((anchor) => !known.has(JSON.stringify(anchor)));
  return missing.map(({ track, dts }) => `track ${track}: the index lacks the anchor at ${dts}`);
}

/** A range is planned by the counters of the trailer alone: they must be those of the frames. */
function compareCounters(trailer: Trailer, contents: SegmentContents): string[] {
  const extent = extentOf(contents);
  if (extent === undefined) return ['no frame of it is presented'];
  const { tracks, ...whole } = countersOf(contents, extent);
  return [
    ...differing('', flat(trailer), flat(whole)),
    ...tracks.flatMap((track, i) => differing(`track ${i}: `, { ...trailer.tracks[i] }, { ...track })),
  ];
}

function flat({ startUtcMs, endUtcMs, discontinuous, payload }: Omit<SegmentCounters, 'tracks'>) {
  return { startUtcMs, endUtcMs, discontinuous, payloadOffset: payload.offset, payloadEnd: payload.end };
}

type Counters = Readonly<Record<string, unknown>>;

/** What `found` has and `named` has otherwise. */
function differing(prefix: string, named: Counters, found: Counters): string[] {
  return Object.keys(found)
    .filter((name) => named[name] !== found[name])
    .map((name) => `${prefix}the trailer says ${name} ${String(named[name])}, the frames say ${String(found[name])}`);
}
