/** `footage record`: a file replayed in real time as if it were a camera, stamped with the present wall clock. */
import { openArchive } from '../archive.ts';
import { FootageError } from '../errors.ts';
import { openMediaFile } from '../ingest/media-file.ts';
import { replay } from '../ingest/replay.ts';
import type { Frame, Track } from '../media.ts';
import type { Recording } from '../recorder/recording.ts';
import { checkCameraName } from '../segment/layout.ts';
import { parseDuration } from '../time.ts';
import { printJson, untilInterrupted } from './support.ts';

interface RecordFlags {
  readonly archive: string;
  readonly camera: string;
  readonly input: string;
  readonly duration?: string;
  readonly wait: number;
  readonly json?: true;
}

export async function runRecord(flags: RecordFlags): Promise<void> {
  checkCameraName(flags.camera);
  const durationMs = flags.duration === undefined ? Infinity : parseDuration(flags.duration, '--duration');
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(flags.input)) {
    throw new FootageError(
      'E_INPUT_UNSUPPORTED',
      'This version records from MP4 and MOV files only: name a file as --input.',
    );
  }
  const signal = untilInterrupted();
  const file = await openMediaFile(flags.input);
  try {
    const archive = await openArchive(flags.archive, { lockWaitMs: flags.wait * 1000 });
    try {
      const frames = upTo(replay(file, { signal }), file.tracks, durationMs);
      const recording = await archive.record(flags.camera, { tracks: file.tracks, frames, signal });
      await watch(recording, file.tracks, flags.json === true);
    } finally {
      await archive.close();
    }
  } finally {
    await file.close();
  }
}

/** The frames of the first `durationMs` of media, counted from the first sync sample of the leading track. */
async function* upTo(
  frames: AsyncIterable<Frame>,
  tracks: readonly Track[],
  durationMs: number,
): AsyncGenerator<Frame, void, undefined> {
  const leading = Math.max(
    0,
    tracks.findIndex(({ kind }) => kind === 'video'),
  );
  let beginMs: number | undefined;
  for await (const frame of frames) {
    const atMs = (frame.dts * 1000) / (tracks[frame.track]?.timescale ?? 1);
    if (frame.track === leading && frame.sync) beginMs ??= atMs;
    if (beginMs !== undefined && atMs - beginMs >= durationMs) return;
    yield frame;
  }
}

async function watch(recording: Recording, tracks: readonly Track[], json: boolean): Promise<void> {
  const timer = setInterval(() => print(recording, tracks, json), 1000);
  try {
    await recording.finished;
  } finally {
    clearInterval(timer);
    print(recording, tracks, json);
  }
  const lost = recording.stats().lost.reduce((sum, count) => sum + count, 0);
  if (lost === 0) return;
  throw new FootageError(
    'E_IO',
    `${lost} frames were lost while the disk could not be written: "footage list" shows the gaps, with their causes.`,
  );
}

function print(recording: Recording, tracks: readonly Track[], json: boolean): void {
  const { appended, flushed, lost, segments, recordedMs, state } = recording.stats();
  const sum = (counts: readonly number[], kind: string) =>
    counts.reduce((total, count, i) => total + (tracks[i]?.kind === kind ? count : 0), 0);
  if (json) {
    printJson({
      camera: recording.camera,
      appendedVideoFrames: sum(appended, 'video'),
      flushedVideoFrames: sum(flushed, 'video'),
      appendedAudioFrames: sum(appended, 'audio'),
      flushedAudioFrames: sum(flushed, 'audio'),
      lostVideoFrames: sum(lost, 'video'),
      lostAudioFrames: sum(lost, 'audio'),
      state,
      recordedMs,
      segments,
    });
  } else if (process.stderr.isTTY) {
    process.stderr.write(`\r${recording.camera}: ${(recordedMs / 1000).toFixed(0)} s recorded `);
  }
}
