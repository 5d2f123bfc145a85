/**
 * Where the bytes of an answer come from: the payload part of its virtual file, and the position of every sample in it.
 *
 * What a request leaves out is not in the answer: a stretch of a file goes out whole, delimiters included, only while
 * every sample in it is part of the answer.
 */
import type { SampleTable } from '../mp4/tables.ts';
import type { PlanSegment, RunTrack } from './run.ts';
import type { Part } from './select.ts';
import type { AnswerTrack, Pick } from './timeline.ts';
import type { Slice } from './virtual-file.ts';

/** Between two samples of one slice lie only delimiters and small records; more than this is a hole in the file. */
const MAX_JOIN_BYTES = 4096;

export interface Payload {
  readonly slices: readonly Slice[];
  readonly length: number;
}

/** A segment's samples of one track, those included that are not part of the answer: these end slices. */
interface Lane {
  /** Positions in the answer; undefined if the track is not in it. */
  readonly position: Float64Array | undefined;
  /** File offsets and sizes. */
  readonly offset: Float64Array;
  readonly size: Uint32Array;
  /** The next sample, and the end. */
  at: number;
  readonly end: number;
  /** Index in the answer's track of sample `i` is `indexes[i - from]`. */
  readonly from: number;
  readonly indexes: Int32Array;
}

const NO_INDEXES = new Int32Array(0);

/** Collects slices and writes the positions of samples, counted from the first byte of the payload. */
class PayloadWriter {
  readonly slices: Slice[] = [];
  length = 0;
  #path: string | undefined;
  #begin = 0;
  #end = 0;

  /** A sample that goes into the answer; returns its position. */
  sample(path: string, offset: number, size: number): number {
    const joins = this.#path === path && offset >= this.#end && offset - this.#end <= MAX_JOIN_BYTES;
    if (!joins) {
      this.close();
      this.#path = path;
      this.#begin = offset;
    }
    this.#end = offset + size;
    return this.length + offset - this.#begin;
  }

  bytes(data: Uint8Array): void {
    this.close();
    this.slices.push({ kind: 'bytes', data });
    this.length += data.byteLength;
  }

  /** Ends the open slice: the next sample begins a new one. */
  close(): void {
    if (this.#path === undefined) return;
    const length = this.#end - this.#begin;
    this.slices.push({ kind: 'file', path: this.#path, offset: this.#begin, length });
    this.length += length;
    this.#path = undefined;
  }
}

export function buildPayload(parts: readonly Part[], tracks: readonly AnswerTrack[]): Payload {
  const writer = new PayloadWriter();
  parts.forEach((part, p) => {
    for (const track of tracks) insertSilence(writer, track, p);
    part.run.segments.forEach((segment, s) => {
      const lanes = part.run.tracks.flatMap((source) => laneOf(source, segment, s, answerOf(source, tracks, p)) ?? []);
      writeSegment(writer, segment, lanes);
    });
  });
  writer.close();
  return { slices: writer.slices, length: writer.length };
}

/** The silent frames of a part, in front of its data. */
function insertSilence(writer: PayloadWriter, { silent, silence, samples }: AnswerTrack, part: number): void {
  const inserted = silent[part] ?? [];
  const count = inserted.reduce((sum, { from, to }) => sum + to - from, 0);
  if (count === 0 || silence === undefined) return;
  const data = new Uint8Array(count * silence.byteLength);
  for (let i = 0; i < count; i++) data.set(silence, i * silence.byteLength);
  writer.close();
  let position = writer.length;
  for (const { from, to } of inserted) {
    for (let i = from; i < to; i++, position += silence.byteLength) samples.position[i] = position;
  }
  writer.bytes(data);
}

interface Answer {
  readonly track: AnswerTrack;
  readonly pick: Pick;
}

/** What a part gives of a track to the answer. */
function answerOf(source: RunTrack, tracks: readonly AnswerTrack[], part: number): Answer | undefined {
  for (const track of tracks) {
    const pick = track.picks[part];
    if (pick?.selection.source.index === source.index) return { track, pick };
  }
  return undefined;
}

function laneOf(source: RunTrack, segment: PlanSegment, s: number, answer: Answer | undefined): Lane | undefined {
  const samples = segment.contents.tracks[source.index]?.samples;
  if (samples === undefined) return undefined;
  const from = (answer?.pick.selection.from ?? 0) - (source.bases[s] ?? 0);
  return {
    position: answer?.track.samples.position,
    offset: samples.offset,
    size: samples.size,
    at: 0,
    end: storedCount(samples),
    from,
    indexes: (answer?.pick.indexes ?? NO_INDEXES).subarray(0, Math.max(0, samples.count - from)),
  };
}

/** Samples in the file: an open segment's table holds one more behind its count, whose length is not known yet. */
function storedCount({ count, offset }: SampleTable): number {
  let stored = count;
  while ((offset[stored] ?? 0) > 0) stored++;
  return stored;
}

/** Walks the samples of all lanes in file order; one that is left out ends the slice before it. */
function writeSegment(writer: PayloadWriter, segment: PlanSegment, lanes: readonly Lane[]): void {
  const bounds = selectedBytes(lanes);
  if (bounds === undefined) return;
  for (const lane of lanes) lane.at = firstAtOrBehind(lane, bounds.from);
  for (;;) {
    const lane = nextLane(lanes);
    if (lane === undefined) break;
    const i = lane.at++;
    const offset = lane.offset[i] ?? 0;
    if (offset >= bounds.to) break;
    const answer = lane.indexes[i - lane.from] ?? -1;
    if (lane.position === undefined || answer === -1) writer.close();
    else lane.position[answer] = writer.sample(segment.path, offset, lane.size[i] ?? 0);
  }
  writer.close();
}

/** The stretch of the file that holds all samples of the answer. */
function selectedBytes(lanes: readonly Lane[]): { from: number; to: number } | undefined {
  let from = Infinity;
  let to = -Infinity;
  for (const { at, end, from: first, indexes, offset, size } of lanes) {
    const low = Math.max(at, first);
    const high = Math.min(end, first + indexes.length) - 1;
    if (low > high) continue;
    from = Math.min(from, offset[low] ?? 0);
    to = Math.max(to, (offset[high] ?? 0) + (size[high] ?? 0));
  }
  return to === -Infinity ? undefined : { from, to };
}

function firstAtOrBehind({ at, end, offset }: Lane, position: number): number {
  let low = at;
  let high = end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((offset[middle] ?? 0) < position) low = middle + 1;
    else high = middle;
  }
  return low;
}

function nextLane(lanes: readonly Lane[]): Lane | undefined {
  let best: Lane | undefined;
  let bestOffset = Infinity;
  for (const lane of lanes) {
    if (lane.at >= lane.end) continue;
    const offset = lane.offset[lane.at] ?? Infinity;
    if (offset >= bestOffset) continue;
    best = lane;
    bestOffset = offset;
  }
  return best;
}
