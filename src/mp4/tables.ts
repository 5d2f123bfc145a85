/**
 * Sample tables of one track as parallel typed arrays: a day of one camera is 2.6 million samples, so there is never
 * an object per sample. Index i of every array belongs to sample i, in decode order.
 */

/** Read-only view of a track's samples. Arrays may be longer than `count`. */
export interface SampleTable {
  readonly count: number;
  /** Decode time in ticks of the track's timescale, strictly increasing, signed. */
  readonly dts: Float64Array;
  /** Decoded length in ticks (`stts` sample_delta, ISO/IEC 14496-12 8.6.1.2). */
  readonly duration: Float64Array;
  /** Composition offset in ticks (`ctts`, 8.6.1.3), signed. */
  readonly compositionOffset: Int32Array;
  /** Bytes (`stsz`, 8.7.3). */
  readonly size: Uint32Array;
  /** Offset of the first byte in its file. */
  readonly offset: Float64Array;
  /** 1 = sync sample (`stss`, 8.6.2). */
  readonly sync: Uint8Array;
}

const COLUMNS = ['dts', 'duration', 'compositionOffset', 'size', 'offset', 'sync'] as const;

/** `to`, a longer array, with the content of `from`. */
function grown<T extends Float64Array | Int32Array | Uint32Array | Uint8Array>(to: T, from: T): T {
  to.set(from);
  return to;
}

/** A sample table that grows by appending. */
export class SampleTableBuilder implements SampleTable {
  count = 0;
  dts = new Float64Array(64);
  duration = new Float64Array(64);
  compositionOffset = new Int32Array(64);
  size = new Uint32Array(64);
  offset = new Float64Array(64);
  sync = new Uint8Array(64);

  push(dts: number, duration: number, compositionOffset: number, size: number, offset: number, sync: boolean): void {
    if (this.count === this.dts.length) this.#grow();
    const i = this.count++;
    this.dts[i] = dts;
    this.duration[i] = duration;
    this.compositionOffset[i] = compositionOffset;
    this.size[i] = size;
    this.offset[i] = offset;
    this.sync[i] = sync ? 1 : 0;
  }

  /** Forgets the samples, and keeps the room. */
  clear(): void {
    this.count = 0;
  }

  #grow(): void {
    const length = this.dts.length * 2;
    this.dts = grown(new Float64Array(length), this.dts);
    this.duration = grown(new Float64Array(length), this.duration);
    this.compositionOffset = grown(new Int32Array(length), this.compositionOffset);
    this.size = grown(new Uint32Array(length), this.size);
    this.offset = grown(new Float64Array(length), this.offset);
    this.sync = grown(new Uint8Array(length), this.sync);
  }
}

/** Whether two tables describe the same samples (all columns equal). */
export function tablesEqual(a: SampleTable, b: SampleTable): boolean {
  if (a.count !== b.count) return false;
  return COLUMNS.every((column) => {
    const left = a[column];
    const right = b[column];
    for (let i = 0; i < a.count; i++) if (left[i] !== right[i]) return false;
    return true;
  });
}
