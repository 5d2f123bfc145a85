/** `footage record`: a camera, for as long as it is wanted; or a file replayed in real time as if it were one. */
import { type Archive, openArchive } from '../archive.ts';
import { type Camera, STUBBORN } from '../camera/camera.ts';
import { FootageError } from '../errors.ts';
import { checkAnyMediaFile, openAnyMediaFile } from '../ingest/converted-file.ts';
import type { AudioChoice } from '../ingest/layout.ts';
import { replay } from '../ingest/replay.ts';
import { isAddress } from '../ingest/secrets.ts';
import { type Frame, leadingOf, type Track, type TrackKind } from '../media.ts';
import type { RecordingStats } from '../recorder/recorder.ts';
import type { Recording } from '../recorder/recording.ts';
import { checkCameraName } from '../segment/layout.ts';
import { parseDuration } from '../time.ts';
import { hideTitle, tell } from './live.ts';
import { printJson, untilInterrupted } from './support.ts';

interface RecordFlags {
  readonly archive: string;
  readonly camera: string;
  readonly input: string;
  readonly duration?: string;
  readonly wait: number;
  readonly audio: AudioChoice;
  readonly transport: 'tcp' | 'udp';
  readonly inputOption: Readonly<Record<string, string>>;
  readonly json?: true;
}

export async function runRecord(flags: RecordFlags): Promise<void> {
  checkCameraName(flags.camera);
  const durationMs = flags.duration === undefined ? Infinity : parseDuration(flags.duration, '--duration');
  const signal = untilInterrupted();
  const isFile = !isAddress(flags.input) && Object.keys(flags.inputOption).length === 0;
  if (isFile) await checkAnyMediaFile(flags.input, signal);
  else hideTitle('footage record');
  const archive = await openArchive(flags.archive, { lockWaitMs: flags.wait * 1000 });
  try {
    if (isFile) await recordFile(archive, flags, durationMs, signal);
    else await recordCamera(archive, flags, durationMs, signal);
  } finally {
    await archive.close();
  }
}

async function recordFile(
  archive: Archive,
  flags: RecordFlags,
  durationMs: number,
  signal: AbortSignal,
): Promise<void> {
  const file = await openAnyMediaFile(flags.input, archive.root, signal);
  try {
    const frames = upTo(replay(file, { signal }), file.tracks, durationMs);
    const recording = await archive.record(flags.camera, { tracks: file.tracks, frames, signal });
    const totals = new Totals(flags.camera, flags.json === true);
    totals.add(
      recording,
      file.tracks.map(({ kind }) => kind),
    );
    await totals.printUntil(recording.finished);
  } finally {
    await file.close();
  }
}

async function recordCamera(
  archive: Archive,
  flags: RecordFlags,
  durationMs: number,
  signal: AbortSignal,
): Promise<void> {
  const { audio, transport, inputOption: options } = flags;
  const camera = archive.camera(flags.camera, { source: { url: flags.input, audio, transport, options } });
  const totals = new Totals(flags.camera, flags.json === true);
  camera.on('recording', () => {
    const { recording } = camera;
    if (recording !== undefined)
      totals.add(
        recording,
        camera.health().tracks.map(({ kind }) => kind),
      );
  });
  tell(camera);
  const over = new AbortController();
  const enough = recordedFor(totals, durationMs, AbortSignal.any([signal, over.signal]));
  const ended = Promise.race([firstFailure(camera), enough]).finally(() => {
    over.abort();
    return camera.close();
  });
  await totals.printUntil(ended);
}

/** Rejects when the first attempt fails of what will not go away: a camera that is only switched off is waited for. */
function firstFailure(camera: Camera): Promise<never> {
  return new Promise((_, reject) => {
    let wasOnline = false;
    camera.on('state', (state, trouble) => {
      wasOnline ||= state === 'online';
      if (wasOnline || state !== 'waiting' || trouble === null || !STUBBORN.has(trouble.code)) return;
      reject(new FootageError(trouble.code, trouble.message));
    });
  });
}

const POLL_MS = 50;

