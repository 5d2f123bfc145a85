/**
 * The pre-event buffer: frames of a camera that is not being recorded, held in memory, so that a recording can begin some
 * seconds before it was asked for. Owned by whoever reads the camera; loop thread only.
 *
 * Invariants: what is held begins at a sync sample of the leading track; it goes from the front by whole groups of
 * pictures; it takes at most `maxBytes`.
 */
import { type Frame, leadingOf, type Track } from '../media.ts';
import { checkKeys, type KeysOf } from '../option-keys.ts';

export interface PreEventOptions {
  /** How much media to hold at least, ms; 0: nothing is held. */
  readonly preEventMs: number;
  /** Bound of the frames' data in memory: where it is reached, less media is held. */
  readonly maxBytes: number;
}

const KEYS: KeysOf<PreEventOptions> = { preEventMs: true, maxBytes: true };

/** A frame's data is copied where keeping it would keep more than this many times as much memory. */
const MAX_HELD_FACTOR = 2;

/** From a sync sample of the leading track to the next one, with the frames of other tracks that came meanwhile. */
interface Group {
  readonly frames: Frame[];
  /** Memory that they take. */
  bytes: number;
  /** Of its sync sample on the buffer's own clock. */
  readonly atMs: number;
  /** In force at its first frame. */
  readonly tracks: readonly Track[];
}

export class PreEventBuffer {
  readonly #options: PreEventOptions;
  readonly #leading: number;
  /** In force now. */
  #tracks: readonly Track[];
  /** The held ones begin at `#first`; those before it are gone. */
  #groups: (Group | undefined)[] = [];
  #first = 0;
  #bytes = 0;
  #overflows = 0;
  /** Of the newest frame of the leading track; counted on over steps of its DTS, so that these do not age anything. */
  #nowMs = 0;
  #lastDts: number | undefined;

  /** @throws RangeError, TypeError for options */
  constructor(tracks: readonly Track[], options: PreEventOptions) {
    checkKeys(options, KEYS, 'a pre-event buffer');
    const { preEventMs, maxBytes } = options;
    if (!(preEventMs >= 0 && preEventMs < Infinity)) throw new RangeError(`preEventMs is 0 or more, not ${preEventMs}`);
    if (!(maxBytes > 0)) throw new RangeError(`maxBytes is more than 0, not ${maxBytes}`);
    this.#options = options;
    this.#tracks = tracks;
    this.#leading = leadingOf(tracks);
  }

  /** The tracks as they are at the first frame that is held; without one, now. */
  get tracks(): readonly Track[] {
    return this.#groups[this.#first]?.tracks ?? this.#tracks;
  }

  /** Memory that the data of the held frames takes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Media time of the leading track from its first held sync sample to its newest sample, ms. */
  get heldMs(): number {
    const group = this.#groups[this.#first];
    return group === undefined ? 0 : this.#nowMs - group.atMs;
  }

  /** How many times a single group of pictures was larger than `maxBytes`, and all was dropped up to the next one. */
  get overflows(): number {
    return this.#overflows;
  }

  /** Frames in order of arrival. What comes before the first sync sample of the leading track is not held. */
  push(frame: Frame): void {
    if (frame.newTrack !== undefined) this.#configure(frame.track, frame.newTrack);
    const leading = frame.track === this.#leading;
    if (leading) this.#passTime(frame);
    if (this.#options.preEventMs === 0) return;
    if (leading && frame.sync) this.#groups.push({ frames: [], bytes: 0, atMs: this.#nowMs, tracks: this.#tracks });
    const group = this.#groups.at(-1);
    if (group === undefined) return;
    this.#hold(group, frame);
    this.#dropOld();
    this.#dropExcess();
  }

  /** All that is held, in order of arrival; the buffer is empty then, up to the next sync sample. */
  drain(): Frame[] {
    const frames = this.#groups.slice(this.#first).flatMap((group) => group?.frames ?? []);
    this.clear();
    return frames;
  }

  clear(): void {
    this.#groups = [];
    this.#first = 0;
    this.#bytes = 0;
  }

  #configure(index: number, track: Track): void {
    this.#tracks = this.#tracks.map((known, i) => (i === index ? track : known));
  }

  /** A step back, and one into a new run, is no time that passes. */
  #passTime({ dts, newRun }: Frame): void {
    const ticks = newRun === undefined && this.#lastDts !== undefined ? dts - this.#lastDts : 0;
    this.#nowMs += (Math.max(0, ticks) * 1000) / (this.#tracks[this.#leading]?.timescale ?? 1);
    this.#lastDts = dts;
  }

  #hold(group: Group, frame: Frame): void {
    const { data } = frame;
    // A small frame of a large chunk would keep all of the chunk.
    const copied = data.buffer.byteLength > MAX_HELD_FACTOR * data.byteLength;
    const held = copied ? { ...frame, data: new Uint8Array(data) } : frame;
    const bytes = held.data.buffer.byteLength;
    group.frames.push(held);
    group.bytes += bytes;
    this.#bytes += bytes;
  }

  /** Groups behind which `preEventMs` are held all the same. */
  #dropOld(): void {
    const { preEventMs } = this.#options;
    const isEnough = (group: Group | undefined) => group !== undefined && this.#nowMs - group.atMs >= preEventMs;
    while (isEnough(this.#groups[this.#first + 1])) this.#dropFirst();
  }

  #dropExcess(): void {
    const { maxBytes } = this.#options;
    while (this.#bytes > maxBytes && this.#groups.length - this.#first > 1) this.#dropFirst();
    if (this.#bytes <= maxBytes) return;
    this.clear();
    this.#overflows++;
  }

  #dropFirst(): void {
    this.#bytes -= this.#groups[this.#first]?.bytes ?? 0;
    this.#groups[this.#first] = undefined;
    this.#first++;
    // Now and then, so that on average each group is moved at most once.
    if (2 * this.#first <= this.#groups.length) return;
    this.#groups = this.#groups.slice(this.#first);
    this.#first = 0;
  }
}
