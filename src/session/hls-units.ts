/**
 * Cuts a segment into units: what HLS calls media segments, whole GOPs of some seconds. A unit is a stretch of the file
 * and is named by the samples [from, to) of the leading track that it holds; the other track's samples are those that
 * lie in the stretch. So a unit, once it has ended, never changes, whatever is recorded behind it and however the segment is
 * stored; and where units end depends on the samples alone.
 */
import type { Track } from '../media.ts';
import type { SegmentView, TrackView } from '../segment/view.ts';
import { silenceOf } from './hls-silence.ts';
import { ptsAt } from '../segment/summary.ts';

/** Which tracks are given out: the first video and the first sound, or only the former. */
export type HlsTracks = 'all' | 'video';

/** A unit is at least this long, unless something ends: short enough to wait for, long enough for few requests. */
const UNIT_S = 4;

/** Times are ticks of the leading track on the run's timeline. */
export interface Unit {
  /** Samples [from, to) of the leading track. */
  readonly from: number;
  readonly to: number;
  readonly dts: number;
  /** Presentation time of the first sample, and the end of the presentation. */
  readonly pts: number;
  readonly endPts: number;
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  /** Stretch of the file, bytes. */
  readonly stretch: Stretch;
  /** Decoding can begin here. */
  readonly sync: boolean;
  /** No picture needs any before the unit. */
  readonly independent: boolean;
  /** Begins where the one before in the same segment ends; true for the first. */
  readonly joined: boolean;
  /** Tracks that have samples or silence in it, the leading one first. */
  readonly tracks: readonly number[];
}

/** File offsets [from, to). */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

export interface SegmentUnits {
  /** In order; of an open segment those that have ended. */
  readonly units: readonly Unit[];
  /** The whole GOPs behind the last unit of an open segment: it will be longer. */
  readonly rest: Unit | undefined;
  /** First DTS of the leading track, and where its last sample ends; NaN while it may grow, for nothing follows then. */
  readonly dts: number;
  readonly endDts: number;
}

/** Where a unit may begin. */
interface Cut {
  readonly sample: number;
  readonly dts: number;
  readonly pts: number;
  readonly sync: boolean;
  readonly independent: boolean;
  /** What comes before ends before this begins. */
  readonly broken: boolean;
}

/**
 * Indexes of the tracks that are given out, the leading one first; none for a segment without samples. Sound goes with
 * video even where it is missing, if its pauses can be filled. `ended` is false while the segment may grow: then it will
 * have pictures if it has a track for them.
 */
export function givenTracks({ tracks }: SegmentView, choice: HlsTracks, ended: boolean): number[] {
  const filled = tracks.map(({ tables }) => tables.count > 0);
  const video = tracks.findIndex(({ track }, i) => track.kind === 'video' && (filled[i] === true || !ended));
  if (video >= 0 && filled[video] !== true) return [];
  const silent = (track: Track) => video >= 0 && silenceOf(track) !== undefined;
  const audio = tracks.findIndex(({ track }, i) => track.kind === 'audio' && (filled[i] === true || silent(track)));
  return [video, choice === 'video' ? -1 : audio].filter((index) => index >= 0);
}

/** `ended` is false while the segment may grow. */
export function unitsOf(view: SegmentView, choice: HlsTracks, ended: boolean): SegmentUnits {
  const given = givenTracks(view, choice, ended);
  const cutter = given.length === 0 ? undefined : new UnitCutter(view, given, ended);
  return cutter?.cut() ?? { units: [], rest: undefined, dts: 0, endDts: 0 };
}

/**
 * The stretch of samples [from, to) of the leading track; undefined if these are no units: they do not begin and end where
 * units may, or the segment may still grow behind them.
 */
