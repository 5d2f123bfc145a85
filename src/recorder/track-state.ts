/**
 * What the recorder knows of one track while frames come in: DTS that strictly increase, durations of audio frames, and
 * the group of audio frames that waits to be written.
 */
import { FootageError } from '../errors.ts';
import { MAX_UTC_MS } from '../format/records.ts';
import type { Frame, Track } from '../media.ts';
import { checkTrack } from './tracks.ts';

/** A frame checked and with its place on the run's timeline. */
export interface PlacedFrame {
  readonly data: Uint8Array;
  readonly dts: number;
  readonly compositionOffset: number;
  readonly sync: boolean;
  readonly corrected: boolean;
  readonly utcMs: number | undefined;
  readonly durationTicks: number | undefined;
  readonly cameraUtcMs: number | undefined;
}

/** A jump back or a stall of more than this many seconds begins a new run. */
export const MAX_STALL_S = 10;
const GROUP_FRAMES = 8;
const GROUP_SECONDS = 0.2;
const MAX_FRAME_BYTES = 0x4000_0000;
/** A scan takes no larger group (docs/format.md, "Group"): its table is then surely small. */
const MAX_GROUP_BYTES = 2 ** 20;
const GROUP_TABLE_BYTES = 4 + 8 * GROUP_FRAMES;

export class TrackState {
  readonly index: number;
  /** Frames that could not be used: before the first sync sample. */
  dropped = 0;
  #track: Track;
  #lastDts: number | undefined;
  #lastDuration: number | undefined;
  #lastKnown = false;
  /** Length of audio frames as seen so far, ticks. */
  #typical: number | undefined;
  /** An audio frame whose length is known only when the next one comes. */
  #held: PlacedFrame | undefined;
  #group: PlacedFrame[] = [];

  constructor(track: Track, index: number) {
    this.#track = track;
    this.index = index;
  }

  get track(): Track {
    return this.#track;
  }

  /** What it is from the next frame on (checked). */
  configure(track: Track): void {
    this.#track = track;
  }

  /** Bytes of the frames that wait for their group, or their length. */
  get waitingBytes(): number {
    return this.#group.reduce((sum, { data }) => sum + data.byteLength, this.#held?.data.byteLength ?? 0);
  }

  /** Forget the timeline: a new run begins. */
  reset(): void {
    this.#lastDts = undefined;
    this.#lastDuration = undefined;
  }

  /** @throws FootageError E_FRAME; E_TRACK for a new track */
  check(frame: Frame, leading: boolean): void {
    const fail = (what: string): never => {
      throw new FootageError('E_FRAME', `A frame of track ${this.index} ${what}: correct the source of the frames.`);
    };
    if (!(frame.data instanceof Uint8Array) || frame.data.byteLength === 0) fail('has no data');
    if (frame.data.byteLength > MAX_FRAME_BYTES) fail('is larger than 1 GiB');
    if (this.track.kind === 'audio' && frame.data.byteLength > MAX_GROUP_BYTES - GROUP_TABLE_BYTES) {
      fail('is audio of more than 1 MiB');
    }
    if (!Number.isSafeInteger(frame.dts)) fail(`has a DTS that is no safe integer (${frame.dts})`);
    if ((frame.compositionOffset | 0) !== frame.compositionOffset) fail('has a composition offset beyond 32 bits');
    const { durationTicks, utcMs, cameraUtcMs } = frame;
    if (!isTime(utcMs) || !isTime(cameraUtcMs)) fail(`has a wall time that is none (${utcMs ?? cameraUtcMs})`);
    if (frame.newRun !== undefined || frame.newTrack !== undefined) this.#checkMarks(frame, leading, fail);
    if (durationTicks === undefined) return;
    if (!Number.isInteger(durationTicks) || durationTicks <= 0 || durationTicks > 0xffff_ffff) {
      fail(`has a duration of ${durationTicks} ticks`);
    }
  }

  /** A segment begins where these are: only the leading track's sync samples can begin one. */
  #checkMarks({ newRun, newTrack, utcMs, sync }: Frame, leading: boolean, fail: (what: string) => never): void {
    if (!leading || !sync) fail('brings a new run or track and is no sync sample of the leading track');
    if (newRun !== undefined && utcMs === undefined) fail('begins a new run and has no wall time');
    if (newTrack === undefined) return;
    const { kind, timescale } = this.#track;
    if (kind !== 'video') fail('brings a new track, which only video can');
    if (newTrack.kind !== kind || newTrack.timescale !== timescale || entryOf(newTrack) !== entryOf(this.#track)) {
      fail('brings a track of another kind, timescale or codec: record it anew');
    }
    checkTrack(newTrack, this.index);
  }

