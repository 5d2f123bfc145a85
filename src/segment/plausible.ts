/**
 * Whether what a trailer says holds together: its checksum says that it is as it was written, not that a recorder wrote
 * it. Nothing is read outside of `moov`, or allocated, on the word of a trailer that does not.
 */
import { MAX_TICKS, MAX_UTC_MS } from '../format/records.ts';
import { TABLE_NAMES, type TablePosition, type Trailer, TRAILER_BYTES, type TrackSummary } from '../format/trailer.ts';
import { ENTRY_BYTES } from '../mp4/table-writer.ts';

/** `moov` lies before the trailer, the tables in it, each as long as its entries; times are times. */
export function isPlausible({ moov, index, startUtcMs, endUtcMs, tracks }: Trailer, fileBytes: number): boolean {
  if (moov.offset < 0 || moov.length < 0 || moov.offset + moov.length !== fileBytes - TRAILER_BYTES) return false;
  if (![startUtcMs, endUtcMs].every((utcMs) => Math.abs(utcMs) <= MAX_UTC_MS)) return false;
  const isInside = ({ offset, length }: TablePosition) =>
    length === 0 || (offset >= moov.offset && offset + length <= moov.offset + moov.length);
  const tables = tracks.flatMap((track) => TABLE_NAMES.map((name) => track.tables[name]));
  return [index, ...tables].every(isInside) && tracks.every(isTrack);
}

/** Sample descriptions have any length. */
function isTrack({ tables, firstDts = 0, endDts = 0, firstPts, endPts }: TrackSummary): boolean {
  const isWhole = TABLE_NAMES.every((name) => {
    const { length, count } = tables[name];
    return name === 'stsd' || length === ENTRY_BYTES[name] * count;
  });
  return isWhole && [firstDts, endDts, firstPts, endPts].every((ticks) => Math.abs(ticks) <= MAX_TICKS);
}
