/**
 * Checks one segment: every checksum, and every table against the frames. Changes nothing.
 */
import { TABLE_NAMES, type Trailer } from '../format/trailer.ts';
import { tablesEqual } from '../mp4/tables.ts';
import type { Native } from '../native-types.ts';
import { ContentsBuilder, type SegmentContents } from './contents.ts';
import { type DiskFile, openIfThere, readUpTo, type SegmentIo } from './disk.ts';
import { DATA_START } from './layout.ts';
import { hasSealedPrefix, readFileHead, readSealed, readTrailer, scanInto } from './reader.ts';
import { countersOf, extentOf, type SegmentCounters } from './summary.ts';

export interface SegmentReport {
  readonly state: 'sealed' | 'open' | 'unreadable';
  readonly frames: number;
  /** What is wrong, one sentence each; empty = all is well. */
  readonly problems: readonly string[];
  /** Bytes in the file that belong to no record, such as the torn tail of a recovered segment. */
  readonly unexplainedBytes: number;
}

export async function verifySegment(path: string, { disk, native }: SegmentIo): Promise<SegmentReport> {
  const file = await openIfThere(disk, path);
  if (file === undefined)
    return { state: 'unreadable', frames: 0, problems: ['the file is gone'], unexplainedBytes: 0 };
  try {
    const trailer = await readTrailer(file, native);
    return trailer === undefined ? await verifyOpen(file, native) : await verifySealed(file, trailer, native);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { state: 'unreadable', frames: 0, problems: [reason], unexplainedBytes: 0 };
  } finally {
    await file.close();
  }
}

interface Scanned {
  readonly contents: SegmentContents;
  readonly damaged: readonly (readonly [number, number])[];
  readonly ended: boolean;
}

async function scanAll(file: DiskFile, to: number, native: Native): Promise<Scanned | undefined> {
  const head = await readFileHead(file, native);
  if (head === undefined) return undefined;
  const builder = new ContentsBuilder(head, native.crc32c);
  const { damaged } = await scanInto(file, builder, DATA_START, { verify: true, resync: true, to }, native);
  return { contents: builder.contents(true), damaged, ended: builder.ended };
}

const bytesOf = (ranges: readonly (readonly [number, number])[]) =>
  ranges.reduce((sum, [from, to]) => sum + to - from, 0);

const framesOf = ({ tracks }: SegmentContents) => tracks.reduce((sum, { samples }) => sum + samples.count, 0);

async function verifyOpen(file: DiskFile, native: Native): Promise<SegmentReport> {
  const { size } = await file.stat();
  const scanned = await scanAll(file, size, native);
  if (scanned === undefined) {
    return { state: 'unreadable', frames: 0, problems: ['it does not begin with a head'], unexplainedBytes: size };
  }
  // The last record may be unfinished: it is being written, or a crash tore it.
  const inside = scanned.damaged.filter(([, to]) => to < size);
  return {
    state: 'open',
    frames: framesOf(scanned.contents),
    problems: inside.map(([from, to]) => `bytes ${from} to ${to} are damaged`),
    unexplainedBytes: bytesOf(scanned.damaged),
  };
}

async function verifySealed(file: DiskFile, trailer: Trailer, native: Native): Promise<SegmentReport> {
  const problems = await checkTables(file, trailer, native);
  if (!(await hasSealedPrefix(file, trailer))) problems.push('the mdat header is not the sealed one');
  const scanned = await scanAll(file, trailer.moov.offset, native);
  if (scanned === undefined) problems.push('the head is damaged');
  else problems.push(...(problems.length > 0 ? [] : await compare(file, trailer, scanned, native)));
  return {
    state: 'sealed',
    frames: trailer.tracks.reduce((sum, track) => sum + track.samples, 0),
    problems,
    unexplainedBytes: scanned === undefined ? 0 : bytesOf(scanned.damaged),
  };
}

async function checkTables(file: DiskFile, trailer: Trailer, native: Native): Promise<string[]> {
  const { moov, index, tracks } = trailer;
  const bytes = await readUpTo(file, moov.offset, moov.length);
  if (bytes.byteLength !== moov.length || native.crc32c(bytes) !== moov.crc) return ['moov is damaged'];
  const tables = [index, ...tracks.flatMap((track) => TABLE_NAMES.map((name) => track.tables[name]))];
  const bad = tables.filter(({ offset, length, crc }) => {
    const at = offset - moov.offset;
    return length > 0 && native.crc32c(bytes.subarray(at, at + length)) !== crc;
  });
  return bad.map(({ offset }) => `the table at ${offset} is not the one the trailer names`);
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

/** Every frame that the tables name must be found, intact, where they say. */
async function compare(file: DiskFile, trailer: Trailer, scanned: Scanned, native: Native): Promise<string[]> {
  const problems: string[] = [];
  const named = await readSealed(file, trailer, native);
  named.tracks.forEach(({ samples }, i) => {
    const found = scanned.contents.tracks[i]?.samples;
    if (found !== undefined && tablesEqual(samples, found)) return;
    problems.push(`track ${i}: the tables name ${samples.count} frames, ${found?.count ?? 0} were found intact`);
  });
  if (problems.length === 0) problems.push(...compareCounters(trailer, scanned.contents));
  if (!scanned.ended) problems.push('the end record is missing');
  // A recovered segment keeps its torn tail inside mdat; anywhere else unexplained bytes are damage.
  if (!trailer.recovered) {
    problems.push(...scanned.damaged.map(([from, to]) => `bytes ${from} to ${to} are damaged`));
  }
  return problems;
}