  /** Whether `dts` cannot continue the run, because it lies more than 10 s before the last one. */
  jumpsBack(dts: number): boolean {
    return this.#lastDts !== undefined && dts < this.#lastDts - MAX_STALL_S * this.track.timescale;
  }

  /** Where the frame placed last ends, or begins if its length is not known yet; seconds. */
  endS(): number {
    return ((this.#lastDts ?? 0) + (this.#lastKnown ? (this.#lastDuration ?? 0) : 0)) / this.track.timescale;
  }

  /** Gives the frame its place: a DTS that does not increase is corrected, with its presentation time kept. */
  place(frame: Frame): PlacedFrame {
    const last = this.#lastDts;
    const corrected = last !== undefined && frame.dts <= last;
    const dts = corrected ? last + 1 : frame.dts;
    if (last !== undefined && !corrected) this.#lastDuration = dts - last;
    if (frame.durationTicks !== undefined) this.#lastDuration = frame.durationTicks;
    this.#lastDts = dts;
    this.#lastKnown = frame.durationTicks !== undefined;
    const compositionOffset =
      this.track.kind === 'video' ? frame.compositionOffset + frame.dts - dts : frame.compositionOffset;
    const { data, sync, utcMs, durationTicks, cameraUtcMs } = frame;
    return { data, dts, compositionOffset, sync, corrected, utcMs, durationTicks, cameraUtcMs };
  }

  /** Length of the frame placed last: given, or as long as its forerunner. */
  lastLength(): { ticks: number; estimated: boolean } {
    return { ticks: this.#lastDuration ?? Math.round(this.track.timescale / 25), estimated: !this.#lastKnown };
  }

  /**
   * Takes an audio frame; returns the groups that are complete now. A frame without a duration lasts until the next
   * one, unless that comes much later than the frames before it did: then it is a pause.
   */
  addAudio(frame: PlacedFrame): PlacedFrame[][] {
    const complete: PlacedFrame[][] = [];
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) this.#push({ ...held, durationTicks: this.#lengthUntil(held, frame.dts) }, complete);
    if (frame.durationTicks === undefined) this.#held = frame;
    else this.#push(frame, complete);
    return complete;
  }

  #lengthUntil(held: PlacedFrame, nextDts: number): number {
    const until = nextDts - held.dts;
    if (this.#typical !== undefined && until > 2 * this.#typical) return this.#typical;
    this.#typical = until;
    return until;
  }

  #push(frame: PlacedFrame, complete: PlacedFrame[][]): void {
    const last = this.#group.at(-1);
    const bytes = this.#group.reduce((sum, { data }) => sum + data.byteLength, frame.data.byteLength);
    const full = bytes > MAX_GROUP_BYTES - GROUP_TABLE_BYTES;
    if (last !== undefined && (full || last.dts + (last.durationTicks ?? 0) !== frame.dts)) this.#close(complete);
    this.#group.push(frame);
    const first = this.#group[0] ?? frame;
    const ticks = frame.dts + (frame.durationTicks ?? 0) - first.dts;
    if (this.#group.length >= GROUP_FRAMES || ticks >= GROUP_SECONDS * this.track.timescale) this.#close(complete);
  }

  #close(complete: PlacedFrame[][]): void {
    if (this.#group.length > 0) complete.push(this.#group);
    this.#group = [];
  }

  /** Forgets the frames still waiting, and returns how many there were: there is no file to write them to. */
  dropRest(): number {
    const count = this.#group.length + (this.#held === undefined ? 0 : 1);
    this.#group = [];
    this.#held = undefined;
    return count;
  }

  /** The frames still waiting; with `last` the one whose length is not known as well, as long as its forerunner. */
  takeRest(last: boolean): PlacedFrame[][] {
    const complete: PlacedFrame[][] = [];
    const held = this.#held;
    if (last && held !== undefined) {
      this.#held = undefined;
      const length =
        this.#typical ??
        (this.track.timescale === this.track.sampleRate ? 1024 : Math.round(this.track.timescale / 50));
      this.#push({ ...held, durationTicks: length }, complete);
    }
    this.#close(complete);
    return complete;
  }
}

/** What a clock may say, or nothing. */
const isTime = (utcMs: number | undefined) => utcMs === undefined || Math.abs(utcMs) <= MAX_UTC_MS;

/** Type of the sample entry, with which a codec string begins (RFC 6381 3.3). */
const entryOf = ({ codec }: Track) => (typeof codec === 'string' ? codec.slice(0, 4) : '');
