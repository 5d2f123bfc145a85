/** A recording in progress, as the user of the library holds it. */
import type { Recorder, RecordingStats } from './recorder.ts';

export class Recording {
  readonly camera: string;
  /** Settles when the recording has ended and everything is sealed; rejects with what ended it too early. */
  readonly finished: Promise<RecordingStats>;
  readonly #recorder: Recorder;
  readonly #stop: AbortController;

  constructor(camera: string, recorder: Recorder, finished: Promise<RecordingStats>, stop: AbortController) {
    this.camera = camera;
    this.finished = finished;
    this.#recorder = recorder;
    this.#stop = stop;
    // Whoever awaits `finished` or `stop()` learns of a failure; a recording nobody watches must not end the process.
    finished.catch(() => undefined);
  }

  stats(): RecordingStats {
    return this.#recorder.stats();
  }

  /** Ends the recording and seals what was appended. */
  stop(): Promise<RecordingStats> {
    this.#stop.abort();
    return this.finished;
  }
}
