/**
 * The tracks of a segment as one column of its row: numbers in a fixed order, without names. A month of a camera has a
 * thousand rows, and a plan that sees them for the first time reads them all.
 */
import { TABLE_NAMES, type TableName, type TablePosition } from '../format/trailer.ts';
import type { RowTrack } from './catalog.ts';

const KINDS = ['video', 'audio'] as const;
/** Numbers of a table. */
const POSITION = ['offset', 'length', 'count', 'crc'] as const;
/** Numbers before the tables. */
const COUNTERS = 15;
const TRACK_NUMBERS = COUNTERS + POSITION.length * TABLE_NAMES.length;

export function encodeTracks(tracks: readonly RowTrack[]): string {
  return JSON.stringify(tracks.flatMap(numbersOf));
}

function numbersOf({ tables, ...track }: RowTrack): (number | null)[] {
  const { timescale, samples, syncSamples, payloadBytes, syncBytes, firstPts, endPts } = track;
  return [
    ...[KINDS.indexOf(track.kind), timescale, track.firstDts ?? null, track.endDts ?? null, Number(track.estimated)],
    ...[samples, syncSamples, payloadBytes, syncBytes, firstPts, endPts, track.breaks, track.frameTicks],
    ...[track.lastTicks, 2 * Number(track.firstSync) + Number(track.negativeOffsets)],
    ...TABLE_NAMES.flatMap((name) => POSITION.map((key) => tables[name][key])),
  ];
}

export function decodeTracks(text: string): RowTrack[] {
  const numbers = numbersIn(text);
  const tracks: RowTrack[] = [];
  for (let at = 0; at < numbers.length; at += TRACK_NUMBERS) tracks.push(trackAt(numbers, at));
  return tracks;
}

/** What cannot be read is damage of the database, as what SQLite finds itself. */
function numbersIn(text: string): (number | null)[] {
  try {
    return JSON.parse(text) as (number | null)[];
  } catch (error) {
    throw new Error('malformed row: its tracks are no list of numbers', { cause: error });
  }
}

function trackAt(numbers: readonly (number | null)[], at: number): RowTrack {
  const number = (i: number) => numbers[at + i] ?? 0;
  const flags = number(14);
  const kind = KINDS[number(0)];
  if (kind === undefined) throw new Error('malformed row: a track of no kind');
  return {
    kind,
    timescale: number(1),
    firstDts: numbers[at + 2] ?? undefined,
    endDts: numbers[at + 3] ?? undefined,
    estimated: number(4) === 1,
    samples: number(5),
    syncSamples: number(6),
    payloadBytes: number(7),
    syncBytes: number(8),
    firstPts: number(9),
    endPts: number(10),
    breaks: number(11),
    frameTicks: number(12),
    lastTicks: number(13),
    firstSync: flags >= 2,
    negativeOffsets: flags % 2 === 1,
    tables: tablesAt(numbers, at + COUNTERS),
  };
}

function tablesAt(numbers: readonly (number | null)[], at: number): RowTrack['tables'] {
  const tables: Partial<Record<TableName, TablePosition>> = {};
  TABLE_NAMES.forEach((name, t) => {
    const i = at + POSITION.length * t;
    const number = (place: number) => numbers[i + place] ?? 0;
    tables[name] = { offset: number(0), length: number(1), count: number(2), crc: number(3) };
  });
  return tables as RowTrack['tables'];
}
