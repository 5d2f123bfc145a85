/**
 * What a camera asks of its source, with bounds: a program may bring its own, and one that hangs, or hands over what is no
 * frame, must keep the camera neither from being connected anew nor from being closed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, FootageError } from '../errors.ts';
import type { FrameSource, SourceConnection, SourceFrame } from '../ingest/source.ts';
import type { Track } from '../media.ts';

/** A source that was told to end may take so long; ours takes 2 s at most. */
const RELEASE_MS = 5000;

export interface ConnectOptions {
  /** Ends the attempt, with its reason. */
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

/** @throws FootageError E_CAMERA_UNREACHABLE when it takes too long; what the source throws; the signal's reason */
export async function connectWithin(
  source: FrameSource,
  { signal, timeoutMs }: ConnectOptions,
): Promise<SourceConnection> {
  // Not AbortSignal.any: a signal that lives for months would remember every attempt of its life.
  const attempt = new AbortController();
  const stop = () => attempt.abort(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  const timer = setTimeout(() => attempt.abort(silence(source, timeoutMs)), timeoutMs);
  try {
    return await connectOrLeave(source, attempt.signal);
  } catch (error) {
    throw attempt.signal.aborted ? attempt.signal.reason : error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

function silence({ description }: FrameSource, timeoutMs: number): FootageError {
  return new FootageError(
    'E_CAMERA_UNREACHABLE',
    `${description} has sent nothing that can be decoded for ${timeoutMs / 1000} s: check the camera and the network.`,
  );
}

/** Some time after the abort the source is waited for no longer; a connection that it makes then is closed. */
function connectOrLeave(source: FrameSource, signal: AbortSignal): Promise<SourceConnection> {
  return new Promise((resolve, reject) => {
    let leave: NodeJS.Timeout | undefined;
    let isLeft = false;
    const onAbort = () => {
      leave = setTimeout(() => {
        isLeft = true;
        reject(signal.reason as Error);
      }, RELEASE_MS);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    const settle = () => {
      clearTimeout(leave);
      signal.removeEventListener('abort', onAbort);
    };
    const connect = async () => source.connect(signal);
    connect().then(
      (connection) => {
        settle();
        if (isLeft) void closeWithin(connection);
        else resolve(connection);
      },
      (error: unknown) => {
        settle();
        reject(error);
      },
    );
  });
}

/** Ends a connection; returns what is wrong with the way it ends, if anything is. Never throws. */
export async function closeWithin(connection: SourceConnection): Promise<string | undefined> {
  const waiting = new AbortController();
  const close = async () => {
    await connection.close();
    return undefined;
  };
  const left = sleep(RELEASE_MS, `its connection has not closed for ${RELEASE_MS / 1000} s, and is left behind`, {
    signal: waiting.signal,
  }).catch(() => undefined);
  const outcome = await Promise.race([close().catch(failedToClose), left]);
  waiting.abort();
  return outcome;
}

const failedToClose = (error: unknown) => `its connection could not be closed well: ${textOf(error)}`;

const textOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** The failure of a source: as it is, or with a code if it is an error that is none of ours. */
export function sourceFailure(error: unknown, { description }: FrameSource, code: ErrorCode): FootageError {
  if (error instanceof FootageError) return error;
  return new FootageError(
    code,
    `${description} has failed (${textOf(error)}): it is connected anew by itself; see the cause.`,
    error,
  );
}

/** Checks what is computed with before the recorder checks the rest. @throws FootageError E_FRAME */
export function checkSourceFrame(frame: SourceFrame, tracks: readonly Track[], { description }: FrameSource): void {
  const { track, data, dts, arrivalMs = 0 } = frame;
  const isFrame =
    tracks[track] !== undefined &&
    data instanceof Uint8Array &&
    Number.isSafeInteger(dts) &&
    Number.isSafeInteger(frame.compositionOffset) &&
    Number.isFinite(arrivalMs);
  if (isFrame) return;
  throw new FootageError(
    'E_FRAME',
    `${description} has given a frame with an unknown track, no data, or times that are none: correct this source of frames.`,
  );
}
