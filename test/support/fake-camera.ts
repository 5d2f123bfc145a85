/** A live camera without a camera, and an archive that has some: for tests of what stands in front of them. */
import type { Archive } from '../../src/archive.ts';
import type { CameraHealth } from '../../src/camera-health.ts';
import { FootageError } from '../../src/errors.ts';
import type { ArchiveFace, CameraControl } from '../../src/http/exchange.ts';

/** Records from the moment it is asked while it is online, and goes on until `endPostEvent`. */
export class FakeCamera implements CameraControl {
  /** What it was told to do, in order. */
  readonly calls: unknown[] = [];
  readonly name: string;
  #told: Partial<CameraHealth>;

  constructor(name: string, told: Partial<CameraHealth> = {}) {
    this.name = name;
    this.#told = told;
  }

  startRecording(options: { readonly forMs?: number } = {}): void {
    this.calls.push(['start', options]);
    this.#told = { ...this.#told, wanted: true, recording: this.health().state === 'online' };
  }

  stopRecording(): void {
    this.calls.push(['stop']);
    this.#told = { ...this.#told, wanted: false };
  }

  endPostEvent(): void {
    this.#told = { ...this.#told, recording: false };
  }

  health(): CameraHealth {
    return { ...IDLE, camera: this.name, ...this.#told };
  }
}

const IDLE: Omit<CameraHealth, 'camera'> = {
  state: 'online',
  wanted: false,
  recording: false,
  error: null,
  source: 'rtsp://127.0.0.1:8554/main',
  connectedUtcMs: Date.UTC(2026, 0, 31, 12),
  lastFrameAgeMs: 40,
  reconnects: 2,
  bitsPerSecond: 4_000_000,
  tracks: [
    {
      kind: 'video',
      codec: 'avc1.640028',
      width: 1920,
      height: 1080,
      frames: 250,
      bytes: 5_000_000,
      lastFrameAgeMs: 40,
    },
    { kind: 'audio', codec: 'mp4a.40.2', sampleRate: 16_000, channels: 1, frames: 0, bytes: 0, lastFrameAgeMs: null },
  ],
  gaps: { count: 1, totalMs: 1500, last: { startUtcMs: 1, endUtcMs: 1501, cause: 'E_INPUT_MISSING' } },
  flush: { lastMs: 3, longestMs: 90 },
  bytesAtRisk: 500_000,
  lostFrames: 0,
  preEvent: { heldMs: 5000, bytes: 2_500_000, overflows: 0 },
  clock: { cameraOffsetMs: null, steps: 0 },
};

export interface Cameras {
  readonly live?: readonly CameraControl[];
  /** Names of cameras that are recorded by other means. */
  readonly recorded?: readonly string[];
}

/** The archive as a handler sees it, with these cameras besides its footage. */
export function faceOf(archive: Archive, { live = [], recorded = [] }: Cameras = {}): ArchiveFace {
  return {
    cameras: () => archive.cameras(),
    timeline: (camera, span) => archive.timeline(camera, span),
    session: (request) => archive.session(request),
    hls: (request) => archive.hls(request),
    knowsCamera: (camera) => archive.timeline(camera).then(() => true, falseIfUnknown),
    isRecording: (camera) => recorded.includes(camera),
    control: (camera) => live.find(({ name }) => name === camera),
    liveCameras: () => live,
  };
}

function falseIfUnknown(error: unknown): false {
  if (error instanceof FootageError && error.code === 'E_CAMERA_UNKNOWN') return false;
  throw error;
}