export function stretchOf(
  view: SegmentView,
  given: readonly number[],
  unit: Pick<Unit, 'from' | 'to'>,
  ended: boolean,
) {
  const leading = view.tracks[given[0] ?? 0];
  if (leading === undefined || !(unit.from < unit.to)) return undefined;
  if (!isCut(leading, unit.from, ended) || !isCut(leading, unit.to, ended)) return undefined;
  return { from: offsetOf(view, given, unit.from), to: offsetOf(view, given, unit.to) };
}

function isCut({ track, tables }: TrackView, sample: number, ended: boolean): boolean {
  if (sample === 0 || sample >= tables.count) return sample === 0 || (ended && sample === tables.count);
  return track.kind === 'video' ? tables.syncAfter(sample) === sample : chunkAfter(tables, sample) === sample;
}

/** Where the stretch that begins with a sample of the leading track begins; for its count, the end of all samples. */
function offsetOf({ tracks }: SegmentView, given: readonly number[], sample: number): number {
  const tables = given.flatMap((index) => tracks[index]?.tables ?? []).filter(({ count }) => count > 0);
  const [leading] = tables;
  if (leading !== undefined && sample > 0 && sample < leading.count) return leading.chunkOffset(sample);
  if (sample === 0) return Math.min(...tables.map((own) => own.chunkOffset(0)));
  return Math.max(
    ...tables.map((own) => {
      const last = own.window(own.count - 1, own.count);
      return (last.offset[0] ?? 0) + (last.size[0] ?? 0);
    }),
  );
}

/** Samples [from, to) of a track. */
export interface Samples {
  readonly from: number;
  readonly to: number;
}

/** Those that lie in a stretch. */
export function samplesIn({ tables }: TrackView, { from, to }: Stretch): Samples {
  return { from: tables.sampleAtOffset(from), to: tables.sampleAtOffset(to) };
}

type Tables = TrackView['tables'];

/** First sample of the first chunk that begins at or behind `sample`: only whole chunks can be told apart in a file. */
function chunkAfter(tables: Tables, sample: number): number {
  if (sample >= tables.count) return tables.count;
  const offset = tables.chunkOffset(sample);
  return tables.sampleAtOffset(offset) === sample ? sample : tables.sampleAtOffset(offset + 1);
}

class UnitCutter {
  readonly #view: SegmentView;
  readonly #given: readonly number[];
  readonly #leading: TrackView;
  readonly #ended: boolean;

  constructor(view: SegmentView, given: readonly number[], ended: boolean) {
    const leading = view.tracks[given[0] ?? 0];
    if (leading === undefined) throw new RangeError('a leading track is one of the segment');
    this.#view = view;
    this.#given = given;
    this.#leading = leading;
    this.#ended = ended;
  }

