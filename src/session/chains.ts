/**
 * Chains: whole sealed segments of a run, each the seamless successor of the one before in the same configuration. A plan
 * takes a chain as one block, so that a month costs hardly more than an hour.
 */
import type { RowTrack, SegmentRow } from '../catalog/catalog.ts';

/** Beginnings and ends are looked at segment by segment: so many at either end stay single. */
const SINGLE_ENDS = 2;

/**
 * The rows of a run, by sequence number, as chains and single segments. `isWhole`: the range takes everything of the
 * segment, and nothing in it has to be looked at.
 */
export function chainsOf(rows: readonly SegmentRow[], isWhole: (row: SegmentRow) => boolean): SegmentRow[][] {
  const chains: SegmentRow[][] = [];
  let open: SegmentRow[] = [];
  const close = () => {
    chains.push(...cut(open));
    open = [];
  };
  for (const row of rows) {
    const last = open.at(-1);
    if (last !== undefined && !(isWhole(row) && succeeds(last, row))) close();
    open.push(row);
    if (!isWhole(row) || !isLink(row)) close();
  }
  close();
  return chains;
}

const singles = (rows: readonly SegmentRow[]) => rows.map((row) => [row]);

/** The middle of a chain as one, its ends one by one. */
function cut(rows: readonly SegmentRow[]): SegmentRow[][] {
  const end = rows.length - SINGLE_ENDS;
  if (end - SINGLE_ENDS < 2) return singles(rows);
  return [...singles(rows.slice(0, SINGLE_ENDS)), rows.slice(SINGLE_ENDS, end), ...singles(rows.slice(end))];
}

function isLink({ state, discontinuous, payload }: SegmentRow): boolean {
  return state === 'sealed' && !discontinuous && payload !== undefined && payload.end > payload.offset;
}

function succeeds(before: SegmentRow, row: SegmentRow): boolean {
  if (row.sequence !== before.sequence + 1 || !isLink(row)) return false;
  return row.tracks.length === before.tracks.length && row.tracks.every((track, i) => goesOn(before.tracks[i], track));
}

/** Also two tracks without samples go on. */
function goesOn(before: RowTrack | undefined, track: RowTrack): boolean {
  if (before === undefined || before.kind !== track.kind || before.timescale !== track.timescale) return false;
  if (before.endDts !== track.firstDts) return false;
  const [entry, own] = [before.tables.stsd, track.tables.stsd];
  return track.samples === 0 || (entry.crc === own.crc && entry.length === own.length);
}