/** Resolves when so much is recorded, or it is interrupted. */
function recordedFor(totals: Totals, durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearInterval(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setInterval(() => {
      if (totals.recordedMs >= durationMs) end();
    }, POLL_MS);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}

/** The frames of the first `durationMs` of media, counted from the first sync sample of the leading track. */
async function* upTo(
  frames: AsyncIterable<Frame>,
  tracks: readonly Track[],
  durationMs: number,
): AsyncGenerator<Frame, void, undefined> {
  const leading = leadingOf(tracks);
  let beginMs: number | undefined;
  for await (const frame of frames) {
    const atMs = (frame.dts * 1000) / (tracks[frame.track]?.timescale ?? 1);
    if (frame.track === leading && frame.sync) beginMs ??= atMs;
    if (beginMs !== undefined && atMs - beginMs >= durationMs) return;
    yield frame;
  }
}

interface Entry {
  readonly recording: Recording;
  readonly kinds: readonly TrackKind[];
}

type Counter = 'appended' | 'flushed' | 'lost';

const COUNTERS = ['appended', 'flushed', 'lost'] as const;

/** What all recordings of a camera come to. */
interface Sums {
  readonly counts: Readonly<Record<TrackKind, Readonly<Record<Counter, number>>>>;
  readonly segments: number;
  readonly recordedMs: number;
}

function countsOf({ recording, kinds }: Entry, kind: TrackKind): Record<Counter, number> {
  const stats = recording.stats();
  const sum = (counter: Counter) => stats[counter].reduce((all, count, i) => all + (kinds[i] === kind ? count : 0), 0);
  return { appended: sum('appended'), flushed: sum('flushed'), lost: sum('lost') };
}

function added(sums: Sums, entry: Entry): Sums {
  const { segments, recordedMs } = entry.recording.stats();
  const both = (kind: TrackKind) => {
    const more = countsOf(entry, kind);
    const entries = COUNTERS.map((counter) => [counter, sums.counts[kind][counter] + more[counter]] as const);
    return Object.fromEntries(entries) as Record<Counter, number>;
  };
  return {
    counts: { video: both('video'), audio: both('audio') },
    segments: sums.segments + segments,
    recordedMs: sums.recordedMs + recordedMs,
  };
}

const NONE = { appended: 0, flushed: 0, lost: 0 };

/** All recordings of a camera together, printed once a second: a camera may have one for each connection, for months. */
class Totals {
  readonly #camera: string;
  readonly #json: boolean;
  /** Under way; those that have ended are in `#ended`. */
  #entries: Entry[] = [];
  /** Of the newest. */
  #state: RecordingStats['state'] = 'waiting';
  #ended: Sums = { counts: { video: NONE, audio: NONE }, segments: 0, recordedMs: 0 };

  constructor(camera: string, json: boolean) {
    this.#camera = camera;
    this.#json = json;
  }

  add(recording: Recording, kinds: readonly TrackKind[]): void {
    if (this.#entries.some((entry) => entry.recording === recording)) return;
    const entry = { recording, kinds };
    this.#entries.push(entry);
    const fold = () => {
      this.#ended = added(this.#ended, entry);
      this.#state = recording.stats().state;
      this.#entries = this.#entries.filter((one) => one !== entry);
    };
    recording.finished.then(fold, fold);
  }

  get recordedMs(): number {
    return this.#sums.recordedMs;
  }

  get #sums(): Sums {
    return this.#entries.reduce(added, this.#ended);
  }

  /** @throws FootageError E_IO if frames were lost; what `ended` throws */
  async printUntil(ended: Promise<unknown>): Promise<void> {
    const timer = setInterval(() => this.#print(), 1000);
    try {
      await ended;
    } finally {
      clearInterval(timer);
      this.#print();
    }
    const { video, audio } = this.#sums.counts;
    const lost = video.lost + audio.lost;
    if (lost === 0) return;
    throw new FootageError(
      'E_IO',
      `${lost} frames were lost while the disk could not be written: "footage list" shows the gaps, with their causes.`,
    );
  }

  #print(): void {
    const { counts, segments, recordedMs } = this.#sums;
    const { video, audio } = counts;
    if (this.#json) {
      printJson({
        camera: this.#camera,
        appendedVideoFrames: video.appended,
        flushedVideoFrames: video.flushed,
        appendedAudioFrames: audio.appended,
        flushedAudioFrames: audio.flushed,
        lostVideoFrames: video.lost,
        lostAudioFrames: audio.lost,
        state: this.#entries.at(-1)?.recording.stats().state ?? this.#state,
        recordedMs,
        segments,
      });
    } else if (process.stderr.isTTY) {
      process.stderr.write(`\r${this.#camera}: ${(recordedMs / 1000).toFixed(0)} s recorded `);
    }
  }
}
