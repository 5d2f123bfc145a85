/**
 * Footage: a video archive for network video recorders. What stands here is the library's contract.
 */
export {
  type Archive,
  type ArchiveOptions,
  type ArchiveStats,
  type CameraOptions,
  type ImportOptions,
  type ImportResult,
  openArchive,
  type RecordOptions,
  type RecoveryReport,
  type RepairReport,
  type ScrubOptions,
  type ScrubStats,
  type SessionRequest,
  type VerifyOptions,
  type VerifyReport,
} from './archive.ts';
export type { Camera, CameraEvents } from './camera/camera.ts';
export type { CameraGap, CameraHealth, CameraState, CameraTrackHealth, CameraTrouble } from './camera-health.ts';
export type { CameraInfo, Timeline, UtcSpan } from './catalog/timeline.ts';
export { ERROR_CODES, type ErrorCode, FootageError } from './errors.ts';
export type { Handler, HandlerOptions } from './http/handler.ts';
export type { ClockStep } from './ingest/camera-clock.ts';
export { type CameraInput, ffmpegSource } from './ingest/ffmpeg-source.ts';
export type { AudioChoice } from './ingest/layout.ts';
export { type MediaFile, openMediaFile } from './ingest/media-file.ts';
export { replay } from './ingest/replay.ts';
export type { FrameSource, SourceConnection, SourceFrame } from './ingest/source.ts';
export type { Frame, Track, TrackKind } from './media.ts';
export type { Recording } from './recorder/recording.ts';
export type { RecorderOptions, RecordingStats } from './recorder/recorder.ts';
export type { HlsRequest } from './session/hls.ts';
export type { Manifest } from './session/manifest.ts';
export type { PacingOptions, PacingPolicy, SessionTraits } from './session/pacing.ts';
export type { RateLimiter, RateOptions, StallCause } from './session/rate.ts';
export type { RealTimeOptions } from './session/real-time.ts';
export type { RecordingFirstOptions } from './session/recording-first.ts';
export type { AnswerOptions, BeginPolicy, ChangePolicy, GapPolicy } from './session/request.ts';
export type { Answer, SendOptions, Session } from './session/session.ts';
export type { ByteRange } from './session/virtual-file.ts';
export type { Time } from './time.ts';
