/** `footage record`: a camera, for as long as it is wanted; or a file replayed in real time as if it were one. */
import { type Archive, openArchive } from '../archive.ts';
import { type Camera, STUBBORN } from '../camera/camera.ts';
import { FootageError } from '../errors.ts';
import { checkAnyMediaFile, openAnyMediaFile } from '../ingest/converted-file.ts';
import type { AudioChoice } from '../ingest/layout.ts';
import { replay } from '../ingest/replay.ts';
import { isAddress } from '../ingest/secrets.ts';
import type { Frame, Track, TrackKind } from '../media.ts';
import type { Recording } from '../recorder/recording.ts';
import type { RecordingStats } from '../recorder/recorder.ts';
import { leadingOf } from '../recorder/tracks.ts';
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
  else hideTitle('footage record', [flags.input]);
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

/** All recordings of a camera together, printed once a second. */
class Totals {
  readonly #camera: string;
  readonly #json: boolean;
  readonly #entries: Entry[] = [];

  constructor(camera: string, json: boolean) {
    this.#camera = camera;
    this.#json = json;
  }

  add(recording: Recording, kinds: readonly TrackKind[]): void {
    if (!this.#entries.some((entry) => entry.recording === recording)) this.#entries.push({ recording, kinds });
  }

  get recordedMs(): number {
    return this.#stats.reduce((sum, { stats }) => sum + stats.recordedMs, 0);
  }

  get #stats(): { stats: RecordingStats; kinds: readonly TrackKind[] }[] {
    return this.#entries.map(({ recording, kinds }) => ({ stats: recording.stats(), kinds }));
  }

  #sum(counter: Counter, kind: TrackKind): number {
    return this.#stats.reduce(
      (sum, { stats, kinds }) => stats[counter].reduce((all, count, i) => all + (kinds[i] === kind ? count : 0), sum),
      0,
    );
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
    const lost = this.#sum('lost', 'video') + this.#sum('lost', 'audio');
    if (lost === 0) return;
    throw new FootageError(
      'E_IO',
      `${lost} frames were lost while the disk could not be written: "footage list" shows the gaps, with their causes.`,
    );
  }

  #print(): void {
    const { recordedMs } = this;
    if (this.#json) {
      printJson({
        camera: this.#camera,
        appendedVideoFrames: this.#sum('appended', 'video'),
        flushedVideoFrames: this.#sum('flushed', 'video'),
        appendedAudioFrames: this.#sum('appended', 'audio'),
        flushedAudioFrames: this.#sum('flushed', 'audio'),
        lostVideoFrames: this.#sum('lost', 'video'),
        lostAudioFrames: this.#sum('lost', 'audio'),
        state: this.#entries.at(-1)?.recording.stats().state ?? 'waiting',
        recordedMs,
        segments: this.#stats.reduce((sum, { stats }) => sum + stats.segments, 0),
      });
    } else if (process.stderr.isTTY) {
      process.stderr.write(`\r${this.#camera}: ${(recordedMs / 1000).toFixed(0)} s recorded `);
    }
  }
}
