/**
 * Sample tables of sound whose samples are single bytes. QuickTime calls each PCM sample an MP4 sample: an hour of G.711
 * has 29 million of them, all of one size, in chunks. Here a sample is a piece of a chunk, about 20 ms long: neither
 * such a table nor a record per byte is ever made.
 *
 * Pure functions; what contradicts the format is FootageError E_INPUT_FORMAT.
 */
import { FootageError } from '../errors.ts';
import type { Track } from '../media.ts';
import { Cursor, damaged, viewOf } from './box.ts';
import { isG711 } from './codec.ts';
import { type SampleTable, SampleTableBuilder } from './tables.ts';

/** Entries of a run-length table, without the count before them. */
interface Entries {
  readonly view: DataView;
  readonly count: number;
}

interface Chunk {
  readonly offset: number;
  readonly samples: number;
}

/** What tables that need no bytes of their own may still claim. */
interface Budget {
  samples: number;
  bytes: number;
}

/** Bodies of the boxes in `stbl`, by type. */
type Tables = ReadonlyMap<string, Uint8Array>;

const PIECES_PER_SECOND = 50;
/** A duration is stored in 32 bits. */
const MAX_TICKS = 0xffff_ffff;

/** Whether the track is G.711 whose MP4 samples are single PCM samples. */
export function isSingleBytes(stbl: Tables, { codec, channels }: Omit<Track, 'timescale'>): boolean {
  if (!isG711(codec)) return false;
  const { sampleBytes } = readSize(stbl);
  // Old files have a size of 1 for any number of channels.
  return sampleBytes === 1 || sampleBytes === channels;
}

/** sample_size and sample_count of `stsz` (ISO/IEC 14496-12 8.7.3.2). */
function readSize(stbl: Tables): { readonly sampleBytes: number; readonly count: number } {
  const stsz = stbl.get('stsz');
  if (stsz === undefined) return { sampleBytes: 0, count: 0 };
  const cursor = new Cursor(stsz, 'stsz');
  cursor.skip(4);
  return { sampleBytes: cursor.u32(), count: cursor.u32() };
}

/** The samples of a track that `isSingleBytes`, in pieces. */
export function readSingleBytes(
  stbl: Tables,
  { channels = 1, sampleRate = 1 }: Omit<Track, 'timescale'>,
  chunkOffsets: Float64Array,
  budget: Budget,
): SampleTable {
  const { count } = readSize(stbl);
  takeBytes(budget, count * channels);
  const deltas = new Deltas(readEntries(stbl, 'stts', 8));
  const pieceSamples = Math.max(1, Math.round(sampleRate / PIECES_PER_SECOND));
  const table = new SampleTableBuilder();
  let dts = 0;
  for (const { offset, samples } of chunksOf(readEntries(stbl, 'stsc', 12), chunkOffsets, count)) {
    for (let done = 0; done < samples;) {
      const left = samples - done;
      // A rest of less than half a piece goes with the piece before it.
      const piece = deltas.take(left < 1.5 * pieceSamples ? left : pieceSamples);
      const ticks = piece.samples * piece.delta;
      if (ticks > MAX_TICKS) throw damaged(`'stts' has a sample of ${piece.delta} ticks in a track of single bytes`);
      takePiece(budget);
      table.push(dts, ticks, 0, piece.samples * channels, offset + done * channels, true);
      dts += ticks;
      done += piece.samples;
    }
  }
  if (!Number.isSafeInteger(dts)) throw damaged(`times in 'stts' exceed 2^53`);
  return table;
}

function takeBytes(budget: Budget, bytes: number): void {
  budget.bytes -= bytes;
  if (budget.bytes >= 0) return;
  const what = `its index speaks of ${bytes} bytes of sound, more than the file has`;
  throw new FootageError('E_INPUT_TRUNCATED', `The file is cut off: ${what}. Copy it again, complete.`);
}

function takePiece(budget: Budget): void {
  budget.samples--;
  if (budget.samples >= 0) return;
  throw new FootageError('E_INPUT_UNSUPPORTED', 'The file has too much G.711 sound: cut it into shorter files.');
}

/** A table behind version, flags and entry_count. */
function readEntries(stbl: Tables, type: string, entryBytes: number): Entries {
  const body = stbl.get(type);
  if (body === undefined) throw damaged(`'stbl' has no '${type}'`);
  const cursor = new Cursor(body, type);
  cursor.skip(4);
  const count = cursor.u32();
  return { view: viewOf(cursor.take(count * entryBytes)), count };
}

/** The runs of `stts`, taken from the beginning. */
class Deltas {
  readonly #view: DataView;
  readonly #runs: number;
  #run = -1;
  #left = 0;
  #delta = 0;

  constructor({ view, count }: Entries) {
    this.#view = view;
    this.#runs = count;
  }

  /** The next samples of one delta, at most `most` of them. */
  take(most: number): { readonly samples: number; readonly delta: number } {
    while (this.#left === 0) {
      this.#run++;
      if (this.#run >= this.#runs) throw damaged(`'stts' has too few times for its samples`);
      this.#left = this.#view.getUint32(this.#run * 8);
      this.#delta = this.#view.getUint32(this.#run * 8 + 4);
    }
    const samples = Math.min(most, this.#left);
    this.#left -= samples;
    return { samples, delta: this.#delta };
  }
}

/** The chunks by `stsc` (8.7.4), until they hold all samples. */
function* chunksOf(
  { view, count: runs }: Entries,
  offsets: Float64Array,
  count: number,
): Generator<Chunk, void, undefined> {
  let left = count;
  for (let run = 0; run < runs && left > 0; run++) {
    const first = view.getUint32(run * 12) - 1;
    const perChunk = view.getUint32(run * 12 + 4);
    const next = run + 1 < runs ? view.getUint32((run + 1) * 12) - 1 : offsets.length;
    if (first < 0 || next < first || (run === 0 && first !== 0)) throw damaged(`chunks in 'stsc' are out of order`);
    for (let chunk = first; chunk < Math.min(next, offsets.length) && left > 0; chunk++) {
      const samples = Math.min(left, perChunk);
      yield { offset: offsets[chunk] ?? 0, samples };
      left -= samples;
    }
  }
  if (left > 0) throw damaged(`the chunks hold ${left} samples too few`);
}
