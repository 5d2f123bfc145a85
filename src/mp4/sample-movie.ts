/**
 * The `moov` of samples that lie in one file: the header of a sealed segment, as bytes, with the place of every table
 * in it.
 */
import type { Track } from '../media.ts';
import { concatBytes } from './box.ts';
import { type Edit, type TableSpecs, writeMovie } from './movie.ts';
import { writeSampleEntry } from './sample-entry.ts';
import {
  chunkOffsets,
  chunkStarts,
  compositionOffsets,
  MOVIE_TABLES,
  type MovieTable,
  sampleSizes,
  sampleToChunk,
  syncSamples,
  type TableEntries,
  timeToSample,
} from './table-writer.ts';

/** The samples of a track as its `moov` shows them; arrays may be longer than `count`. */
export interface MovieSamples {
  readonly count: number;
  /** DTS difference to the next sample, for the last one its own length; ticks, each below 2³². */
  readonly delta: Float64Array;
  readonly compositionOffset: Int32Array;
  readonly size: Uint32Array;
  readonly sync: Uint8Array;
  /** Position of the first byte in the file. */
  readonly position: Float64Array;
}

export interface SampleTrackSpec {
  readonly track: Track;
  readonly samples: MovieSamples;
  readonly edits: readonly Edit[];
}

export interface SampleMovieSpec {
  /** Ticks per second of the edits. */
  readonly timescale: number;
  /** Wall time that is written as creation time, Unix ms. */
  readonly creationUtcMs: number;
  readonly tracks: readonly SampleTrackSpec[];
  /** Boxes appended to `moov`. */
  readonly extra: readonly Uint8Array[];
}

/** Where a table's entries lie in the `moov`. */
export interface TablePlace {
  readonly offset: number;
  readonly length: number;
  readonly count: number;
}

export interface SampleMovie {
  readonly bytes: Uint8Array;
  /** Per track. A table that the track does not have is absent. */
  readonly tables: readonly Partial<Record<MovieTable, TablePlace>>[];
}

export function writeSampleMovie(spec: SampleMovieSpec): SampleMovie {
  const tracks = spec.tracks.map(({ track, samples, edits }) => ({
    track,
    edits,
    durationTicks: samples.delta.subarray(0, samples.count).reduce((sum, delta) => sum + delta, 0),
    tables: buildTables(track, samples),
  }));
  const parts = writeMovie({ ...spec, tracks });
  const offsets = new Map<Uint8Array, number>();
  let at = 0;
  for (const part of parts) {
    offsets.set(part, at);
    at += part.length;
  }
  return { bytes: concatBytes(parts), tables: tracks.map(({ tables }) => placesOf(tables, offsets)) };
}

function placesOf(tables: TableSpecs<never>, offsets: ReadonlyMap<Uint8Array, number>) {
  const found: Partial<Record<MovieTable, TablePlace>> = {};
  for (const name of MOVIE_TABLES) {
    const table = tables[name];
    const [entries] = table?.parts ?? [];
    if (table === undefined || entries === undefined) continue;
    found[name] = { offset: offsets.get(entries) ?? 0, length: entries.byteLength, count: table.count };
  }
  return found;
}

function buildTables(track: Track, samples: MovieSamples): TableSpecs<never> {
  const { count, size, delta, compositionOffset, sync } = samples;
  const position = (i: number) => samples.position[i] ?? 0;
  const starts = chunkStarts(position, size, 0, count);
  const shared = {
    stsd: spec({ entries: writeSampleEntry(track), count: 1 }),
    stts: spec(timeToSample(count, (i) => delta[i] ?? 0, true)),
    stsz: spec(sampleSizes(size, 0, count)),
    stsc: spec(sampleToChunk(starts, count, 1)),
    co64: spec(chunkOffsets(starts, position)),
  };
  if (track.kind === 'audio') return shared;
  const version = compositionOffset.subarray(0, count).some((offset) => offset < 0) ? 1 : 0;
  return {
    ...shared,
    ctts: spec(compositionOffsets(compositionOffset, 0, count), version),
    stss: spec(syncSamples(sync, 0, count, 1)),
  };
}

function spec({ entries, count }: TableEntries, version = 0) {
  return { version, count, parts: [entries] };
}
