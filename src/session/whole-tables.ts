/**
 * The tables of many whole segments, one behind the other, made of a few numbers for each: where which of them lies is a
 * binary search when it is asked for.
 */
import type { RowTrack } from '../catalog/catalog.ts';
import { type BlockTableName, wholeTables } from '../segment/track-tables.ts';
import { type Change, changed } from './entries.ts';
import { lastAtOrBelow } from './search.ts';
import { type ComputedSlice, partOf, type StoredSlice } from './virtual-file.ts';

/** A segment of which every sample of a track is in the answer, and what its numbers are counted from. */
export interface WholeSegment {
  readonly path: string;
  readonly summary: RowTrack;
  /** Samples and chunks of the answer's track before it. */
  readonly samples: number;
  readonly chunks: number;
  /** What is added to offsets in its file, from the beginning of the payload. */
  readonly shift: number;
}

/** One table of all segments. `change` tells what becomes of the numbers of each. */
export function joinedTable(
  segments: readonly WholeSegment[],
  name: BlockTableName,
  change: (segment: WholeSegment) => Change | undefined,
): ComputedSlice {
  const starts = new Float64Array(segments.length + 1);
  segments.forEach(({ summary }, i) => (starts[i + 1] = (starts[i] ?? 0) + summary.tables[name].length));
  const length = starts[segments.length] ?? 0;
  return {
    kind: 'computed',
    length,
    read: async function* (from, to): AsyncGenerator<StoredSlice, void, undefined> {
      for (
        let i = lastAtOrBelow(segments.length, (i) => starts[i] ?? 0, from);
        i < segments.length && (starts[i] ?? 0) < to;
        i++
      ) {
        const segment = segments[i];
        const at = starts[i] ?? 0;
        if (segment !== undefined) yield* readTable(segment, name, change(segment), Math.max(0, from - at), to - at);
      }
    },
  };
}

/** Bytes [from, to) of the table of one segment, as far as it goes. */
async function* readTable(
  { path, summary }: WholeSegment,
  name: BlockTableName,
  change: Change | undefined,
  from: number,
  to: number,
): AsyncGenerator<StoredSlice, void, undefined> {
  for (const part of wholeTables(summary).tables[name].parts) {
    const made = changed(part, path, change);
    const end = Math.min(to, made.length);
    if (made instanceof Uint8Array) yield { kind: 'bytes', data: made.subarray(from, end) };
    else if (made.kind === 'file') yield partOf(made, from, end);
    else yield* made.read(from, end);
  }
}