  cut(): SegmentUnits {
    const { tables } = this.#leading;
    const last = tables.window(tables.count - 1, tables.count);
    const endDts = this.#ended ? (last.dts[0] ?? 0) + (last.duration[0] ?? 0) : Number.NaN;
    const units: Unit[] = [];
    let first: Cut | undefined;
    let before: Cut | undefined;
    for (const cut of this.#cuts()) {
      if (first !== undefined && before !== undefined && this.#ends(first, cut)) {
        units.push(this.#unit(first, before, cut));
        first = undefined;
      }
      first ??= cut;
      before = cut;
    }
    const place = { units, rest: undefined, dts: tables.dts(0), endDts };
    if (first === undefined || before === undefined) return place;
    if (this.#ended) {
      units.push(this.#unit(first, before, undefined));
      return place;
    }
    // The last GOP is not whole yet.
    return first === before ? place : { ...place, rest: this.#unit(first, first, before) };
  }

  #ends(first: Cut, cut: Cut): boolean {
    return cut.broken || !first.sync || cut.dts - first.dts >= UNIT_S * this.#leading.track.timescale;
  }

  /** The unit from one cut to another, or to the end of the segment; `before` is the last cut inside it. */
  #unit(first: Cut, before: Cut, next: Cut | undefined): Unit {
    const to = next?.sample ?? this.#leading.tables.count;
    const endPts = next === undefined || next.broken ? this.#endPts(before.sample, to) : next.pts;
    const [from, end] = [first.sample, to].map((sample) => offsetOf(this.#view, this.#given, sample));
    const stretch = { from: from ?? 0, to: end ?? 0 };
    const clock = this.#view.clocks[this.#given[0] ?? 0];
    return {
      ...{ from: first.sample, to, dts: first.dts, pts: first.pts, endPts, stretch },
      startUtcMs: clock?.utcMs(first.pts, first.dts) ?? 0,
      endUtcMs: clock?.utcMs(endPts, before.dts) ?? 0,
      ...{ sync: first.sync, independent: first.independent, joined: !first.broken },
      tracks: this.#given.filter((index, rank) => rank === 0 || this.#has(index, stretch)),
    };
  }

  /** It has samples there, or silence. */
  #has(index: number, stretch: Stretch): boolean {
    const track = this.#view.tracks[index];
    if (track === undefined) return false;
    const { from, to } = samplesIn(track, stretch);
    return from < to || silenceOf(track.track) !== undefined;
  }

  /** When the last of samples [from, to) goes off the screen. */
  #endPts(from: number, to: number): number {
    const window = this.#leading.tables.window(from, to);
    let end = -Infinity;
    for (let i = 0; i < window.count; i++) end = Math.max(end, ptsAt(window, i) + (window.duration[i] ?? 0));
    return end;
  }

  #cuts(): Cut[] {
    const breaks = this.#breaks();
    return this.#leading.track.kind === 'video' ? this.#pictureCuts(breaks) : this.#soundCuts(breaks);
  }

  /** Samples of the leading track that begin behind the end of their forerunner. */
  #breaks(): ReadonlySet<number> {
    const { tables } = this.#leading;
    const breaks = new Set<number>();
    if (this.#view.steady) return breaks;
    const { count, dts, duration } = tables.window(0, tables.count);
    for (let i = 1; i < count; i++) if ((dts[i - 1] ?? 0) + (duration[i - 1] ?? 0) !== dts[i]) breaks.add(i);
    return breaks;
  }

  /** Sync samples; and the first sample, since a segment may begin inside a GOP. */
  #pictureCuts(breaks: ReadonlySet<number>): Cut[] {
    const { tables } = this.#leading;
    const { count, sample, dts, pts, leads } = tables.syncTimes();
    const cuts: Cut[] = [];
    if (sample[0] !== 0) cuts.push({ ...this.#begin(sample[0] ?? tables.count), independent: false, sync: false });
    for (let i = 0; i < count; i++) {
      const own = { sample: sample[i] ?? 0, dts: dts[i] ?? 0, pts: pts[i] ?? 0 };
      cuts.push({ ...own, sync: true, independent: leads[i] === 0, broken: breaks.has(own.sample) });
    }
    return cuts;
  }

  /** The first sample, of those before `end` that is presented first. */
  #begin(end: number) {
    const window = this.#leading.tables.window(0, end);
    let pts = Infinity;
    for (let i = 0; i < window.count; i++) pts = Math.min(pts, ptsAt(window, i));
    return { sample: 0, dts: window.dts[0] ?? 0, pts, broken: false };
  }

  /** Chunks at least as far apart as units are, and those behind a pause. */
  #soundCuts(breaks: ReadonlySet<number>): Cut[] {
    const { tables, track } = this.#leading;
    const pauses = [...breaks, tables.count];
    const cuts: Cut[] = [];
    for (let sample = 0, pause = 0; sample < tables.count;) {
      const dts = tables.dts(sample);
      cuts.push({ sample, dts, pts: dts, sync: true, independent: true, broken: breaks.has(sample) });
      while ((pauses[pause] ?? Infinity) <= sample) pause++;
      const far = chunkAfter(tables, tables.sampleAt(dts + UNIT_S * track.timescale));
      sample = Math.min(far, pauses[pause] ?? tables.count);
    }
    return cuts;
  }
}
