/**
 * Where the frames of a camera come from: the interface between the recording of a camera and the ways to reach one
 * (`ffmpeg-source.ts` is ours; a program may bring its own).
 *
 * A source neither waits between attempts nor watches over a connection: whoever uses it does both.
 */
import type { Frame, Track } from '../media.ts';

export interface SourceFrame extends Frame {
  /** When it came, ms of `performance.now()`. Default: when it is taken. */
  readonly arrivalMs?: number;
}

/** A camera that answers. */
export interface SourceConnection {
  /** Of each, the configuration holds until a frame brings another one (`newTrack`). At least one. */
  readonly tracks: readonly Track[];
  /**
   * Frames in order of arrival, DTS of all tracks counted from one instant. They end when the camera ends them;
   * otherwise they throw a FootageError that says why (E_CAMERA_LOST, …). Taken at once and only once.
   */
  readonly frames: AsyncIterable<SourceFrame>;
  /** What is left out, one readable line each: tracks that cannot be kept. */
  readonly notes: readonly string[];
  /** Ends the connection and its frames, also while a frame is waited for. Idempotent; resolves when all is released. */
  close(): Promise<void>;
}

export interface FrameSource {
  /** Its address for logs and health, without secrets. */
  readonly description: string;
  /**
   * Reaches the camera and learns what it sends. Aborting ends the attempt with the signal's reason.
   * @throws FootageError E_CAMERA_AUTH, E_CAMERA_STREAM, E_CAMERA_UNREACHABLE, E_CAMERA_LOST, E_FFMPEG, E_INPUT_MISSING, E_INPUT_FORMAT,
   * E_INPUT_UNSUPPORTED
   */
  connect(signal: AbortSignal): Promise<SourceConnection>;
}
