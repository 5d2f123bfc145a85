/**
 * A media file (MP4, MOV) as a source of frames: its tracks, and its frames in order of decode time on one timeline.
 *
 * It does not pace (that is `replay.ts`) and knows nothing of who takes the frames.
 *
 * Invariants:
 * 1. Whatever is wrong with the file is found by `openMediaFile`, before the first frame; only a failing disk or a
 *    file that changes meanwhile makes `frames` fail.
 * 2. Time 0 is the first presented instant of the file. DTS of all tracks count from it, so the tracks keep their
 *    relation in time; frames hidden by an edit list (AAC priming, a lead-in) are negative.
 * 3. The bytes of a frame are never written again: every read has a buffer of its own.
 */
import { open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { FootageError, ioError, systemCode } from '../errors.ts';
import type { Frame, Track } from '../media.ts';
import type { Movie, MovieTrack } from '../mp4/reader.ts';
import type { SampleTable } from '../mp4/tables.ts';
import { readMovieFile } from '../mp4/top-level.ts';

export interface MediaFile {
  /** Video and audio tracks that have samples; `Frame.track` is an index into it. */
  readonly tracks: readonly Track[];
  /**
   * What else the file holds and what is left out, one readable line per track; and what a fragmented file that is cut
   * off (a recording that lost its end) should have held: it is read as far as it is whole.
   */
  readonly skipped: readonly string[];
  /** From the first presented instant to the last, in milliseconds. */
  readonly durationMs: number;
  /**
   * All frames by decode time, across tracks; from the beginning at each call. `durationTicks` is always set, `utcMs`
   * never. Aborting throws the signal's reason; a file that became shorter is E_INPUT_TRUNCATED, a failing disk E_IO.
   */
  frames(signal?: AbortSignal): AsyncIterableIterator<Frame>;
  /** Closes the file when the reads in flight are done; frames still being iterated end with E_CLOSED. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** One track on the file's timeline. */
interface TimedTrack {
  readonly track: Track;
  readonly samples: SampleTable;
  /** Samples used: those behind the end of the edit are left out. */
  readonly count: number;
  /** Added to the media's DTS, in ticks of the track. */
  readonly shift: number;
  /** End of the last presented sample, in ticks of the track, shifted. */
  readonly endTicks: number;
}

/**
 * Opens an MP4 or MOV file and checks all of it but the media bytes.
 *
 * Errors: E_INPUT_MISSING (no such file, not a regular file, not readable), E_INPUT_FORMAT, E_INPUT_TRUNCATED,
 * E_INPUT_UNSUPPORTED; messages begin with the path.
 */
export async function openMediaFile(path: string): Promise<MediaFile> {
  const handle = await openForReading(path);
  try {
    const { size } = await handle.stat();
    const read = (offset: number, length: number): Promise<Uint8Array> => readRange(handle, path, offset, length);
    return new OpenMediaFile(path, handle, await readMovieFile(read, size));
  } catch (error) {
    await handle.close();
    throw error instanceof FootageError
      ? new FootageError(error.code, `${path}: ${error.message}`, error.cause)
      : error;
  }
}

/** Only a regular file is opened: opening a pipe would wait for its other end. */
async function openForReading(path: string): Promise<FileHandle> {
  try {
    const found = await stat(path);
    if (found.isFile()) return await open(path, 'r');
  } catch (error) {
    const why = systemCode(error) === 'ENOENT' ? 'there is no such file' : 'it cannot be read';
    throw new FootageError('E_INPUT_MISSING', `${path}: ${why}; check the path and its permissions.`, error);
  }
  throw new FootageError('E_INPUT_MISSING', `${path}: not a regular file; name a media file.`);
}

/** Reads up to `length` bytes into a new buffer; fewer only at the end of the file. */
async function readRange(handle: FileHandle, path: string, offset: number, length: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  try {
    while (filled < length) {
      const { bytesRead } = await handle.read(buffer, filled, length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
  } catch (error) {
    throw ioError(error, `reading ${path}`);
  }
  return new Uint8Array(buffer.buffer, buffer.byteOffset, filled);
}

class OpenMediaFile implements MediaFile {
  readonly tracks: readonly Track[];
  readonly skipped: readonly string[];
  readonly durationMs: number;
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #timed: readonly TimedTrack[];
  readonly #reading = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;

  constructor(path: string, handle: FileHandle, movie: Movie) {
    const { timed, skipped } = placeTracks(movie);
    this.#path = path;
    this.#handle = handle;
    this.#timed = timed;
    this.tracks = timed.map(({ track }) => track);
    this.skipped = skipped;
    this.durationMs = Math.max(...timed.map(({ track, endTicks }) => (endTicks / track.timescale) * 1000));
  }

  async *frames(signal?: AbortSignal): AsyncGenerator<Frame, void, undefined> {
    const order = decodeOrder(this.#timed);
    let next = this.#load(takeBatch(order));
    for (;;) {
      signal?.throwIfAborted();
      const frames = await next;
      if (frames.length === 0) return;
      // Read ahead: the next batch comes from the disk while this one is taken.
      next = this.#load(takeBatch(order));
      for (const frame of frames) {
        signal?.throwIfAborted();
        yield frame;
      }
    }
  }

  close(): Promise<void> {
    this.#closed ??= Promise.allSettled(this.#reading).then(() => this.#handle.close());
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Reads the bytes of a batch and makes its frames. A failure that nobody awaits any more goes unnoticed. */
  #load(batch: readonly Planned[]): Promise<Frame[]> {
    const loading = this.#readBatch(batch);
    this.#reading.add(loading);
    const done = (): void => void this.#reading.delete(loading);
    loading.then(done, done);
    return loading;
  }

  async #readBatch(batch: readonly Planned[]): Promise<Frame[]> {
    if (this.#closed !== undefined) throw new FootageError('E_CLOSED', `${this.#path} was closed while it was read.`);
    const frames: Frame[] = Array.from({ length: batch.length });
    for (const run of coalesce(batch)) {
      const bytes = await readRange(this.#handle, this.#path, run.from, run.to - run.from);
      if (bytes.length < run.to - run.from) {
        throw new FootageError('E_INPUT_TRUNCATED', `${this.#path}: the file became shorter while it was read.`);
      }
      for (const planned of run.samples) frames[planned.position] = makeFrame(planned, bytes, run.from);
    }
    return frames;
  }
}

function makeFrame({ trackIndex, timed, sample }: Planned, bytes: Uint8Array, from: number): Frame {
  const { samples, shift } = timed;
  const begin = at(samples.offset, sample) - from;
  return {
    track: trackIndex,
    data: bytes.subarray(begin, begin + at(samples.size, sample)),
    dts: at(samples.dts, sample) + shift,
    compositionOffset: at(samples.compositionOffset, sample),
    sync: samples.sync[sample] === 1,
    durationTicks: at(samples.duration, sample),
  };
}

/** Element `i`, which is known to exist. */
function at(column: Float64Array | Int32Array | Uint32Array, i: number): number {
  return column[i] ?? 0;
}

/** A sample whose turn it is. */
interface Planned {
  readonly trackIndex: number;
  readonly timed: TimedTrack;
  readonly sample: number;
  /** Its place in the batch. */
  readonly position: number;
}

/** A batch ends when it has this much media, or this many samples. */
const BATCH_BYTES = 2 * 1024 * 1024;
const BATCH_SAMPLES = 1024;
/** Neighbours closer than this are read in one go; what lies between is read and thrown away. */
const HOLE_BYTES = 16 * 1024;
/** One read is at most this long, unless a single sample is longer. */
const READ_BYTES = 4 * 1024 * 1024;

/** The samples of all tracks by decode time; at equal times the earlier track goes first. */
function* decodeOrder(tracks: readonly TimedTrack[]): Generator<Omit<Planned, 'position'>, void, undefined> {
  const next = tracks.map(() => 0);
  for (;;) {
    let first = -1;
    let firstSeconds = Infinity;
    for (let i = 0; i < tracks.length; i++) {
      const seconds = decodeSeconds(tracks[i], next[i] ?? 0);
      if (seconds < firstSeconds) {
        first = i;
        firstSeconds = seconds;
      }
    }
    const timed = tracks[first];
    if (timed === undefined) return;
    const sample = next[first] ?? 0;
    next[first] = sample + 1;
    yield { trackIndex: first, timed, sample };
  }
}

/** Decode time in seconds; Infinity behind the last sample. */
function decodeSeconds(timed: TimedTrack | undefined, sample: number): number {
  if (timed === undefined || sample >= timed.count) return Infinity;
  return (at(timed.samples.dts, sample) + timed.shift) / timed.track.timescale;
}

/** The next samples in order, as many as make a batch; empty at the end. */
function takeBatch(order: Iterator<Omit<Planned, 'position'>, void>): Planned[] {
  const batch: Planned[] = [];
  let bytes = 0;
  while (batch.length < BATCH_SAMPLES && bytes < BATCH_BYTES) {
    const { value } = order.next();
    if (value === undefined) break;
    batch.push({ ...value, position: batch.length });
    bytes += at(value.timed.samples.size, value.sample);
  }
  return batch;
}

interface ReadRun {
  readonly from: number;
  to: number;
  readonly samples: Planned[];
}

/** Groups a batch into reads, in order of file offset. */
function coalesce(batch: readonly Planned[]): ReadRun[] {
  const offsetOf = ({ timed, sample }: Planned): number => at(timed.samples.offset, sample);
  const runs: ReadRun[] = [];
  for (const planned of batch.toSorted((a, b) => offsetOf(a) - offsetOf(b))) {
    const from = offsetOf(planned);
    const to = from + at(planned.timed.samples.size, planned.sample);
    const run = runs.at(-1);
    if (run !== undefined && from - run.to <= HOLE_BYTES && to - run.from <= READ_BYTES) {
      run.to = Math.max(run.to, to);
      run.samples.push(planned);
    } else {
      runs.push({ from, to, samples: [planned] });
    }
  }
  return runs;
}

/** A track's edit list in ticks of the track: the media from `mediaTime` on is presented from `lead` on. */
interface Presentation {
  readonly lead: number;
  readonly mediaTime: number;
  /** Media time at which the edit ends; Infinity = with the media. */
  readonly mediaEnd: number;
}

/** Puts all tracks on one timeline whose 0 is the first presented instant. */
function placeTracks(movie: Movie): { timed: TimedTrack[]; skipped: string[] } {
  const used = movie.tracks.filter(({ samples }) => samples.count > 0);
  const empty = movie.tracks.filter(({ samples }) => samples.count === 0);
  if (used.length === 0) throw new FootageError('E_INPUT_FORMAT', 'The file has no video and no audio samples.');
  const placed = used.map((source) => {
    checkSyncSamples(source);
    const shown = presentationOf(source, movie.timescale);
    return { source, shown, ...presentedSpan(source, shown) };
  });
  const shifts = commonShift(placed);
  const timed = placed.map(({ source, shown, count, end }, i) => {
    const shift = shown.lead - shown.mediaTime - (shifts[i] ?? 0);
    return { track: source.track, samples: source.samples, count, shift, endTicks: end - (shifts[i] ?? 0) };
  });
  return {
    timed,
    skipped: [...movie.skipped, ...empty.map(({ id, kind }) => `track ${id} (${kind}) without samples`)],
  };
}

function checkSyncSamples({ id, samples }: MovieTrack): void {
  if (samples.sync.includes(1)) return;
  throw new FootageError(
    'E_INPUT_UNSUPPORTED',
    `Track ${id} has no sync sample (keyframe), so nothing can be decoded.`,
  );
}

/** Empty edits, then one media edit at normal speed; anything else is E_INPUT_UNSUPPORTED. */
function presentationOf({ id, edits, timescale }: MovieTrack, movieTimescale: number): Presentation {
  const firstMedia = edits.findIndex(({ mediaTime }) => mediaTime !== -1);
  const media = edits[firstMedia];
  if (edits.length === 0) return { lead: 0, mediaTime: 0, mediaEnd: Infinity };
  if (media === undefined || media.mediaTime < 0) throw unsupportedEdits(id, 'presents nothing');
  if (edits.slice(firstMedia + 1).some(({ mediaTime }) => mediaTime !== -1)) {
    throw unsupportedEdits(id, 'has more than one edit');
  }
  if (media.rate !== 1) throw unsupportedEdits(id, `is played at ${media.rate} times its speed`);
  const emptyTicks = edits.slice(0, firstMedia).reduce((sum, { duration }) => sum + duration, 0);
  // Edits are measured in the coarse movie timescale: what begins within its last tick still counts as inside.
  const length = media.duration === 0 ? Infinity : rescale(media.duration + 1, movieTimescale, timescale, Math.ceil);
  return {
    lead: rescale(emptyTicks, movieTimescale, timescale, Math.round),
    mediaTime: media.mediaTime,
    mediaEnd: media.mediaTime + length,
  };
}

function unsupportedEdits(id: number, what: string): FootageError {
  const advice = 'write it out plainly with: ffmpeg -i INPUT -c:v libx264 -c:a aac OUTPUT.mp4';
  return new FootageError('E_INPUT_UNSUPPORTED', `Track ${id} ${what} (edit list), which is not supported; ${advice}`);
}

/**
 * What of a track is presented, in its ticks before the common shift: from `begin` to `end`; `count` samples are
 * needed for it. A sample is presented if its interval meets the edit.
 */
function presentedSpan(
  { id, samples }: MovieTrack,
  shown: Presentation,
): { begin: number; end: number; count: number } {
  let begin = Infinity;
  let end = -Infinity;
  let count = 0;
  for (let i = 0; i < samples.count; i++) {
    const from = at(samples.dts, i) + at(samples.compositionOffset, i);
    const to = from + at(samples.duration, i);
    if (to <= shown.mediaTime || from >= shown.mediaEnd) continue;
    begin = Math.min(begin, from);
    end = Math.max(end, to);
    count = i + 1;
  }
  if (count === 0) throw unsupportedEdits(id, 'presents nothing');
  const toTimeline = shown.lead - shown.mediaTime;
  return { begin: Math.max(begin, shown.mediaTime) + toTimeline, end: end + toTimeline, count };
}

interface Placed {
  readonly source: MovieTrack;
  readonly begin: number;
}

/**
 * How far each track is moved back (in its ticks) so that the file begins to be presented at 0. The instant is a
 * whole number of the (first) video's ticks, rounded down so that nothing presented becomes negative: the video keeps
 * its exact times, the others move to the nearest tick.
 */
function commonShift(placed: readonly Placed[]): number[] {
  const clock = placed.find(({ source }) => source.kind === 'video') ?? placed[0];
  const earliest = placed.reduce((a, b) => (b.begin / b.source.timescale < a.begin / a.source.timescale ? b : a));
  const clockScale = clock?.source.timescale ?? 1;
  const instant = rescale(earliest.begin, earliest.source.timescale, clockScale, Math.floor);
  return placed.map(({ source }) => rescale(instant, clockScale, source.timescale, Math.round));
}

/** Ticks of one timescale in another; beyond 2^53 is E_INPUT_FORMAT. */
function rescale(ticks: number, from: number, to: number, rounding: (n: number) => number): number {
  const product = ticks * to;
  // Where the product is no longer exact, whole seconds and the rest are converted apart.
  const scaled = Number.isSafeInteger(product)
    ? rounding(product / from)
    : Math.floor(ticks / from) * to + rounding(((ticks % from) * to) / from);
  if (Number.isSafeInteger(scaled)) return scaled;
  throw new FootageError('E_INPUT_FORMAT', 'The edit list of the file holds a time beyond 2^53 ticks.');
}
