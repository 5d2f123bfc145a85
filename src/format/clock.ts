/**
 * Wall time of a track's media time. Anchors map one to the other: an anchor holds from its DTS on, at rate 1, until the
 * track's next anchor; samples before the first anchor use the first. A track without anchors uses those of the track
 * of the head's anchor. So the wall time of an appended sample never changes.
 */
import type { Anchor, Head } from './records.ts';

interface Mapping {
  /** From this DTS on, in ticks of the track. */
  readonly fromDts: number;
  /** Media instant (ticks, may be fractional) of `utcMs`. */
  readonly ticks: number;
  readonly utcMs: number;
}

export class TrackClock {
  readonly #mappings: readonly Mapping[];
  readonly #timescale: number;

  constructor(head: Head, anchors: readonly Anchor[], track: number) {
    const all = [head.anchor, ...anchors];
    const source = all.some((anchor) => anchor.track === track) ? track : head.anchor.track;
    const timescale = (index: number) => head.tracks[index]?.timescale ?? 1;
    this.#timescale = timescale(track);
    const toOwn = this.#timescale / timescale(source);
    this.#mappings = all
      .filter((anchor) => anchor.track === source)
      .map((anchor) => ({ fromDts: anchor.dts * toOwn, ticks: anchor.dts * toOwn, utcMs: anchor.utcMs }))
      .toSorted((a, b) => a.fromDts - b.fromDts);
  }

  #at(dts: number): Mapping {
    let low = 0;
    for (let high = this.#mappings.length; high - low > 1;) {
      const middle = (low + high) >>> 1;
      if ((this.#mappings[middle]?.fromDts ?? 0) <= dts) low = middle;
      else high = middle;
    }
    const found = this.#mappings[low];
    if (found === undefined) throw new RangeError('a clock needs an anchor');
    return found;
  }

  /** Wall time (Unix ms) of presentation time `pts` of a sample whose decode time is `dts`, both in ticks. */
  utcMs(pts: number, dts: number): number {
    const mapping = this.#at(dts);
    return mapping.utcMs + ((pts - mapping.ticks) * 1000) / this.#timescale;
  }

  /**
   * The tick nearest to wall time `utcMs`, as the anchor that governs decode time `dts` maps it. Requests are compared
   * with samples in ticks, so that a border given in milliseconds meets the picture it means.
   */
  ticksAt(utcMs: number, dts: number): number {
    const mapping = this.#at(dts);
    return Math.round(mapping.ticks + ((utcMs - mapping.utcMs) * this.#timescale) / 1000);
  }
}
