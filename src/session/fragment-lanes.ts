/**
 * The samples of one track within a unit of a fragmented answer, as columns: their times and places in the answer. They
 * come from a window, from the tables of a segment, or are the sync samples of a time-lapse.
 */
import type { TrackKind } from '../media.ts';
import type { DefaultRun } from '../mp4/fragment-writer.ts';
import type { SampleTable } from '../mp4/tables.ts';

/** Silent frames in front of a sample of a lane. */
export interface LaneSilence extends DefaultRun {
  readonly bytes: number;
  /** Length of all of them. */
  readonly ticks: number;
}

export interface Lane {
  readonly trackId: number;
  readonly kind: TrackKind;
  readonly count: number;
  /** Decode time, ticks of the answer's track, counted from media time 0. */
  readonly time: Float64Array;
  /** To the next sample of the answer, ticks. */
  readonly delta: Float64Array;
  readonly compositionOffset: Int32Array;
  readonly size: Uint32Array;
  readonly sync: Uint8Array;
  /** Place of each sample in the payload. */
  readonly position: Float64Array;
  readonly silences: readonly LaneSilence[];
}

/** A row of samples that follow each other in a table. */
export interface SampleRow {
  readonly table: SampleTable;
  /** The first one's index in the table. */
  readonly from: number;
  readonly count: number;
  /** Decode time of the first one in the answer. */
  readonly time: number;
  /** Ticks of the answer to one of the table. */
  readonly scale: number;
  /** From the last one to what follows it; undefined: as the table says. */
  readonly lastTicks: number | undefined;
  /** Place of sample `from + i` in the payload. */
  readonly position: (i: number) => number;
}

/** Sync samples of a table. */
export interface KeyRow {
  readonly table: SampleTable;
  readonly keys: readonly number[];
  /** Time of each, and of the end of the last. */
  readonly times: readonly number[];
  readonly position: (i: number) => number;
}

export class LaneBuilder implements Lane {
  readonly trackId: number;
  readonly kind: TrackKind;
  readonly time: Float64Array;
  readonly delta: Float64Array;
  readonly compositionOffset: Int32Array;
  readonly size: Uint32Array;
  readonly sync: Uint8Array;
  readonly position: Float64Array;
  readonly silences: LaneSilence[] = [];
  count = 0;
  /** Added to every composition offset. */
  readonly #raise: number;
  /** Bytes in front of every sync sample. */
  readonly #prefixBytes: number;

  constructor(track: { trackId: number; kind: TrackKind; raise: number; prefixBytes: number }, capacity: number) {
    this.trackId = track.trackId;
    this.kind = track.kind;
    this.#raise = track.raise;
    this.#prefixBytes = track.prefixBytes;
    this.time = new Float64Array(capacity);
    this.delta = new Float64Array(capacity);
    this.compositionOffset = new Int32Array(capacity);
    this.size = new Uint32Array(capacity);
    this.sync = new Uint8Array(capacity);
    this.position = new Float64Array(capacity);
  }

  /** Silence in front of what is added next. */
  addSilence(silence: Omit<LaneSilence, 'before'>): void {
    this.silences.push({ ...silence, before: this.count });
  }

  addSamples({ table, from, count, time, scale, lastTicks, position }: SampleRow): void {
    let at = time;
    for (let i = 0; i < count; i++) {
      const last = i + 1 === count ? lastTicks : undefined;
      const offset = Math.round((table.compositionOffset[from + i] ?? 0) * scale) + this.#raise;
      const delta = last ?? this.#deltaOf(table, from + i, scale);
      this.#add(table, from + i, at, delta, this.kind === 'video' ? offset : 0, position(i));
      at += delta;
    }
  }

  /** Pictures of a time-lapse are shown when they are decoded. */
  addKeys({ table, keys, times, position }: KeyRow): void {
    keys.forEach((sample, i) => {
      const time = times[i] ?? 0;
      this.#add(table, sample, time, (times[i + 1] ?? 0) - time, 0, position(i));
    });
  }

  #deltaOf({ dts, duration }: SampleTable, sample: number, scale: number): number {
    const [begin = 0, ticks = 0] = [dts[sample], duration[sample]];
    if (this.kind === 'audio') return Math.round(ticks * scale);
    return Math.round((begin + ticks) * scale) - Math.round(begin * scale);
  }

  #add(table: SampleTable, sample: number, time: number, delta: number, offset: number, position: number): void {
    const i = this.count++;
    const sync = table.sync[sample] ?? 0;
    this.time[i] = time;
    this.delta[i] = delta;
    this.compositionOffset[i] = offset;
    this.size[i] = (table.size[sample] ?? 0) + (sync === 1 ? this.#prefixBytes : 0);
    this.sync[i] = sync;
    this.position[i] = position;
  }
}
