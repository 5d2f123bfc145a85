/**
 * What exists: cameras, segments, leases. The catalog is a cache: the files are the truth, and deleting it loses nothing
 * (design, "the catalog is a cache"). It stands behind this interface; SQLite is the one implementation.
 */
import type { HeadTrack } from '../format/records.ts';
import type { Trailer, TrackSummary } from '../format/trailer.ts';

/** A track of a sealed segment. */
export type RowTrack = TrackSummary & HeadTrack;

export interface SegmentRow {
  /** UUID, 32 hex digits. */
  readonly id: string;
  readonly camera: string;
  /** Path of the file below the archive's folder. */
  readonly path: string;
  readonly run: string;
  readonly sequence: number;
  readonly state: 'open' | 'sealed';
  /** Wall time of the first presented instant, Unix ms. */
  readonly startUtcMs: number;
  /** End of the presentation; undefined while the segment is open. */
  readonly endUtcMs: number | undefined;
  readonly repairGeneration: number;
  readonly recovered: boolean;
  /** A track has a break, or samples come behind a hole; false while the segment is open. */
  readonly discontinuous: boolean;
  /** Where all samples lie in the file; undefined while the segment is open. */
  readonly payload: Trailer['payload'] | undefined;
  /** Kind, timescale and counters per track; empty while the segment is open. */
  readonly tracks: readonly RowTrack[];
}

/** What a listing needs of a segment. */
export type SegmentSpan = Pick<SegmentRow, 'id' | 'path' | 'state' | 'startUtcMs' | 'endUtcMs' | 'repairGeneration'>;

export type SegmentIdentity = Pick<SegmentRow, 'id' | 'path' | 'state'>;

export interface Catalog {
  /**
   * Another number whenever rows of segments may have changed, here or by another process: while it stays the same, so does
   * all that the catalog tells of them. One cheap query.
   */
  version(): number;
  /** Names of the cameras that have segments, sorted. */
  cameras(): string[];
  /** Whether the camera has segments. */
  has(camera: string): boolean;
  /** What `segments` gives, without the counters: cheap enough to be asked for again and again. */
  spans(camera: string, startUtcMs: number, endUtcMs: number): SegmentSpan[];
  /** The segment of a camera with this UUID. */
  find(camera: string, id: string): SegmentSpan | undefined;
  /** Segments that may meet [startUtcMs, endUtcMs), open ones included, by start. */
  segments(camera: string, startUtcMs: number, endUtcMs: number): SegmentRow[];
  /** Wall time of the first presented instant of a run's sealed segments, Unix ms; Infinity if there is none. */
  runStart(run: string): number;
  /** The segment of a run whose sequence number is the next one below (-1) or above (1) the given one. */
  neighbour(run: string, sequence: number, direction: -1 | 1): SegmentRow | undefined;
  /** Of all segments what tells whether their rows are still right; cheap even of very many. */
  identities(): SegmentIdentity[];
  /** All segments, or those of one camera, by start. */
  all(camera?: string): SegmentRow[];
  /** Segments that are not sealed: being recorded, or left over by a crash. */
  open(): SegmentRow[];
  /**
   * Adds or replaces a row. A segment that is sealed stays so: "open" is ignored, since it is what somebody saw before
   * the sealing. (In another place it is another file, restored from a copy, say.)
   */
  put(row: SegmentRow): void;
  remove(id: string): void;
  /** What `changes` puts and removes is written at once: all of it or, if it throws, none. */
  together(changes: () => void): void;
  /** Keeps segments from being removed until `untilUtcMs`; the same lease again renews it. Expired ones are forgotten. */
  lease(id: string, segments: readonly string[], nowUtcMs: number, untilUtcMs: number): void;
  /** Segments under a lease that has not expired at `nowUtcMs`; expired leases are forgotten. */
  leased(nowUtcMs: number): Set<string>;
  close(): void;
}
