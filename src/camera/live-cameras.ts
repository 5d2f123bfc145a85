/** The cameras that an archive is connected to: one of a name. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CameraGap } from '../camera-health.ts';
import { FootageError } from '../errors.ts';
import type { Recording } from '../recorder/recording.ts';
import type { RecorderOptions } from '../recorder/recorder.ts';
import { Camera } from './camera.ts';
import { ConnectGate } from './connect-gate.ts';
import { type CameraOptions, checkCameraOptions } from './options.ts';
import type { BeginRecording } from './recording-switch.ts';

/** Cameras that are being connected at once, and how long one counts. */
const CONNECTING = 4;
const CONNECTING_MS = 5000;
/** What may wait for a disk that hangs: of one camera, of all together, and what each may have however many there are. */
const MOST_WAITING_BYTES = 32 * 2 ** 20;
const ALL_WAITING_BYTES = 512 * 2 ** 20;
const LEAST_WAITING_BYTES = 2 ** 20;

export interface LiveCamerasDeps {
  /** Begins a recording of a camera. */
  readonly begin: (camera: string, request: BeginRecording, recorder: RecorderOptions) => Promise<Recording>;
  /** Notes gaps of a camera that nothing is recording. Never throws. */
  readonly noteGaps: (camera: string, gaps: readonly CameraGap[]) => Promise<void>;
  /** Wall clock, Unix ms. */
  readonly wallMs: () => number;
}

export class LiveCameras {
  readonly #deps: LiveCamerasDeps;
  readonly #cameras = new Map<string, Camera>();
  readonly #gate = new ConnectGate(CONNECTING, CONNECTING_MS);

  constructor(deps: LiveCamerasDeps) {
    this.#deps = deps;
  }

  /** @throws FootageError E_CAMERA_BUSY; TypeError, RangeError for options */
  add(name: string, options: CameraOptions): Camera {
    const checked = checkCameraOptions(options);
    if (this.#cameras.has(name)) {
      throw new FootageError(
        'E_CAMERA_BUSY',
        `Camera "${name}" is connected already: close it first, or choose another name.`,
      );
    }
    const camera = new Camera(name, checked, {
      begin: (request) => this.#deps.begin(name, request, checked.recorder),
      noteGaps: (gaps) => this.#deps.noteGaps(name, gaps),
      gate: this.#gate,
      maxWaitingBytes: () => this.#maxWaitingBytes,
      wallMs: this.#deps.wallMs,
      wait: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined),
      onClosed: () => this.#cameras.delete(name),
    });
    this.#cameras.set(name, camera);
    return camera;
  }

  get #maxWaitingBytes(): number {
    const share = ALL_WAITING_BYTES / this.#cameras.size;
    return Math.max(LEAST_WAITING_BYTES, Math.min(MOST_WAITING_BYTES, share));
  }

  get(name: string): Camera | undefined {
    return this.#cameras.get(name);
  }

  all(): Camera[] {
    return [...this.#cameras.values()];
  }

  async close(): Promise<void> {
    await Promise.all(this.all().map((camera) => camera.close()));
  }
}
