/**
 * How a live camera is: the vocabulary between who connects it and who tells of it. Plain data that JSON carries as it is.
 */
import type { ErrorCode } from './errors.ts';
import type { TrackKind } from './media.ts';

/** `waiting`: for the next attempt to connect. */
export type CameraState = 'connecting' | 'online' | 'waiting' | 'closed';

/** Why a camera is not connected, or not recorded though it should be. */
export interface CameraTrouble {
  readonly code: ErrorCode;
  readonly message: string;
  readonly sinceUtcMs: number;
}

export interface CameraTrackHealth {
  readonly kind: TrackKind;
  readonly codec: string;
  readonly width?: number;
  readonly height?: number;
  readonly sampleRate?: number;
  readonly channels?: number;
  /** Received since the camera was first connected. */
  readonly frames: number;
  readonly bytes: number;
  /** Null: none has come. */
  readonly lastFrameAgeMs: number | null;
}

export interface CameraGap {
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  readonly cause: ErrorCode;
}

export interface CameraHealth {
  readonly camera: string;
  readonly state: CameraState;
  /** Whether recording is asked for. */
  readonly wanted: boolean;
  /** Whether frames go to the disk now. */
  readonly recording: boolean;
  readonly error: CameraTrouble | null;
  /** Where the frames come from, without secrets. */
  readonly source: string;
  /** Since when it is connected; null: it is not. */
  readonly connectedUtcMs: number | null;
  /** Of any track; null: none has come. */
  readonly lastFrameAgeMs: number | null;
  readonly reconnects: number;
  /** Over the last 10 s. */
  readonly bitsPerSecond: number;
  readonly tracks: readonly CameraTrackHealth[];
  readonly gaps: { readonly count: number; readonly totalMs: number; readonly last: CameraGap | null };
  /** How long flushes to the disk took. */
  readonly flush: { readonly lastMs: number; readonly longestMs: number };
  /** Came, and is not durable: what a power cut would take now. What has only just come, up to a second of it, is not counted. */
  readonly bytesAtRisk: number;
  readonly lostFrames: number;
  /** Frames held in memory for a recording that begins before it is asked for; null: none are held. */
  readonly preEvent: { readonly heldMs: number; readonly bytes: number; readonly overflows: number } | null;
  /** The camera's own clock against ours (null: it tells none), and how often the system's clock was stepped. */
  readonly clock: { readonly cameraOffsetMs: number | null; readonly steps: number };
}
